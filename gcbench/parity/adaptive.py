"""Kind ``adaptive_li2023``: timesteps, survivors and answer of the official adaptive evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gcbench.engine.adaptive import best, new_trials, spread_timesteps
from gcbench.parity.fixture import Fixture, Quantity, identical


def check(fixture: Fixture) -> Iterator[Quantity]:
    """Every stage of every case: what is evaluated, with which noise, for whom, and who wins."""
    io = {name: tensor.numpy() for name, tensor in fixture.tensors().items()}
    for number, case in enumerate(fixture.config["cases"]):
        name = f"case{number}"
        counts, table = case["n_samples"], io[f"{name}.error_table"]  # [C, T]
        timesteps = np.array(spread_timesteps(max(counts), case["T"]))
        scores = -table[None, :, timesteps].transpose(0, 2, 1)  # [1, K, C]
        alive = np.ones((1, len(table)), bool)
        seen: list[int] = []
        total = 0
        stages = zip(new_trials(counts, len(timesteps)), case["to_keep"], strict=True)
        for index, (trials, keep) in enumerate(stages):
            stage = f"{name}.stage{index}"
            yield identical(f"{stage}.classes", np.flatnonzero(alive), io[f"{stage}.classes"])
            yield identical(f"{stage}.timesteps", timesteps[trials], io[f"{stage}.timesteps"])
            noise = np.arange(len(seen), len(seen) + len(trials))
            yield identical(f"{stage}.noise_idx", noise, io[f"{stage}.noise_idx"])
            total += len(trials) * int(alive.sum())
            seen += trials
            alive = best(scores[:, seen], alive, keep)
        yield identical(f"{name}.total_evals", total, io[f"{name}.total_evals"])
        yield identical(f"{name}.pred", np.flatnonzero(alive)[0], io[f"{name}.pred"])
