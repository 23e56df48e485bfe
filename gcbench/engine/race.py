"""Racing: drop the classes that can no longer win, trial by trial. Pure numpy.

After k of K trials the leader's final lead over class c is known up to the K - k trials that are
left. With d_c the mean of the paired gaps so far and v_c their variance, it is d_c with variance
``v_c (1/k - 1/K)``: sampling without replacement, hence exact at k = K. The class overtakes with
chance ``p_c = P(t > d_c / sqrt(v_c (1/k - 1/K)))``. Each look at the scores may spend a share of
the risk budget delta and drops the largest set of classes whose chances add up to no more.

An image's answer thus differs from the exhaustive one with a chance of at most delta, if gaps are
about normal and the visited trials stand for all of them: a model, not a guarantee.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A class's own variance, from k trials, is pooled with one from calibration images that counts as
# much as these many trials. Variances scatter about that line as if it came from 10 to 17 trials
# where it decides, at gaps of 8 to 30 nats (RandAR on Fashion-MNIST, one and two garments).
PSEUDO_TRIALS = 12
# Classes of a calibration image among which all gaps count, not only those to the best.
BEST_FEW = 4

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def looks(trials: int) -> tuple[int, ...]:
    """The trial counts after which classes are dropped; the last is `trials`.

    Every trial at first, then a quarter more each time: late looks save little, and the batches of
    the few classes that are left stay larger.
    """
    counts = [1]
    while counts[-1] < trials:
        counts.append(min(trials, counts[-1] + max(1, counts[-1] // 4)))
    return tuple(counts)


def budget(look: int, trials: int, delta: float) -> float:
    """The share of `delta` that may be spent at the look of that index; all shares sum to less.

    Half of it goes to the first look, after which most of the work is saved or not.
    """
    counts = looks(trials)
    if look + 1 == len(counts):
        return 0.0
    return delta * (1 / counts[look] - 1 / counts[look + 1])


@dataclass(frozen=True)
class Spread:
    """Variance of a paired gap from trial to trial, as a line in the gap: ``level + slope * gap``.

    Measured: the farther a class lies behind, the more its distance varies. One variance for all
    would be that of the many far classes and keep the few near ones in the race for too long.
    """

    level: float = 0.0
    slope: float = 0.0

    def variance(self, gap: Floats) -> Floats:
        """For gaps of any shape; below zero as at zero."""
        return self.level + self.slope * np.maximum(gap, 0.0)


NO_SPREAD = Spread()


def measure_spread(values: NDArray[np.floating]) -> Spread:
    """The line through the gaps between the best class and all, and among the best few.

    Weighted least squares, neither coefficient negative. The pairs among the best few add small
    gaps, without which the level would hang on one class per image.

    Args:
        values: scores [M, k, C] of M calibration images in k >= 2 trials.
    """
    from scipy.optimize import nnls

    scores = np.asarray(values, np.float64)
    ranked = (-scores.mean(axis=1)).argsort(axis=1, kind="stable")[:, None]  # [M, 1, C]
    scores = np.take_along_axis(scores, ranked, axis=2)  # best class first
    few = min(BEST_FEW, scores.shape[2])
    pairs = [scores[:, :, :1] - scores[:, :, 1:]]
    pairs += [scores[:, :, i : i + 1] - scores[:, :, i + 1 : few] for i in range(1, few - 1)]
    gaps = np.concatenate(pairs, axis=2)  # [M, k, pairs]
    lead, variance = gaps.mean(axis=1).ravel(), gaps.var(axis=1, ddof=1).ravel()
    weight = 1 / (lead + np.median(lead) / 2 + np.finfo(float).tiny)
    (level, slope), _ = nnls(np.stack([weight, weight * lead], axis=1), weight * variance)
    return Spread(float(level), float(slope))


def survivors(
    values: NDArray[np.floating], alive: Mask, *, trials: int, spread: Spread, spend: float
) -> Mask:
    """The classes that stay in the race, [B, C]: the leader, and who may still overtake it.

    Args:
        values: scores [B, k, C] of the trials so far; those of dropped classes are not read.
        alive: [B, C], at least one class per image.
        trials: K.
        spread: of paired gaps on calibration images.
        spend: sum of the chances of overtaking that may be given up per image.
    """
    from scipy.stats import t as student

    count = values.shape[1]
    scores = np.where(alive[:, None], np.asarray(values, np.float64), -np.inf)
    gaps, rivals = _gaps(scores, alive)
    lead = gaps.mean(axis=1)  # [B, C]
    squares = ((gaps - lead[:, None]) ** 2).sum(axis=1)
    freedom = count - 1 + PSEUDO_TRIALS
    variance = (squares + PSEUDO_TRIALS * spread.variance(lead)) / freedom
    error = np.sqrt(variance * (1 / count - 1 / trials))
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = student.sf(np.where(lead > 0, lead / error, 0.0), freedom)
    chance = np.where(rivals, chance, np.inf)  # [B, C]
    order = chance.argsort(axis=1, kind="stable")
    total = np.take_along_axis(chance, order, axis=1).cumsum(axis=1)
    dropped = np.zeros_like(alive)
    np.put_along_axis(dropped, order, (total <= spend) & (spend > 0), axis=1)
    return alive & ~dropped


def _gaps(scores: Floats, alive: Mask) -> tuple[Floats, Mask]:
    """Gaps [B, k, C] of each class to the leader, 0 where dead, and the mask [B, C] of rivals."""
    means = np.where(alive, scores.mean(axis=1), -np.inf)
    leader = means.argmax(axis=1)[:, None, None]  # [B, 1, 1]
    rivals = alive.copy()
    np.put_along_axis(rivals, leader[:, 0], False, axis=1)
    best = np.take_along_axis(scores, leader, axis=2)  # [B, k, 1]
    return np.where(rivals[:, None], best - np.where(rivals[:, None], scores, 0.0), 0.0), rivals
