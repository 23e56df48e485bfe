"""Racing: drop the classes that can no longer win, trial by trial. Pure numpy.

After k of K trials the leader's final lead over class c is known up to the K - k trials that are
left. With d_c the mean of the paired gaps so far and v_c their variance, it is d_c with variance
``v_c (1/k - 1/K)``: sampling without replacement, hence exact at k = K. The class overtakes with
chance ``p_c = P(t > d_c / sqrt(v_c (1/k - 1/K)))``. Each look at the scores may spend a share of
the risk budget delta and drops the largest set of classes whose chances add up to no more.

Trials need not be alike: timesteps of little noise decide more than those of much. Trial t then has
a size s_t (mean 1), gaps are ``g_t = s_t r_t`` with r_t alike, and the lead is estimated by the
ratio ``d = sum g / sum s`` over the visited trials. With U those left and V those visited it has
variance ``v / K^2 (sum_U s^2 + (sum_U s)^2 sum_V s^2 / (sum_V s)^2)``, v that of r_t; with all
sizes 1 it is the one above.

An image's answer thus differs from the exhaustive one with a chance of at most delta, if gaps are
about normal and the visited trials stand for all of them: a model, not a guarantee.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A class's own variance, from k trials, is pooled with one from calibration images that counts as
# much as these many trials. Variances scatter about that line as if it came from 10 to 17 trials
# where it decides, at gaps of 8 to 30 nats (RandAR on Fashion-MNIST, one and two garments).
PSEUDO_TRIALS = 12
# Classes of a calibration image among which all gaps count, not only those to the best.
BEST_FEW = 4
# A trial is no smaller than this share of the largest one: what is left of the smallest trials must
# not seem to be nothing, or classes that are almost level are dropped just before the end.
SMALLEST = 0.1

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
    `sizes` are those of the K trials, of mean 1; none where they are draws from one distribution.
    """

    level: float = 0.0
    slope: float = 0.0
    sizes: tuple[float, ...] = ()

    def variance(self, gap: Floats) -> Floats:
        """For gaps of any shape; below zero as at zero."""
        return self.level + self.slope * np.maximum(gap, 0.0)

    def visited(self, order: Sequence[int]) -> Floats:
        """Sizes of the K trials in the order in which they are visited, [K]."""
        return np.array(self.sizes)[list(order)] if self.sizes else np.ones(len(order))


NO_SPREAD = Spread()


def measure_sizes(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Sizes of K trials: root mean square gaps among each image's three best classes, of mean 1.

    Near rivals decide, and of them the trials that matter are others than of far ones.

    Args:
        values: scores [M, K, C] of M calibration images in all trials.
    """
    best = _best_first(values)[:, :, :3]  # [M, K, 3]
    near = best[:, :, :1] - best[:, :, 1:], best[:, :, 1:2] - best[:, :, 2:]
    size = np.sqrt(np.square(np.concatenate(near, axis=2)).mean(axis=(0, 2)))  # [K]
    size = np.maximum(size, max(SMALLEST * size.max(), np.finfo(float).tiny))
    return tuple((size / size.mean()).tolist())


def measure_spread(values: NDArray[np.floating], sizes: tuple[float, ...] = ()) -> Spread:
    """The line through the gaps between the best class and all, and among the best few.

    Weighted least squares, neither coefficient negative. The pairs among the best few add small
    gaps, without which the level would hang on one class per image.

    Args:
        values: scores [M, k, C] of M calibration images in k >= 2 trials, all of them with `sizes`.
        sizes: of trials that are not alike, [K].
    """
    from scipy.optimize import nnls

    scores = _best_first(values)
    few = min(BEST_FEW, scores.shape[2])
    pairs = [scores[:, :, :1] - scores[:, :, 1:]]
    pairs += [scores[:, :, i : i + 1] - scores[:, :, i + 1 : few] for i in range(1, few - 1)]
    gaps = np.concatenate(pairs, axis=2)  # [M, k, pairs]
    lead, squares = _lead(gaps, np.array(sizes) if sizes else np.ones(gaps.shape[1]))
    lead, variance = lead.ravel(), squares.ravel() / (gaps.shape[1] - 1)
    weight = 1 / (lead + np.median(lead) / 2 + np.finfo(float).tiny)
    (level, slope), _ = nnls(np.stack([weight, weight * lead], axis=1), weight * variance)
    return Spread(float(level), float(slope), sizes)


def _best_first(values: NDArray[np.floating]) -> Floats:
    scores = np.asarray(values, np.float64)
    ranked = (-scores.mean(axis=1)).argsort(axis=1, kind="stable")[:, None]  # [M, 1, C]
    return np.take_along_axis(scores, ranked, axis=2)


def survivors(
    values: NDArray[np.floating], alive: Mask, *, sizes: Floats, spread: Spread, spend: float
) -> Mask:
    """The classes that stay in the race, [B, C]: the leader, and who may still overtake it.

    Args:
        values: scores [B, k, C] of the trials so far; those of dropped classes are not read.
        alive: [B, C], at least one class per image.
        sizes: of all K trials in the order in which they are visited, [K].
        spread: of paired gaps on calibration images.
        spend: sum of the chances of overtaking that may be given up per image.
    """
    from scipy.stats import t as student

    count = values.shape[1]
    scores = np.where(alive[:, None], np.asarray(values, np.float64), -np.inf)
    gaps, rivals = _gaps(scores, alive)
    seen, left = sizes[:count], sizes[count:]
    lead, squares = _lead(gaps, seen)  # [B, C]
    freedom = count - 1 + PSEUDO_TRIALS
    variance = (squares + PSEUDO_TRIALS * spread.variance(lead)) / freedom
    unseen = np.square(left).sum() + (left.sum() / seen.sum()) ** 2 * np.square(seen).sum()
    error = np.sqrt(variance * unseen) / sizes.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = student.sf(np.where(lead > 0, lead / error, 0.0), freedom)
    chance = np.where(rivals, chance, np.inf)  # [B, C]
    order = chance.argsort(axis=1, kind="stable")
    total = np.take_along_axis(chance, order, axis=1).cumsum(axis=1)
    dropped = np.zeros_like(alive)
    np.put_along_axis(dropped, order, (total <= spend) & (spend > 0), axis=1)
    return alive & ~dropped


def _lead(gaps: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Ratio estimate [B, C] of the lead from gaps [B, k, C], and the squares around it, summed."""
    lead = gaps.sum(axis=1) / sizes.sum()
    around = gaps - sizes[:, None] * lead[:, None]
    return lead, np.square(around).sum(axis=1) / np.square(sizes).mean()


def _gaps(scores: Floats, alive: Mask) -> tuple[Floats, Mask]:
    """Gaps [B, k, C] of each class to the leader, 0 where dead, and the mask [B, C] of rivals."""
    means = np.where(alive, scores.mean(axis=1), -np.inf)
    leader = means.argmax(axis=1)[:, None, None]  # [B, 1, 1]
    rivals = alive.copy()
    np.put_along_axis(rivals, leader[:, 0], False, axis=1)
    best = np.take_along_axis(scores, leader, axis=2)  # [B, k, 1]
    return np.where(rivals[:, None], best - np.where(rivals[:, None], scores, 0.0), 0.0), rivals
