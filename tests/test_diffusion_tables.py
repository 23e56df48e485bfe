"""Tables 7, 8 and 10: which run of a diffusion classifier stands behind a cell."""

import numpy as np

from gcbench.diffusion import DDPM, loss_weights, nested_grids, timestep_grid
from gcbench.report.cells import Cell, Table
from gcbench.report.tables import build_table
from gcbench.scores import TrialDesign
from gcbench.status import fill_commands, table_states
from gcbench.store import Shard, Store

IDS = ("mini-val/0", "mini-val/1")
# Class 1 is right. In the first timesteps the scores are for it, in the later ones against it.
EARLY, LATE = 1.0, 0.6


def record(store: Store, method: str, trials: int, timesteps: int | None = None) -> None:
    count = timesteps or trials
    grid = np.tile(timestep_grid(count), trials // count)
    weights = loss_weights(DDPM(), grid)
    nested = {n: tuple(range(n)) for n in range(count, trials + 1, count)}
    nested |= {n: tuple(map(int, chosen)) for n, chosen in nested_grids(count).items()}
    design = TrialDesign(nested, {name: tuple(w) for name, w in weights.items()})
    run = store.run(f"{method}.{trials}.{timesteps}")
    run.begin(
        {
            "method": method,
            "variant": "mini",
            "weights": {"model": "a" * 64},
            "scoring_version": 1,
            "benchmark": "mini-val",
            "benchmark_digest": "b" * 64,
            "subset": "full",
            "classes": [0, 1],
            "preprocessing": "none",
            "precision": "fp32",
            "protocol": "independent" + (f", {timesteps} timesteps" if timesteps else ""),
            "trials": trials,
            "seed": 0,
            "strategy": "exhaustive",
            "design": design.as_json(),
            "sample_ids": list(IDS),
            "labels": [1, 1],
        }
    )
    values = np.zeros((2, trials, 2), np.float32)
    values[:, :, 1] = np.where(grid < 300, EARLY, -LATE)
    run.write_shard(Shard(0, IDS, (1, 1), values, 1.0, {}))
    run.finish({"provenance": {"commit": "0123abc", "dirty": False}})


def measured(store: Store, number: int) -> Table:
    return build_table(number, suite="mini", source="measured", runs=store.runs())


def cells(table: Table) -> dict[tuple[str, ...], Cell]:
    return {row.entries: row.cells[0] for row in table.rows}


def general(table: Table) -> str:
    return "\n".join(n.text for n in table.footnotes if not n.symbol)


def test_a_cell_of_repeated_timesteps_takes_no_run_of_another_grid(store: Store) -> None:
    record(store, "dit", 200)
    found = cells(measured(store, 7))
    assert found["DiT", "200", "200", "1"].status == "full"
    assert found["DiT", "200", "100", "2"].status == "missing"
    assert found["DiT", "200", "50", "4"].status == "missing"


def test_one_run_of_repeated_timesteps_fills_every_number_of_its_noises(store: Store) -> None:
    record(store, "dit", 200, timesteps=50)
    table = measured(store, 7)
    found = cells(table)
    assert found["DiT", "100", "50", "2"].status == "full"
    assert found["DiT", "200", "50", "4"].status == "full"
    assert found["DiT", "100", "100", "1"].status == "missing"
    assert not table.rows[0].cells[0].footnotes


def test_missing_grids_are_named_and_the_commands_that_fill_them_known(store: Store) -> None:
    text = general(measured(store, 7))
    assert (
        "Missing on mini-val: dit (mini), K=100, 200, T=50; dit (mini), K=100, 200; "
        "dit (mini), K=200, T=100; randar (mini), K=4, 20.\n"
    ) in text
    commands = fill_commands(table_states(store.runs(), [], "mini", 7))
    command = "gcbench run --method dit --variant mini --bench mini-val --trials 200"
    assert {command, f"{command} --timesteps 50", f"{command} --timesteps 100"} <= set(commands)


def test_one_run_fills_a_row_of_loss_weightings(store: Store) -> None:
    record(store, "dit", 100)
    table = measured(store, 8)
    row = next(row for row in table.rows if row.entries == ("DiT",))
    assert [c.label for c in table.columns] == ["Constant", "ELBO", "SNR-1", "Min-SNR-5", "FM-OT"]
    # The ELBO favours the steps near the data, where the scores are right; the other weightings
    # favour those near the noise, or nearly all alike.
    assert [cell.value for cell in row.cells] == [0.0, 1.0, 0.0, 0.0, 0.0]


def test_stand_ins_take_fewer_timesteps_than_the_paper(store: Store) -> None:
    record(store, "sit", 100)
    found = cells(measured(store, 10))
    assert found[("SiT",)].status == "full"
    assert found[("SiT + REPA",)].status == "missing"
