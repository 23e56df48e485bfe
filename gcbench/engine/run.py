"""Runs a planned run shard by shard: locked, stored, resumable, with back-off on out-of-memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gcbench.analysis import Analysis, TokenShard
from gcbench.bench import Sample
from gcbench.engine.calibration import race_spread
from gcbench.engine.grid import Values, load_images, score_images
from gcbench.engine.interrupt import Interrupted
from gcbench.engine.locks import exclusive
from gcbench.engine.near_ties import NearTies, near_ties
from gcbench.engine.summary import summarise
from gcbench.engine.tokens import score_tokens
from gcbench.errors import GcbenchError
from gcbench.method import SampleKey
from gcbench.plan import PlannedRun
from gcbench.store import Run, Shard
from gcbench.tokens import TokenResults, joined

if TYPE_CHECKING:
    import torch

# On a CPU the activations of a few evaluations fill the caches; more only spills them.
AUTO_BATCH_SIZE = {"cpu": 32, "cuda": 256}
RERUN = ("missing", "failed", "all")
POLL_SECONDS = 0.2  # between looks at a shard that another process is at
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
    part: tuple[int, int] = (1, 1),
    wait: bool = True,
    worker: str = "",
    stop: Callable[[], int | None] = lambda: None,
    on_shard: OnShard = lambda shard: None,
) -> bool:
    """Computes the shards that the store lacks, then writes predictions and summary.

    Any number of processes may execute the same run at once: they share out its shards. A shard is
    written in one step, so a process that dies loses at most the shard at hand.

    Args:
        batch_size: evaluations per forward pass; None chooses by device. Halved on out-of-memory.
        rerun: `missing` computes what is not there, `failed` also shards with unreadable samples,
            `all` computes everything anew, replacing shard by shard.
        part: (i, n) computes the i-th of n equal parts, i from 1.
        wait: whether to wait for shards that other processes are at, and to do those of processes
            that died. Without it, whoever finds everything there writes the summary.
        worker: this process's name, recorded with its shards.
        stop: asked between shards; a signal's number means that the run is to stop here.
        on_shard: called with each shard as it becomes known, those of others included.

    Returns:
        Whether the run is complete, its summary written.

    Raises:
        Interrupted: it was asked to stop.
        GcbenchError: the networks do not load, or the store cannot be written.
    """
    run, score = planned.run, ShardScorer(planned, batch_size)
    computed = False
    seen: set[int] = set()

    def announce(shard: Shard) -> None:
        if shard.index not in seen:
            seen.add(shard.index)
            on_shard(shard)

    todo = deque(range(part[0] - 1, planned.shard_count, part[1]))
    if rerun == "all" or not run.present().issuperset(todo):
        score.load()  # first, so that a checkpoint that does not fit leaves no trace
    run.begin(planned.record(), anew=rerun == "all")
    passed_over: set[int] = set()  # being computed by another process when they were met
    while todo:
        if (signum := stop()) is not None:
            raise stopped(planned, signum)
        index = todo.popleft()
        with exclusive(run.path / "locks" / f"{index:05d}", wait=False) as mine:
            if not mine:
                if index not in passed_over or wait:
                    todo.append(index)
                passed_over.add(index)
            elif due(run, index, "missing" if index in passed_over else rerun):
                score.look_ahead(next((i for i in todo if _free(run, i)), None))
                shard = replace(score(index), worker=worker)
                run.write_shard(shard)
                computed = True
                announce(shard)
            else:
                announce(run.read_shard(index))
        if rerun == "missing":
            for other in sorted(run.present() - seen):
                announce(run.read_shard(other))
        if passed_over.issuperset(todo) and todo:
            time.sleep(POLL_SECONDS)
    score.close()
    return conclude(planned, score.size, computed=computed)


def conclude(planned: PlannedRun, size: BatchSize, *, computed: bool) -> bool:
    """Writes predictions and summary if every shard is there, and returns whether it is.

    What is written already is left alone unless shards were `computed` since.
    """
    run = planned.run
    if planned.missing_shards:
        return False
    with exclusive(run.path / "locks" / "summary", wait=True):
        if computed or run.summary is None:
            run.finish(summarise(planned, size.value, size.backed_off))
    return True


def stopped(planned: PlannedRun, signum: int) -> Interrupted:
    """What to raise when a run was asked to stop by that signal and did."""
    there = len(planned.run.present())
    return Interrupted(
        f"{planned.spec.method} on {planned.spec.benchmark} stopped with {there} of "
        f"{planned.shard_count} shards stored",
        signum,
    )


class ShardScorer:
    """Scores shards of a run; its networks are loaded when the first shard is asked for.

    The images of the shard after it are loaded in a thread meanwhile.
    """

    def __init__(self, planned: PlannedRun, batch_size: int | None):
        device = planned.method.runtime.device.partition(":")[0]
        self.planned = planned
        self.size = BatchSize(batch_size or AUTO_BATCH_SIZE.get(device, 64))
        self.loaded = False
        self.images = ThreadPoolExecutor(1, thread_name_prefix="images")
        self.ahead: dict[int, Future[LoadedShard]] = {}

    def look_ahead(self, index: int | None) -> None:
        """Starts to load the images of the shard that is likely to be scored after the next."""
        if index is not None and index not in self.ahead:
            self.ahead[index] = self.images.submit(load_shard, self.planned, index)

    def close(self) -> None:
        """Ends the loading of images that are not wanted any more."""
        self.images.shutdown(cancel_futures=True)

    def load(self) -> None:
        if not self.loaded:
            self.planned.method.load()
            self.loaded = True

    @cached_property
    def ties(self) -> NearTies | None:
        if isinstance(self.planned.run, Analysis):
            return None  # single tokens have near ties everywhere
        return _within_memory(self.size, lambda: near_ties(self.planned, self.size.value))

    def __call__(self, index: int) -> Shard:
        self.load()
        ahead = self.ahead.pop(index, None)
        self.ahead = {i: f for i, f in self.ahead.items() if i > index}
        loaded = None if ahead is None else ahead.result()
        return score_shard(self.planned, index, self.size, self.ties, loaded)


@dataclass(frozen=True)
class LoadedShard:
    """A shard's samples, its images by position among them, and why others cannot be read."""

    samples: list[Sample]
    keys: list[SampleKey]
    images: dict[int, torch.Tensor]
    failures: dict[str, str]


