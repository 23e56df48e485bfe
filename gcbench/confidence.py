"""How far a classifier's probabilities can be trusted: NLL, calibration error, temperature.

A generative classifier's posterior is softmax over the candidate classes of its log-likelihoods,
the prior being uniform. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import GcbenchError
from gcbench.scores import Array, log_posterior

BINS = 15


def negative_log_likelihood(scores: NDArray[np.floating], columns: NDArray[np.integer]) -> float:
    """Mean of -log p(label | image) in nats.

    Args:
        scores: [N, C], log-probabilities of the classes up to a constant per sample.
        columns: [N] the column of each sample's label.

    Raises:
        GcbenchError: there are no samples, or not one label for each.
    """
    _check(scores, columns)
    return float(-log_posterior(scores)[np.arange(len(columns)), columns].mean())


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in bins of equal width; confidence is the highest posterior.

    Attributes:
        edges: [M + 1] from 0 to 1.
        counts: [M] samples whose confidence lies in the bin, its lower edge excluded.
        correct: [M] how many of them are right.
        confidence: [M] their mean confidence, 0 where there is none.
    """

    edges: Array
    counts: NDArray[np.int64]
    correct: NDArray[np.int64]
    confidence: Array

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al. 2017): mean distance of the two, by samples."""
        right = self.correct / np.maximum(self.counts, 1)
        share = self.counts / self.counts.sum()
        return float((share * np.abs(right - self.confidence)).sum())


def reliability(
    scores: NDArray[np.floating], columns: NDArray[np.integer], bins: int = BINS
) -> Reliability:
    """The reliability curve of scores [N, C] for labels at these columns [N].

    Raises:
        GcbenchError: there are no samples, or not one label for each.
    """
    _check(scores, columns)
    posterior = np.exp(log_posterior(scores))
    confidence, right = posterior.max(axis=1), posterior.argmax(axis=1) == columns
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # [N]
    counts = np.bincount(bin_of, minlength=bins)
    total = np.bincount(bin_of, weights=confidence, minlength=bins)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        counts=counts,
        correct=np.bincount(bin_of, weights=right, minlength=bins).astype(np.int64),
        confidence=total / np.maximum(counts, 1),
    )


def fit_temperature(scores: NDArray[np.floating], columns: NDArray[np.integer]) -> float:
    """The T > 0 for which scores / T have the least negative log-likelihood (Guo et al. 2017).

    The loss is convex in 1 / T, so that a search over log T between 1e-3 and 1e5 finds it.

    Raises:
        GcbenchError: there are no samples, or not one label for each.
    """
    from scipy.optimize import minimize_scalar

    _check(scores, columns)
    values = np.asarray(scores, np.float64)
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(values / np.exp(log_t), columns),
        bounds=(np.log(1e-3), np.log(1e5)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def _check(scores: NDArray[np.floating], columns: NDArray[np.integer]) -> None:
    if scores.ndim != 2 or len(scores) != len(columns) or len(columns) == 0:
        raise GcbenchError(
            f"scores have shape {scores.shape} and there are {len(columns)} labels: expected "
            "[N, C] and N, at least one"
        )
