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

import numpy as np
from numpy.typing import NDArray

# A class's own variance, from k trials, is pooled with one from calibration images that counts as
# much as these many trials.
PSEUDO_TRIALS = 8

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


def pooled_variance(values: NDArray[np.floating]) -> float:
    """Mean variance of the paired gaps between the best class and every other.

    Args:
        values: scores [M, k, C] of M calibration images in k >= 2 trials.
    """
    scores = np.asarray(values, np.float64)
    gaps, rivals = _gaps(scores, np.ones((len(scores), scores.shape[-1]), bool))
    variances = gaps.var(axis=1, ddof=1)  # [M, C]
    return float(variances[rivals].mean()) if rivals.any() else 0.0


def survivors(
    values: NDArray[np.floating], alive: Mask, *, trials: int, pooled: float, spend: float
) -> Mask:
    """The classes that stay in the race, [B, C]: the leader, and who may still overtake it.

    Args:
        values: scores [B, k, C] of the trials so far; those of dropped classes are not read.
        alive: [B, C], at least one class per image.
        trials: K.
        pooled: variance of paired gaps on calibration images.
        spend: sum of the chances of overtaking that may be given up per image.
    """
    from scipy.stats import t as student

    count = values.shape[1]
    scores = np.where(alive[:, None], np.asarray(values, np.float64), -np.inf)
    gaps, rivals = _gaps(scores, alive)
    lead = gaps.mean(axis=1)  # [B, C]
    squares = ((gaps - lead[:, None]) ** 2).sum(axis=1)
    freedom = count - 1 + PSEUDO_TRIALS
    spread = np.sqrt((squares + PSEUDO_TRIALS * pooled) / freedom * (1 / count - 1 / trials))
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = student.sf(np.where(lead > 0, lead / spread, 0.0), freedom)
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
