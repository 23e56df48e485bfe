"""What a race must know before its first look: how much paired gaps vary from trial to trial."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from gcbench.engine.grid import check_finite, encode_images, load_images
from gcbench.engine.locks import exclusive
from gcbench.engine.race import NO_SPREAD, Spread, measure_spread
from gcbench.engine.rounds import evaluate_rounds
from gcbench.errors import GcbenchError
from gcbench.method import GenerativeMethod, SampleKey
from gcbench.plan import PlannedRun

IMAGES = 16
TRIALS = 4


def race_spread(planned: PlannedRun, batch_size: int) -> Spread:
    """The spread of paired gaps on a few images of the run, all classes in a few trials.

    Measured by whoever needs it first and kept beside the run; none where no race needs it. The
    images are chosen by a hash of their ids, so that anyone measures the same. Their labels are
    not used.

    Raises:
        GcbenchError: none of these images can be read.
    """
    spec = planned.spec
    if not planned.strategy.races or spec.trials == 1 or len(spec.classes) == 1:
        return NO_SPREAD
    found = planned.run.calibration
    if found is None:
        with exclusive(planned.run.path / "locks" / "calibration", wait=True):
            found = planned.run.calibration
            if found is None:
                found = measured(planned, batch_size)
                planned.run.write_calibration(found)
    return Spread(found["level"], found["slope"])


def measured(planned: PlannedRun, batch_size: int) -> dict[str, Any]:
    """The spread with its cost, as `calibration.json` holds it."""
    import torch

    start = time.perf_counter()
    spec, method = planned.spec, planned.method
    assert isinstance(method, GenerativeMethod)
    samples = planned.benchmark.samples
    chosen = by_hash("calibration", spec.seed, [s.id for s in samples])[:IMAGES]
    keys = [SampleKey(samples[p].id, p) for p in chosen]
    images, failures = load_images(
        method, [samples[p] for p in chosen], keys, spec.trials, spec.seed
    )
    if not images:
        raise GcbenchError(
            f"none of the {len(chosen)} images that the race is calibrated on can be read "
            f"({next(iter(failures.values()))})",
            hint="mend the data, or use --strategy exhaustive",
        )
    keys = [keys[i] for i in images]
    drawn = method.trials(spec.trials, keys, spec.seed)
    trials = list(method.race_order(spec.trials)[:TRIALS])
    values, _ = evaluate_rounds(
        method,
        encode_images(method, list(images.values())),
        drawn,
        torch.tensor(spec.classes),
        [trials],
        lambda index, scores, alive: alive,
        np.ones((len(keys), len(spec.classes)), bool),
        batch_size,
    )
    scores = values[:, trials]  # [M, k, C]
    check_finite(method, scores, keys)
    return {
        **asdict(measure_spread(scores)),
        "sample_ids": [key.id for key in keys],
        "trials": trials,
        "evaluations": scores.size,
        "seconds": round(time.perf_counter() - start, 6),
    }


def by_hash(purpose: str, seed: int, ids: list[str]) -> list[int]:
    """Positions of the ids in the order of a hash: a random order that anyone finds again."""

    def rank(position: int) -> str:
        return hashlib.sha256(f"{purpose}\0{seed}\0{ids[position]}".encode()).hexdigest()

    return sorted(range(len(ids)), key=rank)
