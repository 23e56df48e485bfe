"""What a race must know before its first look: how much paired gaps vary from trial to trial."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.engine.grid import check_finite, encode_images, load_images
from gcbench.engine.locks import exclusive
from gcbench.engine.race import NO_SPREAD, Spread, measure_sizes, measure_spread
from gcbench.engine.rounds import Scored, evaluate_rounds
from gcbench.errors import GcbenchError
from gcbench.method import GenerativeMethod, SampleKey
from gcbench.plan import PlannedRun

if TYPE_CHECKING:
    import torch

IMAGES = 16
TRIALS = 4


def race_spread(planned: PlannedRun, batch_size: int) -> Spread:
    """The spread of paired gaps on a few images of the run, all classes in a few trials.

    In all trials where these are not draws from one distribution: then each has a size of its own.

    Measured by whoever needs it first and kept beside the run; none where no race needs it. The
    images are chosen by a hash of their ids, so that anyone measures the same. Their labels are
    not used.

    Raises:
        GcbenchError: none of these images can be read.
    """
    spec = planned.spec
    if not planned.strategy.races or spec.trials == 1 or len(spec.classes) == 1:
        return NO_SPREAD
    found = once(planned, "calibration", lambda: measured(planned, batch_size))
    return Spread(found["level"], found["slope"], tuple(found.get("sizes", ())))


def measured(planned: PlannedRun, batch_size: int) -> dict[str, Any]:
    """The spread with its cost, as `calibration.json` holds it."""
    start = time.perf_counter()
    few = few_images(planned, "calibration", IMAGES)
    if few.latent is None:
        raise GcbenchError(
            f"none of the {len(few.failures)} images that the race is calibrated on can be read "
            f"({next(iter(few.failures.values()))})",
            hint="mend the data, or use --strategy exhaustive",
        )
    method, count = planned.method, planned.spec.trials
    assert isinstance(method, GenerativeMethod)
    alike = method.design(count) is None
    trials = list(method.race_order(count)[:TRIALS]) if alike else list(range(count))
    scores = all_classes(planned, method, few, trials, batch_size)  # [M, k, C]
    spread = measure_spread(scores, () if alike else measure_sizes(scores))
    return {**asdict(spread), **cost(few, trials, scores.size, start)}


def once(planned: PlannedRun, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is kept beside the run under that name, measured by whoever needs it first."""
    found = planned.run.aside(name)
    if found is None:
        with exclusive(planned.run.path / "locks" / name, wait=True):
            found = planned.run.aside(name)
            if found is None:
                found = measure()
                planned.run.write_aside(name, found)
    return found


@dataclass(frozen=True)
class FewImages:
    """Images of a run that something is measured on; `latent` is None if none could be read."""

    keys: list[SampleKey]
    latent: torch.Tensor | None
    failures: dict[str, str]


def few_images(planned: PlannedRun, purpose: str, count: int) -> FewImages:
    """The first `count` images of a run in the order of a hash of their ids, encoded."""
    spec, method, samples = planned.spec, planned.method, planned.benchmark.samples
    assert isinstance(method, GenerativeMethod)
    chosen = by_hash(purpose, spec.seed, [s.id for s in samples])[:count]
    keys = [SampleKey(samples[p].id, p) for p in chosen]
    images, failures = load_images(
        method, [samples[p] for p in chosen], keys, spec.trials, spec.seed
    )
    latent = encode_images(method, list(images.values())) if images else None
    return FewImages([keys[i] for i in images], latent, failures)


def all_classes(
    planned: PlannedRun,
    method: GenerativeMethod,
    few: FewImages,
    trials: Sequence[int],
    batch_size: int,
) -> Scored:
    """Scores [M, k, C] of the images under all candidates in these trials, by `method`."""
    import torch

    assert few.latent is not None
    spec = planned.spec
    values, _ = evaluate_rounds(
        method,
        few.latent,
        method.trials(spec.trials, few.keys, spec.seed),
        torch.tensor(spec.classes),
        [trials],
        lambda index, scores, alive: alive,
        np.ones((len(few.keys), len(spec.classes)), bool),
        batch_size,
    )
    scores: Scored = values[:, list(trials)]
    check_finite(method, scores, few.keys)
    return scores


def cost(few: FewImages, trials: Sequence[int], evaluations: int, start: float) -> dict[str, Any]:
    """What a measurement was made on and what it took since `start`."""
    return {
        "sample_ids": [key.id for key in few.keys],
        "trials": list(trials),
        "evaluations": evaluations,
        "seconds": round(time.perf_counter() - start, 6),
    }


def by_hash(purpose: str, seed: int, ids: list[str]) -> list[int]:
    """Positions of the ids in the order of a hash: a random order that anyone finds again."""

    def rank(position: int) -> str:
        return hashlib.sha256(f"{purpose}\0{seed}\0{ids[position]}".encode()).hexdigest()

    return sorted(range(len(ids)), key=rank)
