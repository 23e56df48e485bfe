"""What is to be run: methods x benchmarks -> specifications with their key, cached or missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any

from gcbench.bench import Benchmark
from gcbench.errors import GcbenchError, unknown_name
from gcbench.method import GenerativeMethod, Method
from gcbench.scales import CoarseToFineMethod
from gcbench.scores import TrialDesign
from gcbench.sequential import SequentialMethod
from gcbench.stages import check_stages, new_evaluations
from gcbench.store import Run, Store
from gcbench.strategy import EXHAUSTIVE, Strategy

# A shard is what a crash can lose and what two processes share out. Its size is fixed: shards, and
# with them the bits of the result, are then the same whoever computes them.
SHARD_SIZE = 32


@dataclass(frozen=True)
class RunSpec:
    """Everything that can move a score. Two runs with equal specs are the same run.

    Batch size, device, shards, versions and commit are recorded with the result but left out
    here: they do not move scores beyond rounding.
    """

    method: str
    variant: str
    weights: dict[str, str]
    scoring_version: int
    benchmark: str
    benchmark_digest: str
    subset: str
    samples_digest: str
    label_space: str
    classes: tuple[int, ...]
    preprocessing: str
    precision: str
    protocol: str
    trials: int
    seed: int
    strategy: str = "exhaustive"

    @property
    def key(self) -> str:
        """sha256 over the canonical JSON of all fields."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def run_name(self) -> str:
        """Folder name: readable parts, made unique by the key."""
        parts = (self.method, self.variant, self.benchmark, self.subset, self.key[:12])
        return ".".join(part.replace(":", "_").replace("/", "_") for part in parts)


@dataclass(frozen=True)
class PlannedRun:
    """A run that is ready to start, with what the store already holds of it."""

    spec: RunSpec
    suite: str
    method: Method
    benchmark: Benchmark
    run: Run
    strategy: Strategy = EXHAUSTIVE

    @property
    def shard_count(self) -> int:
        return ceil(len(self.benchmark) / SHARD_SIZE)

    @property
    def missing_shards(self) -> list[int]:
        return [i for i in range(self.shard_count) if not self.run.has_shard(i)]

    @property
    def status(self) -> str:
        """`cached`, `partial` or `missing`."""
        missing = len(self.missing_shards)
        if missing == 0 and self.run.summary is not None:
            return "cached"
        return "missing" if missing == self.shard_count else "partial"

    @property
    def evaluations_per_image(self) -> int:
        """Model evaluations of the whole grid for one image, the most that a strategy can take.

        A discriminative pass gives all classes at once.
        """
        per_trial = len(self.spec.classes) if isinstance(self.method, GenerativeMethod) else 1
        return self.spec.trials * per_trial

    @property
    def stage_evaluations(self) -> list[int]:
        """Evaluations that each stage of `staged` takes for one image; empty elsewhere."""
        return new_evaluations(self.strategy.rounds, len(self.spec.classes))

    @property
    def most_evaluations(self) -> int:
        """The most that the strategy can take for one image; of stages, what they take."""
        return sum(self.stage_evaluations) or self.evaluations_per_image

    @property
    def most_flops(self) -> float | None:
        """Floating-point operations of these; None when not known."""
        method = self.method
        if self.strategy.staged and isinstance(method, CoarseToFineMethod):
            pairs = zip(self.strategy.rounds, self.stage_evaluations, strict=True)
            return sum(count * method.flops_of_scales(stage.scales) for stage, count in pairs)
        each = method.flops_per_evaluation()
        return None if each is None else each * self.evaluations_per_image

    @cached_property
    def design(self) -> TrialDesign | None:
        """What the trials are; see `Method.design`."""
        return self.method.design(self.spec.trials)

    def shard_samples(self, index: int) -> range:
        """Positions of a shard's samples in the benchmark."""
        start = index * SHARD_SIZE
        return range(start, min(start + SHARD_SIZE, len(self.benchmark)))

    def record(self) -> dict[str, Any]:
        """What `run.json` holds: the spec and the samples it names."""
        return {
            **asdict(self.spec),
            **({} if self.design is None else {"design": self.design.as_json()}),
            **({"evaluations": self.most_evaluations} if self.strategy.staged else {}),
            "suite": self.suite,
            "path": self.method.runtime.path,
            "shard_size": SHARD_SIZE,
            "sample_ids": [s.id for s in self.benchmark.samples],
            "labels": [s.label for s in self.benchmark.samples],
            "groups": self.benchmark.groups,
            "metric": asdict(self.benchmark.metric),
        }


