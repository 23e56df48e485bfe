"""Scores close calls of a bf16 run again in fp32, so that the lower precision flips no decision.

How far bf16 moves a class against the others is measured once per run, on a few of its images. A
class whose mean lies within a multiple of that of the leader's is scored again, and the leader with
it. The multiple leaves so much room that the classes outside cannot be the answer; with the rule of
the mean over trials the decision is then that of the fp32 run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gcbench.engine.calibration import by_hash
from gcbench.engine.grid import check_finite, encode_images, load_images
from gcbench.engine.locks import exclusive
from gcbench.engine.rounds import flat_batches
from gcbench.method import GenerativeMethod, SampleKey, Trials
from gcbench.plan import PlannedRun

IMAGES = 8
TRIALS = 4
ROOM = 6  # in units of the measured error

Scored = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass
class NearTies:
    """The fp32 twin of a method, loaded when it is first needed.

    Attributes:
        twin: the same method in fp32.
        error: root mean square, in nats, of what bf16 adds to an image's mean scores after their
            common shift is taken out.
    """

    twin: GenerativeMethod
    error: float
    loaded: bool = False
    rescored: int = 0

    def settle(
        self,
        latent: torch.Tensor,
        drawn: Trials,
        classes: torch.Tensor,
        values: Scored,
        batch_size: int,
    ) -> None:
        """Replaces the scores of near ties in `values` [n, K, C] by those of the twin."""
        near = near_leader(values, ROOM * self.error)  # [n, C]
        again = near[:, None] & ~np.isnan(values)  # [n, K, C]
        if not again.any():
            return
        if not self.loaded:
            self.twin.load()
            self.loaded = True
        for trial in np.flatnonzero(again.any(axis=(0, 2))):
            alive = again[:, trial]
            images = np.flatnonzero(alive.any(axis=1))
            for work, cells in flat_batches(alive, images, [int(trial)], classes, batch_size):
                values[cells] = self.twin.score(latent, drawn, work).float().cpu().numpy()
        self.rescored += int(again.sum())

    def take_count(self) -> int:
        """How many evaluations were made again since the last call."""
        count, self.rescored = self.rescored, 0
        return count


def near_leader(values: Scored, room: float) -> Mask:
    """Which classes are in a near tie with their image's leader, itself included, [n, C].

    Args:
        values: scores [n, K, C], NaN where not evaluated. In question are the classes with the
            most evaluated trials.
        room: how far in nats a mean may lie behind the leader's to be near.
    """
    counts = (~np.isnan(values)).sum(axis=1)  # [n, C]
    final = counts == counts.max(axis=1, keepdims=True)
    sums = np.nansum(values, axis=1, dtype=np.float64)
    means = np.where(final, sums / np.maximum(counts, 1), -np.inf)
    near: Mask = final & (means.max(axis=1, keepdims=True) - means <= room)
    return near & (near.sum(axis=1, keepdims=True) > 1)


def near_ties(planned: PlannedRun, batch_size: int) -> NearTies | None:
    """What settles the near ties of a run; None where there is nothing to settle.

    The error is measured by whoever needs it first, in a few trials, and kept beside the run.
    """
    method, spec = planned.method, planned.spec
    if spec.precision == "fp32" or not isinstance(method, GenerativeMethod):
        return None
    twin = method.on_path(precision="fp32")
    assert isinstance(twin, GenerativeMethod)
    found = planned.run.precision
    ties = NearTies(twin, 0.0)
    if found is None:
        with exclusive(planned.run.path / "locks" / "precision", wait=True):
            found = planned.run.precision
            if found is None:
                twin.load()
                ties.loaded = True
                found = measured(planned, method, twin, batch_size)
                planned.run.write_precision(found)
    ties.error = float(found["centred_error"])
    return ties


def measured(
    planned: PlannedRun, method: GenerativeMethod, twin: GenerativeMethod, batch_size: int
) -> dict[str, Any]:
    """The error with its cost, as `precision.json` holds it."""
    start = time.perf_counter()
    spec, samples = planned.spec, planned.benchmark.samples
    chosen = by_hash("precision", spec.seed, [s.id for s in samples])[:IMAGES]
    keys = [SampleKey(samples[p].id, p) for p in chosen]
    images, _ = load_images(method, [samples[p] for p in chosen], keys, spec.trials, spec.seed)
    keys = [keys[i] for i in images]
    trials = list(range(min(TRIALS, spec.trials)))
    error, cells = 0.0, 0
    if images:
        latent = encode_images(method, list(images.values()))
        drawn = method.trials(spec.trials, keys, spec.seed)
        classes, shape = torch.tensor(spec.classes), (len(keys), len(trials), len(spec.classes))
        means = []
        for one in (method, twin):
            scores = np.zeros(shape, np.float32)
            everything = np.ones(shape[::2], bool)
            for work, (row, trial, column) in flat_batches(
                everything, np.arange(len(keys)), trials, classes, batch_size
            ):
                scores[row, trial, column] = one.score(latent, drawn, work).float().cpu().numpy()
            check_finite(one, scores, keys)
            means.append(scores.mean(axis=1, dtype=np.float64))  # [n, C]
        difference = means[0] - means[1]
        centred = difference - difference.mean(axis=1, keepdims=True)
        error, cells = float(np.sqrt(np.square(centred).mean())), 2 * int(np.prod(shape))
    return {
        "centred_error": error,
        "sample_ids": [key.id for key in keys],
        "trials": trials,
        "evaluations": cells,
        "seconds": round(time.perf_counter() - start, 6),
    }
