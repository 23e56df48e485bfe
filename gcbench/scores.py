"""The scores of a run and the rules that combine trials into one number per class. Pure numpy.

Every classifier fills `scores[trial, class]` (higher = the class explains the image better; nats
for autoregressive models). Rules are applied to the stored record, long after the model has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    return log_mean_exp(log_posterior(scores))


def log_posterior(scores: NDArray[np.floating]) -> Array:
    """log softmax over classes, [..., C] -> [..., C]: Bayes' rule with a uniform prior."""
    values = np.asarray(scores, np.float64)
    return values - _log_sum_exp(values, axis=-1)[..., None]


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
class TrialDesign:
    """What a method's trials are, where they are not draws from one distribution.

    Attributes:
        nested: the smaller runs that a run contains: their count of trials -> which trials.
        weights: rules of the method's own: name -> weight of each of the K trials. A rule is the
            mean over trials of weight times score.
    """

    nested: Mapping[int, tuple[int, ...]]
    weights: Mapping[str, tuple[float, ...]]

    def rule(self, name: str, trials: Sequence[int] | None = None) -> Rule:
        """The rule of that name for scores of these of the K trials, all of them if None.

        Raises:
            GcbenchError: there is no such rule.
        """
        if name == "mean":
            return mean_log_likelihood
        if name not in self.weights:
            raise unknown_name("rule", name, ("mean", *self.weights))
        weights = np.array(self.weights[name])[slice(None) if trials is None else list(trials)]
        return lambda scores: mean_log_likelihood(weights[:, None] * scores.astype(np.float64))

    def as_json(self) -> dict[str, Any]:
        """Plain nested values; JSON knows only strings as keys."""
        return {
            "nested": {str(count): list(chosen) for count, chosen in self.nested.items()},
            "weights": {name: list(weights) for name, weights in self.weights.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrialDesign:
        """From what `as_json` gave."""
        return cls(
            nested={int(count): tuple(chosen) for count, chosen in value["nested"].items()},
            weights={name: tuple(weights) for name, weights in value["weights"].items()},
        )


def rule_for(name: str, design: TrialDesign | None) -> Rule:
    """The rule of that name for all trials of a run. Raises GcbenchError when there is none."""
    return rule_named(name) if design is None else design.rule(name)


@dataclass(frozen=True)
class Scores:
    """What a run produced: raw scores of every trial and class, before any rule.

    Attributes:
        sample_ids: [N] in benchmark order.
        labels: [N] int64, indices into the label space.
        classes: [C] int64, the candidate classes that the columns stand for, ascending.
        values: [N, K, C] float32; NaN marks an evaluation that was not made.
        exhaustive: whether all were meant to be made. The rules need them all; of what another
            strategy evaluated only `decisions` is defined.
        design: what the trials are; None: draws from one distribution, any of which are as good.
        made: evaluations of each sample where others than these were made, on the first scales;
            None: `values` holds all.
    """

    sample_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    values: NDArray[np.float32]
    exhaustive: bool = True
    design: TrialDesign | None = None
    made: int | None = None

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

    @property
    def ladder(self) -> tuple[int, ...]:
        """The trial counts that reports show: the smaller runs that are part of this one."""
        return trial_ladder(self.trials) if self.design is None else tuple(self.design.nested)

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that may combine the trials; all agree where there is one trial."""
        return tuple(RULES) if self.design is None else ("mean", *self.design.weights)

    def combined(self, rule: str = "mean", trials: int | None = None) -> Array:
        """Scores of `trials` trials combined by `rule`, [N, C] float64.

        These are the first trials, or those that make up the smaller run by the trials' design.
        """
        if not self.exhaustive:
            raise GcbenchError(
                "the run did not evaluate every class in every trial: no rule applies to it",
                hint="run it with --strategy exhaustive, or take its decisions",
            )
        count = self.trials if trials is None else trials
        if self.design is None:
            if not 1 <= count <= self.trials:
                raise GcbenchError(f"asked for {count} trials of a run that holds {self.trials}")
            return rule_named(rule)(self.values[:, :count])
        if count not in self.design.nested:
            raise GcbenchError(
                f"asked for {count} trials of a run of {self.trials}, which contains no such run",
                hint=f"it contains {', '.join(map(str, self.design.nested))}",
            )
        chosen = self.design.nested[count]
        return self.design.rule(rule, chosen)(self.values[:, list(chosen)])

    def predictions(self, rule: str = "mean", trials: int | None = None) -> NDArray[np.int64]:
        """Predicted class (index into the label space) per sample, [N]; ties go to the lowest."""
        return self.classes[self.combined(rule, trials).argmax(axis=-1)]

    def decisions(self) -> NDArray[np.int64]:
        """Predicted class per sample, [N], whatever the strategy; see `decide`."""
        return self.classes[decide(self.values)]

    def evaluations(self) -> NDArray[np.int64]:
        """How many were made for each sample, [N]."""
        if self.made is not None:
            return np.full(len(self.sample_ids), self.made)
        return np.isfinite(self.values).sum(axis=(1, 2))


def final_means(values: NDArray[np.floating]) -> Array:
    """Means of the classes in question, -inf for the others, [..., K, C] -> [..., C].

    In question are the classes with the most evaluated trials: one that was dropped has fewer.

    Args:
        values: scores, NaN where not evaluated.
    """
    made = np.isfinite(values)
    counts = made.sum(axis=-2)  # [..., C]
    total = np.where(made, values, 0.0).astype(np.float64).sum(axis=-2)
    means = np.divide(total, counts, out=np.full(total.shape, -np.inf), where=counts > 0)
    return np.where(counts == counts.max(axis=-1, keepdims=True), means, -np.inf)


def decide(values: NDArray[np.floating]) -> NDArray[np.intp]:
    """The column that scores [..., K, C] with NaN for what was not evaluated decide for, [...].

    The highest of the `final_means`; on a whole grid that is the rule `mean`.
    """
    return final_means(values).argmax(axis=-1)


def trial_ladder(trials: int) -> tuple[int, ...]:
    """The trial counts that reports show: 1, 2, 5, 10, 20, 50, ... and `trials` itself."""
    steps = {m * 10**e for e in range(len(str(trials))) for m in (1, 2, 5)}
    return tuple(sorted({k for k in steps if k <= trials} | {trials}))
