"""Evaluates what a strategy asks for: rounds of trials for the classes that are still alive.

The classes of all images of a shard share the batches, so that these stay full while classes drop
out. What an image evaluates depends on its own scores alone, never on its company or on the batch
size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.engine import adaptive, race
from gcbench.method import GenerativeMethod, Trials, Work
from gcbench.scales import CoarseToFineMethod
from gcbench.stages import Stage
from gcbench.strategy import Strategy

if TYPE_CHECKING:
    import torch

Mask = NDArray[np.bool_]
Scored = NDArray[np.float32]
# (index of the round, scores [B, k, C] so far, alive [B, C]) -> alive [B, C]
Rule = Callable[[int, Scored, Mask], Mask]


def schedule(
    strategy: Strategy, order: Sequence[int], spread: race.Spread
) -> tuple[list[list[int]], Rule]:
    """The trials of each round, and the rule that says who goes on after it.

    Args:
        order: in which a race visits the K trials.
        spread: of paired gaps on calibration images, for a race.
    """
    trials = len(order)
    if strategy.races:
        delta, sizes = strategy.delta or 0.0, spread.visited(order)
        counts = race.looks(trials)
        starts = (0, *counts[:-1])

        def overtakers(index: int, scores: Scored, alive: Mask) -> Mask:
            spend = race.budget(index, trials, delta)
            return race.survivors(scores, alive, sizes=sizes, spread=spread, spend=spend)

        return [list(order[a:b]) for a, b in zip(starts, counts, strict=True)], overtakers

    def best(index: int, scores: Scored, alive: Mask) -> Mask:
        return adaptive.best(scores, alive, strategy.stages[index][1])

    return adaptive.new_trials([count for count, _ in strategy.stages], trials), best


def evaluate_rounds(
    method: GenerativeMethod,
    latent: torch.Tensor,
    drawn: Trials,
    classes: torch.Tensor,
    rounds: Sequence[Sequence[int]],
    rule: Rule,
    alive: Mask,
    batch_size: int,
    known: Scored | None = None,
) -> tuple[Scored, Mask]:
    """Scores [B, K, C] of the evaluations that were made, NaN elsewhere, and which those are.

    Args:
        rounds: the trials that each round adds.
        alive: [B, C], the classes that start. An image with one class left stops, but not before
            the first round.
        known: [B, K, C], the first round's scores of those classes, where they are there already.
    """
    values = np.full((len(alive), drawn.count, alive.shape[1]), np.nan, np.float32)
    values = values if known is None else known.copy()
    made = np.isfinite(values)
    visited: list[int] = []
    for index, trials in enumerate(rounds):
        active = np.flatnonzero((alive.sum(axis=1) > 1) | (index == 0))
        if not len(active):
            break
        there = index == 0 and known is not None
        for work, cells in (
            () if there else flat_batches(alive, active, trials, classes, batch_size)
        ):
            values[cells] = method.score(latent, drawn, work).float().cpu().numpy()
            made[cells] = True
        visited += trials
        alive = alive.copy()
        alive[active] = rule(index, values[active][:, visited], alive[active])
    return values, made


def evaluate_stages(
    method: CoarseToFineMethod,
    latent: torch.Tensor,
    drawn: Trials,
    classes: torch.Tensor,
    stages: Sequence[Stage],
    alive: Mask,
    batch_size: int,
    check: Callable[[Scored], None],
) -> Scored:
    """Scores [B, K, C] of the last stage, NaN elsewhere: those before cover fewer scales.

    A trial that a stage before evaluated on as many scales is not evaluated again.

    Args:
        stages: as `gcbench.stages.check_stages` accepts them.
        alive: [B, C], the classes that start.
        check: called with what each stage reads, [B, k, C], 0 for the classes that are out.
    """
    tables: dict[int, Scored] = {}  # by scales
    seen: dict[int, int] = {}
    images = np.arange(len(alive))
    for stage in stages:
        empty = np.full((len(alive), drawn.count, alive.shape[1]), np.nan, np.float32)
        table = tables.setdefault(stage.scales, empty)
        new = range(seen.get(stage.scales, 0), stage.trials)
        for work, cells in flat_batches(alive, images, new, classes, batch_size) if new else ():
            scores = method.score_scales(latent, drawn, work, stage.scales)
            table[cells] = scores.float().cpu().numpy()
        seen[stage.scales] = max(seen.get(stage.scales, 0), stage.trials)
        values = np.where(alive[:, None], table[:, : stage.trials], np.float32(0))
        check(values)
        entrants, alive = alive, adaptive.best(values, alive, stage.survivors)
    last = np.full((len(alive), drawn.count, alive.shape[1]), np.nan, np.float32)
    last[:, : stages[-1].trials] = np.where(entrants[:, None], values, np.float32(np.nan))
    return last


Cells = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]  # image, trial, column


def flat_batches(
    alive: Mask,
    images: NDArray[np.intp],
    trials: Sequence[int],
    classes: torch.Tensor,
    size: int,
) -> Iterator[tuple[Work, Cells]]:
    """Batches of nearly equal size, at most `size`, of the living classes in these trials.

    Evaluations come image by image, trial by trial; a pair may be cut at the end of a batch.
    """
    import torch

    shape = (len(images), len(trials), alive.shape[1])
    row, step, column = np.nonzero(np.broadcast_to(alive[images][:, None], shape))
    image, trial = images[row], np.asarray(trials)[step]
    parts = -(-len(image) // max(1, size))
    for part in np.array_split(np.arange(len(image)), parts):
        cells = image[part], trial[part], column[part]
        pair = row[part] * len(trials) + step[part]
        first = np.flatnonzero(np.diff(pair, prepend=-1))  # where each pair's list starts
        work = Work(
            image=torch.from_numpy(cells[0][first]),
            trial=torch.from_numpy(cells[1][first]),
            classes=classes[torch.from_numpy(cells[2])],
            offsets=torch.from_numpy(np.append(first, len(part))),
        )
        yield work, cells
