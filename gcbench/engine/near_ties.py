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

from gcbench.engine.calibration import all_classes, cost, few_images, once
from gcbench.engine.rounds import Mask, Scored, flat_batches
from gcbench.method import GenerativeMethod, Trials
from gcbench.plan import PlannedRun
from gcbench.scores import final_means

IMAGES = 8
TRIALS = 4
ROOM = 6  # in units of the measured error


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
        twin = self.loaded_twin()
        for trial in np.flatnonzero(again.any(axis=(0, 2))):
            alive = again[:, trial]
            images = np.flatnonzero(alive.any(axis=1))
            for work, cells in flat_batches(alive, images, [int(trial)], classes, batch_size):
                values[cells] = twin.score(latent, drawn, work).float().cpu().numpy()
        self.rescored += int(again.sum())

    def loaded_twin(self) -> GenerativeMethod:
        """The twin, its networks loaded."""
        if not self.loaded:
            self.twin.load()
            self.loaded = True
        return self.twin

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
    means = final_means(values)
    near: Mask = np.isfinite(means) & (means.max(axis=1, keepdims=True) - means <= room)
    return near & (near.sum(axis=1, keepdims=True) > 1)


def near_ties(planned: PlannedRun, batch_size: int) -> NearTies | None:
    """What settles the near ties of a run; None where there is nothing to settle.

    The error is measured by whoever needs it first, in a few trials, and kept beside the run.
    """
    method = planned.method
    if planned.spec.precision == "fp32" or not isinstance(method, GenerativeMethod):
        return None
    twin = method.on_path(precision="fp32")
    assert isinstance(twin, GenerativeMethod)
    ties = NearTies(twin, 0.0)
    found = once(planned, "precision", lambda: measured(planned, ties, batch_size))
    ties.error = float(found["centred_error"])
    return ties


def measured(planned: PlannedRun, ties: NearTies, batch_size: int) -> dict[str, Any]:
    """The error with its cost, as `precision.json` holds it; 0 if no image can be read."""
    start = time.perf_counter()
    few = few_images(planned, "precision", IMAGES)
    trials = range(min(TRIALS, planned.spec.trials))
    error, evaluations = 0.0, 0
    if few.latent is not None:
        assert isinstance(planned.method, GenerativeMethod)
        lower, exact = (
            all_classes(planned, method, few, trials, batch_size)
            for method in (planned.method, ties.loaded_twin())
        )
        difference = (lower - exact.astype(np.float64)).mean(axis=1)  # [n, C]
        centred = difference - difference.mean(axis=1, keepdims=True)
        error, evaluations = float(np.sqrt(np.square(centred).mean())), 2 * lower.size
    return {"centred_error": error, **cost(few, trials, evaluations, start)}
