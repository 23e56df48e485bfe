"""Runs a planned run shard by shard: locked, stored, resumable, with back-off on out-of-memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from gcbench.engine.calibration import race_spread
from gcbench.engine.grid import load_images, score_images
from gcbench.engine.locks import exclusive
from gcbench.engine.near_ties import NearTies, near_ties
from gcbench.engine.summary import summarise
from gcbench.errors import GcbenchError
from gcbench.method import SampleKey
from gcbench.plan import PlannedRun
from gcbench.store import Shard

# On a CPU the activations of a few evaluations fill the caches; more only spills them.
AUTO_BATCH_SIZE = {"cpu": 32, "cuda": 256}
RERUN = ("missing", "failed", "all")
OnShard = Callable[[Shard], None]
T = TypeVar("T")


@dataclass
class BatchSize:
    """How many evaluations go through the network at once; halves when memory runs out."""

    value: int
    backed_off: bool = False

    def back_off(self) -> None:
        """Halves the size. Raises GcbenchError when a single evaluation does not fit."""
        if self.value == 1:
            raise GcbenchError(
                "out of memory with a single evaluation at a time",
                hint="use a smaller variant, --precision bf16 or a device with more memory",
            )
        self.value //= 2
        self.backed_off = True


def execute(
    planned: PlannedRun,
    *,
    batch_size: int | None = None,
    rerun: str = "missing",
    on_shard: OnShard = lambda shard: None,
) -> None:
    """Computes the shards that the store lacks, then writes predictions and summary.

    Any number of processes may execute the same run at once: they share out its shards. A shard is
    written in one step, so a process that dies loses at most the shard at hand.

    Args:
        batch_size: evaluations per forward pass; None chooses by device. Halved on out-of-memory.
        rerun: `missing` computes what is not there, `failed` also shards with unreadable samples,
            `all` computes everything anew, replacing shard by shard.
        on_shard: called with each shard as it becomes known, stored ones included.
    """
    run = planned.run
    loaded = computed = False

    def load() -> None:
        nonlocal loaded
        if not loaded:
            planned.method.load()
            loaded = True

    if rerun == "all" or planned.missing_shards:
        load()  # first, so that a checkpoint that does not fit leaves no trace
    run.begin(planned.record(), anew=rerun == "all")
    device = planned.method.runtime.device.partition(":")[0]
    size = BatchSize(batch_size or AUTO_BATCH_SIZE.get(device, 64))

    @cache
    def ties() -> NearTies | None:
        return _within_memory(size, lambda: near_ties(planned, size.value))

    def compute(index: int) -> None:
        nonlocal computed
        load()
        shard = score_shard(planned, index, size, ties())
        run.write_shard(shard)
        computed = True
        on_shard(shard)

    taken_elsewhere = []
    for index in range(planned.shard_count):
        with exclusive(run.path / "locks" / f"{index:05d}", wait=False) as mine:
            if not mine:
                taken_elsewhere.append(index)
            elif rerun == "all" or not run.has_shard(index):
                compute(index)
            else:
                shard = run.read_shard(index)
                if rerun == "failed" and shard.failures:
                    compute(index)
                else:
                    on_shard(shard)
    for index in taken_elsewhere:
        with exclusive(run.path / "locks" / f"{index:05d}", wait=True):
            if run.has_shard(index):
                on_shard(run.read_shard(index))
            else:
                compute(index)
    with exclusive(run.path / "locks" / "summary", wait=True):
        if computed or run.summary is None:
            run.finish(summarise(planned, size.value, size.backed_off))


def score_shard(
    planned: PlannedRun, index: int, size: BatchSize, ties: NearTies | None = None
) -> Shard:
    """Scores the samples of one shard; unreadable ones are recorded as failures."""
    spread = _within_memory(size, lambda: race_spread(planned, size.value))
    start = time.perf_counter()
    positions = planned.shard_samples(index)
    samples = [planned.benchmark.samples[p] for p in positions]
    keys = [SampleKey(s.id, p) for s, p in zip(samples, positions, strict=True)]
    spec = planned.spec
    images, failures = load_images(planned.method, samples, keys, spec.trials, spec.seed)
    values = np.zeros((0, spec.trials, len(spec.classes)), np.float32)
    if images:
        values = _within_memory(
            size,
            lambda: score_images(
                planned.method,
                list(images.values()),
                [keys[i] for i in images],
                spec.classes,
                trials=spec.trials,
                seed=spec.seed,
                batch_size=size.value,
                strategy=planned.strategy,
                spread=spread,
                ties=ties,
            ),
        )
    return Shard(
        index=index,
        sample_ids=tuple(samples[i].id for i in images),
        labels=tuple(samples[i].label for i in images),
        values=values,
        seconds=time.perf_counter() - start,
        failures=failures,
        rescored=ties.take_count() if ties is not None else 0,
    )


def _within_memory(size: BatchSize, compute: Callable[[], T]) -> T:
    """What `compute` gives, started anew with half the batch size as often as memory runs out."""
    import torch

    while True:
        try:
            with torch.inference_mode():
                return compute()
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            size.back_off()


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text
