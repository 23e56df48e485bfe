"""The scores of a run and the rules that combine trials into one number per class. Pure numpy.

Every classifier fills `scores[trial, class]` (higher = the class explains the image better; nats
for autoregressive models). Rules are applied to the stored record, long after the model has gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import GcbenchError, unknown_name

Array = NDArray[np.float64]
Rule = Callable[[NDArray[np.floating]], Array]


def mean_log_likelihood(scores: NDArray[np.floating]) -> Array:
    """Mean over trials, [..., K, C] -> [..., C]: the paper's lower bound (Eq. 5)."""
    return np.asarray(scores, np.float64).mean(axis=-2)


def log_mean_exp(scores: NDArray[np.floating]) -> Array:
    """log of the mean likelihood over trials, [..., K, C] -> [..., C]: the "log-likelihood".

    The paper's log E_pi[p(x | pi, c)] estimated from K orders (section 4 and Table 5).
    """
    values = np.asarray(scores, np.float64)
    return _log_sum_exp(values, axis=-2) - np.log(values.shape[-2])


def mean_posterior(scores: NDArray[np.floating]) -> Array:
    """log of the mean over trials of softmax over classes, [..., K, C] -> [..., C].

    The published script's second aggregation (ar-classifier, calc_statistics). The log keeps the
    order of classes and does not underflow.
    """
    values = np.asarray(scores, np.float64)
    log_posterior = values - _log_sum_exp(values, axis=-1)[..., None]  # [..., K, C]
    return log_mean_exp(log_posterior)


def _log_sum_exp(values: Array, axis: int) -> Array:
    peak = values.max(axis=axis, keepdims=True)
    return (np.log(np.exp(values - peak).sum(axis=axis, keepdims=True)) + peak).squeeze(axis)


RULES: dict[str, Rule] = {
    "mean": mean_log_likelihood,
    "log-mean-exp": log_mean_exp,
    "mean-posterior": mean_posterior,
}


def rule_named(name: str) -> Rule:
    """The rule of that name. Raises GcbenchError with the nearest name when there is none."""
    if name not in RULES:
        raise unknown_name("rule", name, RULES)
    return RULES[name]


@dataclass(frozen=True)
class Scores:
    """What a run produced: raw scores of every trial and class, before any rule.

    Attributes:
        sample_ids: [N] in benchmark order.
        labels: [N] int64, indices into the label space.
        classes: [C] int64, the candidate classes that the columns stand for, ascending.
        values: [N, K, C] float32; NaN marks an evaluation that was not made.
    """

    sample_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        expected = (len(self.sample_ids), len(self.classes))
        got = (self.values.shape[0], self.values.shape[-1])
        if self.values.ndim != 3 or got != expected or len(self.labels) != expected[0]:
            raise GcbenchError(
                f"scores have shape {self.values.shape}, expected [{expected[0]}, K, {expected[1]}]"
                f" with {expected[0]} labels, got {len(self.labels)}"
            )

    @property
    def trials(self) -> int:
        return int(self.values.shape[1])

    def combined(self, rule: str = "mean", trials: int | None = None) -> Array:
        """Scores of the first `trials` trials combined by `rule`, [N, C] float64."""
        count = self.trials if trials is None else trials
        if not 1 <= count <= self.trials:
            raise GcbenchError(f"asked for {count} trials of a run that holds {self.trials}")
        return rule_named(rule)(self.values[:, :count])

    def predictions(self, rule: str = "mean", trials: int | None = None) -> NDArray[np.int64]:
        """Predicted class (index into the label space) per sample, [N]; ties go to the lowest."""
        return self.classes[self.combined(rule, trials).argmax(axis=-1)]


def trial_ladder(trials: int) -> tuple[int, ...]:
    """The trial counts that reports show: 1, 2, 5, 10, 20, 50, ... and `trials` itself."""
    steps = {m * 10**e for e in range(len(str(trials))) for m in (1, 2, 5)}
    return tuple(sorted({k for k in steps if k <= trials} | {trials}))
