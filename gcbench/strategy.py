"""How much of the grid of trials x classes is evaluated to classify an image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gcbench.errors import GcbenchError, unknown_name
from gcbench.stages import Stage, parse_stages

NAMES = ("exhaustive", "race", "propose+race", "prefix+race", "adaptive-li2023", "staged")
DEFAULT_DELTA = 0.001
DEFAULT_PREFIX = 0.5

# (trials so far, classes that go on) of each stage, the last keeping one.
Stages = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Strategy:
    """A strategy and its parameters; those that a strategy does not have are None or empty.

    Attributes:
        name: `exhaustive` evaluates everything and is the only one that tables are made of;
            `race` drops classes that can no longer win (gcbench.engine.race); `propose+race` ranks
            all classes cheaply first and races the best; `prefix+race` ranks them by the beginning
            of the first trial's sequence instead (gcbench.nets.prefix); `adaptive-li2023` keeps a
            fixed number of classes at fixed times (gcbench.engine.adaptive); `staged` does so on
            likelihoods of the first few scales of an image (gcbench.stages).
        delta: chance that a race gives an image another answer than the whole grid, as modelled.
        keep: classes that go from the proposal into the race.
        prefix: share of the sequence that all classes read.
        stages: the fixed schedule.
        rounds: of `staged`.
        preset: the name of rounds that the method knows, until it is planned with one.
    """

    name: str = "exhaustive"
    delta: float | None = None
    keep: int | None = None
    prefix: float | None = None
    stages: Stages = ()
    rounds: tuple[Stage, ...] = ()
    preset: str | None = None

    @property
    def exhaustive(self) -> bool:
        return self.name == "exhaustive"

    @property
    def races(self) -> bool:
        return self.name in ("race", "propose+race", "prefix+race")

    @property
    def proposes(self) -> bool:
        return self.name == "propose+race"

    @property
    def prefixes(self) -> bool:
        return self.name == "prefix+race"

    @property
    def staged(self) -> bool:
        return self.name == "staged"

    @property
    def label(self) -> str:
        """Name and parameters in one line, as in the run key: `race delta=0.001`."""
        stages = ",".join(f"{trials}:{keep}" for trials, keep in self.stages)
        stages = stages or ",".join(map(str, self.rounds))
        given = {
            "keep": self.keep,
            "prefix": self.prefix,
            "delta": self.delta,
            "stages": stages or None,
        }
        return " ".join([self.name, *(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}"
                                      for k, v in given.items() if v is not None)])  # fmt: skip

    def resolved(self, trials: int, classes: int) -> Strategy:
        """The strategy for a grid of that size, defaults filled in, checked.

        A proposal keeps a fifth of the classes unless told otherwise, a prefix two fifths, neither
        fewer than five; the default schedule is in the manner of Li et al. 2023, five classes after
        a tenth of the trials.

        Raises:
            GcbenchError: a parameter does not fit the grid.
        """
        if self.proposes or self.prefixes:
            share = classes // 5 if self.proposes else 2 * classes // 5
            keep = min(classes, max(5, share)) if self.keep is None else self.keep
            if not 1 <= keep <= classes:
                raise GcbenchError(
                    f"--keep {keep}: expected 1 to {classes}, the benchmark's classes"
                )
            return replace(self, keep=keep)
        if self.name == "adaptive-li2023":
            first = max(1, trials // 10)
            short = ((trials, 1),) if first == trials else ((first, min(5, classes)), (trials, 1))
            _check_stages(self.stages or short, trials, classes)
            return replace(self, stages=self.stages or short)
        return self


EXHAUSTIVE = Strategy()


def strategy_named(
    name: str,
    *,
    delta: float | None = None,
    keep: int | None = None,
    prefix: float | None = None,
    stages: str | None = None,
) -> Strategy:
    """The strategy that a command line asks for.

    Args:
        stages: as `2:5,20:1`, five classes go on after two trials, one after twenty; of `staged`
            as :func:`gcbench.stages.parse_stages` reads them, or the name of a method's own.

    Raises:
        GcbenchError: the name is unknown, or a parameter is out of range or not the strategy's.
    """
    if name not in NAMES:
        raise unknown_name("strategy", name, NAMES)
    strategy = Strategy(name)
    for option, value, fits in (
        ("delta", delta, strategy.races),
        ("keep", keep, strategy.proposes or strategy.prefixes),
        ("prefix", prefix, strategy.prefixes),
        ("stages", stages, name in ("adaptive-li2023", "staged")),
    ):
        if value is not None and not fits:
            raise GcbenchError(
                f"--{option} {value} is no parameter of --strategy {name}", hint="leave it out"
            )
    if delta is not None and not 0 <= delta < 1:
        raise GcbenchError(f"--delta {delta:g}: expected a chance from 0 to below 1")
    if prefix is not None and not 0 < prefix < 1:
        raise GcbenchError(f"--prefix {prefix:g}: expected a share between 0 and 1")
    if strategy.prefixes:
        strategy = replace(strategy, prefix=DEFAULT_PREFIX if prefix is None else prefix)
    if strategy.races:
        strategy = replace(strategy, delta=DEFAULT_DELTA if delta is None else delta, keep=keep)
    if strategy.staged:
        if stages is None:
            raise GcbenchError(
                "--strategy staged needs --stages",
                hint="as CLASSES:TRIALS:SCALES, for example 3:1:4,1:1:6, or a name that the method "
                "has for them",
            )
        if re.fullmatch(r"[a-z][a-z0-9-]*", stages):
            return replace(strategy, preset=stages)
        return replace(strategy, rounds=parse_stages(stages))
    return replace(strategy, stages=_parsed(stages) if stages is not None else ())


def _parsed(text: str) -> Stages:
    if not re.fullmatch(r"\d+:\d+(,\d+:\d+)*", text):
        raise GcbenchError(
            f"--stages {text}: expected TRIALS:CLASSES pairs", hint="for example 2:5,20:1"
        )
    pairs = (part.split(":") for part in text.split(","))
    return tuple((int(trials), int(keep)) for trials, keep in pairs)


def _check_stages(stages: Sequence[tuple[int, int]], trials: int, classes: int) -> None:
    done, left = 0, classes
    for number, (count, keep) in enumerate(stages, start=1):
        if not done < count <= trials:
            raise GcbenchError(
                f"stage {number} ends after {count} trials, expected {done + 1} to {trials}",
                hint="trials count from the beginning and grow from stage to stage",
            )
        if not 1 <= keep <= left:
            raise GcbenchError(f"stage {number} keeps {keep} classes, expected 1 to {left}")
        done, left = count, keep
    if left != 1:
        raise GcbenchError(f"the last stage keeps {left} classes, expected 1")