def load_shard(planned: PlannedRun, index: int) -> LoadedShard:
    """The samples of a shard with their images."""
    positions = planned.shard_samples(index)
    samples = [planned.benchmark.samples[p] for p in positions]
    keys = [SampleKey(s.id, p) for s, p in zip(samples, positions, strict=True)]
    spec = planned.spec
    images, failures = load_images(planned.method, samples, keys, spec.trials, spec.seed)
    return LoadedShard(samples, keys, images, failures)


def due(run: Run, index: int, rerun: str) -> bool:
    """Whether a shard is to be computed; for `rerun` see `execute`."""
    if rerun == "all" or not run.has_shard(index):
        return True
    return rerun == "failed" and bool(run.read_shard(index).failures)


def _free(run: Run, index: int) -> bool:
    """Whether a shard is neither stored nor being computed by somebody."""
    if run.has_shard(index):
        return False
    with exclusive(run.path / "locks" / f"{index:05d}", wait=False) as mine:
        return mine


def score_shard(
    planned: PlannedRun,
    index: int,
    size: BatchSize,
    ties: NearTies | None = None,
    loaded: LoadedShard | None = None,
) -> Shard:
    """Scores the samples of one shard; unreadable ones are recorded as failures."""
    spread = _within_memory(size, lambda: race_spread(planned, size.value))
    start = time.perf_counter()
    loaded = loaded or load_shard(planned, index)
    spec, samples, images = planned.spec, loaded.samples, loaded.images

    tokens: list[TokenResults] = []

    def scored(chosen: Sequence[int]) -> Values:
        inputs, keys = [images[i] for i in chosen], [loaded.keys[i] for i in chosen]
        if isinstance(planned.run, Analysis):
            labels = [samples[i].label for i in chosen]
            values, results = _within_memory(
                size, lambda: score_tokens(planned, inputs, keys, labels, size.value)
            )
            tokens.append(results)
            return values
        return _within_memory(
            size,
            lambda: score_images(
                planned.method,
                inputs,
                keys,
                spec.classes,
                trials=spec.trials,
                seed=spec.seed,
                batch_size=size.value,
                strategy=planned.strategy,
                spread=spread,
                ties=ties,
            ),
        )

    parts, reasons = isolated(scored, list(images)) if images else ([], {})
    failures = loaded.failures | {samples[i].id: reason for i, reason in reasons.items()}
    images = {i: image for i, image in images.items() if i not in reasons}
    empty = np.zeros((0, spec.trials, len(spec.classes)), np.float32)
    shard = Shard(
        index=index,
        sample_ids=tuple(samples[i].id for i in images),
        labels=tuple(samples[i].label for i in images),
        values=np.concatenate([empty, *parts]),
        seconds=time.perf_counter() - start,
        failures=failures,
        rescored=ties.take_count() if ties is not None else 0,
    )
    if isinstance(planned.run, Analysis):
        return TokenShard(**vars(shard), tokens=joined(tokens) if tokens else None)
    return shard


def isolated(
    score: Callable[[Sequence[int]], Values], chosen: list[int]
) -> tuple[list[Values], dict[int, str]]:
    """What `score` gives for `chosen`, in parts, and the reason for each that cannot be scored.

    Where scoring them together fails they are scored one by one, so that a poisoned image costs
    itself alone. Scores do not depend on their company, so the others' are the same.

    Raises:
        Exception: the first one, when all of several fail: then it is not the images.
    """
    try:
        return [score(chosen)], {}
    except Exception as error:
        parts, reasons = [], {}
        for one in chosen:
            try:
                parts.append(score([one]))
            except Exception as reason:
                reasons[one] = _in_words(reason)
        if len(chosen) > 1 and not parts:
            raise error
        return parts, reasons


def _in_words(error: Exception) -> str:
    if isinstance(error, GcbenchError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


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
