"""Staged classification: score all classes cheaply, then the best ones again with more effort.

Source: Yi-Chung-Chen/A-VARC ``eval.py``; Chen et al. 2025. Scores are not carried over: each stage
scores its candidates anew, and the last one decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gcbench.errors import GcbenchError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Stage:
    """One round.

    Attributes:
        survivors: classes that go on; 1 in the last stage, the prediction.
        trials: trials that a class's score is averaged over.
        scales: scales, from the coarsest, that the likelihood covers.
    """

    survivors: int
    trials: int
    scales: int

    def __str__(self) -> str:
        """As :func:`parse_stages` reads it: `10:1:6`."""
        return f"{self.survivors}:{self.trials}:{self.scales}"


@dataclass(frozen=True)
class Round:
    """What a stage saw and decided, for B images.

    Attributes:
        candidates: [B, C] class ids.
        scores: [B, C] fp32.
        survivors: [B, `Stage.survivors`] class ids, best first; of equal scores the earlier.
    """

    candidates: torch.Tensor
    scores: torch.Tensor
    survivors: torch.Tensor


Evaluate = Callable[[int, "torch.Tensor"], "torch.Tensor"]


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Stages as `10:1:6,3:1:10,1:3:10`: CLASSES:TRIALS:SCALES of each.

    Raises:
        GcbenchError: the text has another form.
    """
    if not re.fullmatch(r"\d+:\d+:\d+(,\d+:\d+:\d+)*", text):
        raise GcbenchError(
            f"--stages {text}: expected CLASSES:TRIALS:SCALES of each stage",
            hint="for example 10:1:6,3:1:10,1:3:10",
        )
    return tuple(Stage(*map(int, part.split(":"))) for part in text.split(","))


def new_evaluations(stages: Sequence[Stage], classes: int) -> list[int]:
    """How many evaluations each stage adds for an image with so many classes.

    A trial of a class on as many scales as in a stage before is not evaluated again: who is left
    was there.
    """
    counts: list[int] = []
    seen: dict[int, int] = {}  # trials by scales
    left = classes
    for stage in stages:
        before = seen.get(stage.scales, 0)
        counts.append(left * max(0, stage.trials - before))
        seen[stage.scales] = max(before, stage.trials)
        left = stage.survivors
    return counts


def check_stages(stages: Sequence[Stage], classes: int, scales: int) -> None:
    """Refuses stages that cannot be run on so many classes and scales.

    Raises:
        GcbenchError: names the first impossible stage.
    """
    left = classes
    for number, stage in enumerate(stages, start=1):
        if stage.survivors > left:
            raise GcbenchError(
                f"stage {number} keeps {stage.survivors} classes, but only {left} are left",
                hint="the counts may not grow, nor exceed the classes of the benchmark",
            )
        if stage.survivors < 1 or stage.trials < 1:
            raise GcbenchError(
                f"stage {number} keeps {stage.survivors} classes on {stage.trials} trials",
                hint="expected at least 1 of each",
            )
        if not 1 <= stage.scales <= scales:
            raise GcbenchError(
                f"stage {number} covers {stage.scales} scales, the network has {scales}",
                hint=f"expected 1 to {scales}",
            )
        left = stage.survivors
    if not stages or left != 1:
        raise GcbenchError(
            f"the last of {len(stages)} stages keeps {left} classes, expected 1",
            hint="the last stage decides",
        )


def eliminate(
    stages: Sequence[Stage], candidates: torch.Tensor, evaluate: Evaluate
) -> Iterator[Round]:
    """Runs the stages; the prediction is the only survivor of the last round.

    Args:
        stages: as :func:`check_stages` accepts them.
        candidates: class ids [B, C] that the first stage scores.
        evaluate: scores [B, c] of the candidates [B, c] of the stage of that index.
    """
    for index, stage in enumerate(stages):
        scores = evaluate(index, candidates)
        ranking = scores.argsort(dim=1, descending=True, stable=True)
        survivors = candidates.gather(1, ranking[:, : stage.survivors])
        yield Round(candidates, scores, survivors)
        candidates = survivors
