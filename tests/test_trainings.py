"""Cells that are the mean over several trainings of a method."""

import pytest
from stored_runs import cell, general, hits, notes, record

from gcbench.report.export import all_cells
from gcbench.report.tables import build_table
from gcbench.report.wanted import filling_runs, wanted
from gcbench.store import Store

ERM, STITCHING, RANDAR = (("mini", name) for name in ("ERM", "sigma-stitching", "RandAR"))
COLUMN = "mini-camelyon-id"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


def trained(store: Store, method: str, correct: list[int], total: int = 100, **spec) -> None:
    """One training for each number of images that it classifies correctly, the first ones."""
    for seed, count in enumerate(correct, start=1):
        variant = f"mini-camelyon-seed{seed}"
        # The names of stored runs tell seeds of a method apart by their trials alone.
        record(store, method, COLUMN, hits(count, total), variant=variant, trials=seed, **spec)


def table(store: Store):
    return build_table(6, suite="mini", source="measured", runs=store.runs())


def test_cell_is_the_mean_of_three_trainings_and_says_their_spread(store):
    trained(store, "erm", [60, 70, 80])
    built = table(store)
    found = cell(built, ERM, COLUMN)
    assert (found.value, found.count, found.status) == (pytest.approx(0.7), 100, "full")
    assert found.interval[0] < 0.7 < found.interval[1]
    assert notes(built, found) == ["mean of 3 trainings, 0.600 to 0.800"]
    assert dict(built.provenance)["runs"].startswith("3, ")


def test_cell_without_all_of_its_trainings_is_missing(store):
    trained(store, "erm", [60, 70])
    built = table(store)
    assert cell(built, ERM, COLUMN).status == "missing"
    assert "erm (mini-camelyon, 3 trainings), K=1" in general(built)


def test_cell_is_partial_while_one_of_its_trainings_is(store):
    trained(store, "erm", [60, 70])
    seed3 = {"variant": "mini-camelyon-seed3", "trials": 3}
    record(store, "erm", COLUMN, hits(70, 100), scored=50, **seed3)
    built = table(store)
    found = cell(built, ERM, COLUMN)
    assert found.status == "partial"
    assert notes(built, found)[0].startswith("partial: 50 of the 100 images are scored")
    assert "--variant mini-camelyon-seed3" in general(built)


def test_lead_counts_when_every_training_beats_every_other(store):
    trained(store, "erm", [40, 50, 60])
    trained(store, "stitching", [90, 92, 94])
    found = cell(table(store), STITCHING, COLUMN)
    assert found.mark == "best"


def test_lead_that_one_training_does_not_bear_out_is_tied(store):
    trained(store, "erm", [40, 50, 90])
    trained(store, "stitching", [90, 92, 94])
    built = table(store)
    assert {cell(built, row, COLUMN).mark for row in (ERM, STITCHING)} == {"tied"}
    assert (
        "every training against every other" in {n.symbol: n.text for n in built.footnotes}["tied"]
    )


def test_single_training_of_another_method_is_compared_with_all_three(store):
    trained(store, "erm", [40, 50, 60])
    record(store, "randar", COLUMN, hits(95, 100), variant="mini-camelyon")
    built = table(store)
    assert cell(built, RANDAR, COLUMN).mark == "best"
    assert notes(built, cell(built, RANDAR, COLUMN)) == []


def test_every_run_behind_a_mean_is_exported(store):
    trained(store, "erm", [60, 70, 80])
    cells = all_cells(store.runs(), [], "mini")
    (row,) = cells[(cells["method"] == "erm") & cells["value"].notna()].to_dict("records")
    assert row["value"] == pytest.approx(0.7)
    assert len(row["run"].split()) == 3


def test_every_seed_is_run_to_fill_a_cell():
    slot = wanted(6, "wilds").slots[0][0]
    assert [(one.variant, benchmarks) for one, benchmarks in filling_runs([slot])] == [
        (f"b-camelyon17-seed{seed}", ["camelyon17-id"]) for seed in (1, 2, 3)
    ]
