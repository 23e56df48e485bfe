"""Intervals and tests for accuracies measured on the same images. Pure functions of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import GcbenchError

CONFIDENCE = 0.95


def wilson_interval(
    correct: int, total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Wilson score interval (low, high) of a proportion.

    Unlike the normal approximation it stays inside [0, 1] and has width at 0 % and 100 %
    (Wilson 1927; recommended for small samples by Brown, Cai and DasGupta 2001).

    Raises:
        GcbenchError: there are no samples, or `correct` is not in [0, total].
    """
    if total < 1 or not 0 <= correct <= total:
        raise GcbenchError(f"got {correct} correct of {total}, expected 0 <= correct <= total >= 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, shrink = correct / total, 1 + z**2 / total
    centre = (share + z**2 / (2 * total)) / shrink
    half = z / shrink * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    # At 0 and 100 % a bound is the proportion itself; rounding must not push it past.
    return min(max(0.0, centre - half), share), max(min(1.0, centre + half), share)


def mean_interval(
    values: NDArray[np.floating], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Normal interval (low, high) of a mean over samples, from their sample variance.

    Raises:
        GcbenchError: there are fewer than two values [N].
    """
    if len(values) < 2:
        raise GcbenchError(f"an interval of a mean needs at least 2 values, got {len(values)}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    mean, half = float(values.mean()), z * float(values.std(ddof=1)) / sqrt(len(values))
    return mean - half, mean + half


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test: samples that only the first or only the second gets right."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar_exact(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Two-sided exact test that two classifiers err equally often on the same samples.

    Under the null hypothesis each discordant sample favours either side with probability 1/2, so
    the smaller count is binomial (McNemar 1947, exact form).

    Args:
        first, second: [N] whether each classifier is right on sample n.

    Raises:
        GcbenchError: the two do not cover the same number of samples.
    """
    from scipy.stats import binom

    first, second = _paired(first, second)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    tail = binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return McNemar(only_first, only_second, min(1.0, 2 * float(tail)))


@dataclass(frozen=True)
class Difference:
    """A difference of two accuracies, first minus second, with its interval."""

    value: float
    low: float
    high: float


def bootstrap_difference(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    resamples: int = 10_000,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Paired percentile bootstrap of an accuracy difference over the same samples.

    A resample of paired outcomes is determined by how often it holds a win, a loss and a draw, so
    it is one multinomial draw: same distribution as resampling the N samples, at no cost in N.

    Args:
        first, second: [N] whether each classifier is right on sample n.
        rng: source of the resamples; the same generator state gives the same interval.

    Raises:
        GcbenchError: the two do not cover the same number of samples, or there is none.
    """
    first, second = _paired(first, second)
    total = len(first)
    if total == 0:
        raise GcbenchError("cannot bootstrap a difference without samples")
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    shares = np.array([wins, losses, total - wins - losses]) / total
    counts = rng.multinomial(total, shares, size=resamples)  # [resamples, 3]
    differences = (counts[:, 0] - counts[:, 1]) / total
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return Difference((wins - losses) / total, float(low), float(high))


def images_to_resolve(
    difference: float, discordant: float, *, power: float = 0.8, significance: float = 0.05
) -> int:
    """Images on which a McNemar test finds a difference of accuracies with that power.

    (z_{1 - significance / 2} sqrt(psi) + z_{power} sqrt(psi - d^2))^2 / d^2 for a difference d and
    a share psi of discordant images (Connor 1987).

    Args:
        difference: between the two accuracies.
        discordant: share of images that exactly one of the two gets right.

    Raises:
        GcbenchError: there is no difference, or it is larger than the discordant share.
    """
    if not 0 < abs(difference) <= discordant <= 1:
        raise GcbenchError(
            f"got a difference of {difference} and a discordant share of {discordant}, expected "
            "0 < |difference| <= discordant <= 1"
        )
    z = NormalDist().inv_cdf
    spread = sqrt(max(0.0, discordant - difference**2))
    root = z(1 - significance / 2) * sqrt(discordant) + z(power) * spread
    return ceil((root / difference) ** 2)


def margin(accuracy: float, images: int, confidence: float = CONFIDENCE) -> float:
    """Half the width of the normal interval of an accuracy: z sqrt(p (1 - p) / n).

    A rule of thumb for planning: +- 0.018 at 80 % for 2,000 images.

    Raises:
        GcbenchError: there are no images, or the accuracy is not in [0, 1].
    """
    if images < 1 or not 0 <= accuracy <= 1:
        raise GcbenchError(f"got an accuracy of {accuracy} on {images} images")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return z * sqrt(accuracy * (1 - accuracy) / images)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: reject where the adjusted value is at most alpha.

    Controls the chance of any false rejection in the family, whatever the dependence between the
    tests (Holm 1979). The result has the order of the input.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _paired(
    first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if first.shape != second.shape or first.ndim != 1:
        raise GcbenchError(
            f"a paired test needs the same samples twice, got {first.shape} and {second.shape}"
        )
    return first.astype(bool), second.astype(bool)