def plan(
    methods: Sequence[Method],
    benchmarks: Sequence[Benchmark],
    store: Store,
    *,
    trials: int | None,
    seed: int,
    strategy: Strategy = EXHAUSTIVE,
) -> list[PlannedRun]:
    """Every method on every benchmark, checked before anything is computed.

    Raises:
        GcbenchError: a method and a benchmark speak of different label spaces, a benchmark subset
            is empty, a method cannot have so many trials, or the strategy does not fit.
    """
    planned = []
    for method in methods:
        for benchmark in benchmarks:
            _check_fit(method, benchmark)
        fitted = _fitted(method, strategy, benchmarks)
        count = _trials(method, fitted, trials)
        weights = method.weights()
        for benchmark in benchmarks:
            chosen = fitted.resolved(count, len(benchmark.classes))
            spec = RunSpec(
                method=method.name,
                variant=method.variant.name,
                weights=weights,
                scoring_version=method.scoring_version,
                benchmark=benchmark.name,
                benchmark_digest=benchmark.digest,
                subset=benchmark.subset,
                samples_digest=benchmark.samples_digest,
                label_space=benchmark.label_space.name,
                classes=benchmark.classes,
                preprocessing=method.preprocessing,
                precision=method.runtime.precision,
                protocol=method.protocol(count),
                trials=count,
                seed=seed,
                strategy=chosen.label,
            )
            run = store.run(spec.run_name)
            planned.append(PlannedRun(spec, benchmark.suite, method, benchmark, run, chosen))
    return planned


def _fitted(method: Method, strategy: Strategy, benchmarks: Sequence[Benchmark]) -> Strategy:
    """The strategy as the method can run it, its stages no longer a name."""
    if strategy.exhaustive:
        return strategy
    if not isinstance(method, GenerativeMethod):
        raise GcbenchError(
            f"{method.name} needs one pass for all classes: {strategy.name} saves nothing",
            hint="leave --strategy out",
        )
    sequential = isinstance(method, SequentialMethod)
    if strategy.proposes and not sequential:
        raise GcbenchError(
            f"{method.name} has no cheap proposal of classes", hint="use --strategy race"
        )
    if strategy.prefixes and not sequential:
        raise GcbenchError(
            f"{method.name} reads no sequence whose beginning could rank classes",
            hint="use --strategy race",
        )
    if not strategy.staged:
        return strategy
    if not isinstance(method, CoarseToFineMethod):
        raise GcbenchError(
            f"{method.name} has no scales to classify by in stages", hint="use --strategy race"
        )
    if method.runtime.precision != "fp32":
        raise GcbenchError(
            f"--strategy staged --precision {method.runtime.precision}: near ties of the stages "
            "would not be settled",
            hint="use --precision fp32",
        )
    if strategy.preset is not None:
        if not method.stage_presets:
            raise GcbenchError(
                f"{method.name} has no stages by name, got --stages {strategy.preset}",
                hint="write them out as CLASSES:TRIALS:SCALES, for example 3:1:4,1:1:6",
            )
        if strategy.preset not in method.stage_presets:
            raise unknown_name(f"stages of {method.name}", strategy.preset, method.stage_presets)
        strategy = replace(strategy, rounds=method.stage_presets[strategy.preset], preset=None)
    for benchmark in benchmarks:
        check_stages(strategy.rounds, len(benchmark.classes), method.scale_count)
    return strategy


def _trials(method: Method, strategy: Strategy, asked: int | None) -> int:
    """K: what the stages take at most, else what was asked for or is the method's default."""
    if not strategy.staged:
        return method.check_trials(asked)
    needed = max(stage.trials for stage in strategy.rounds)
    if asked not in (None, needed):
        raise GcbenchError(f"--trials {asked}: the stages take {needed}", hint="leave --trials out")
    if method.max_trials is not None and needed > method.max_trials:
        raise GcbenchError(
            f"a stage takes {needed} trials, {method.name} has only {method.max_trials}",
            hint="lower the second number of that stage",
        )
    return needed


def _check_fit(method: Method, benchmark: Benchmark) -> None:
    if method.variant.label_space != benchmark.label_space.name:
        raise GcbenchError(
            f"{method.name} ({method.variant.name}) knows the classes of "
            f"{method.variant.label_space!r}, {benchmark.name} asks for "
            f"{benchmark.label_space.name!r}",
            hint="choose a variant or a benchmark of the same label space (gcbench list)",
        )
    if not benchmark.samples:
        raise GcbenchError(f"{benchmark.name} ({benchmark.subset}) holds no samples")
