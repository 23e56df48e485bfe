"""Two classifiers on the same images: is the difference real, and which images make it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import GcbenchError
from gcbench.registry import Registry
from gcbench.report.cells import Position
from gcbench.report.evidence import Evidence, Measurements, deviations, run_command
from gcbench.report.slots import Slot
from gcbench.stats import (
    Difference,
    McNemar,
    bootstrap_difference,
    images_to_resolve,
    margin,
    mcnemar_exact,
)
from gcbench.store import Run

Label = Callable[[int], str]


@dataclass(frozen=True)
class Classifier:
    """A method's decisions on a benchmark, by one rule and number of trials."""

    slot: Slot
    evidence: Evidence

    @property
    def title(self) -> str:
        return f"{self.slot.method} ({self.slot.variant}), {self.slot.prediction}"


@dataclass(frozen=True)
class Paired:
    """Two classifiers on the same images.

    Attributes:
        differing: [M] positions of the images for which they predict different classes.
        unlike: what else than the classifier differs, in words.
    """

    first: Classifier
    second: Classifier
    test: McNemar
    difference: Difference
    differing: NDArray[np.intp]
    unlike: tuple[str, ...]

    @property
    def count(self) -> int:
        return self.first.evidence.count

    @property
    def needed(self) -> int | None:
        """Images that resolve a difference like this one; None where there is no difference."""
        discordant = (self.test.only_first + self.test.only_second) / self.count
        value = self.difference.value
        return images_to_resolve(value, discordant) if value else None


def stored_classifier(
    runs: Sequence[Run],
    method: str,
    variant: str,
    benchmark: str,
    *,
    trials: int | None = None,
    rule: str | None = None,
) -> Classifier:
    """The best stored run of that classifier: whole, large, exact, then by seed.

    Args:
        trials: None takes all that a run has.
        rule: None takes the method's default.

    Raises:
        GcbenchError: no run has that rule and number of trials.
    """
    measurements, found = Measurements(runs), []
    for run in runs:
        spec = run.spec
        if (spec["method"], spec["variant"], spec["benchmark"]) != (method, variant, benchmark):
            continue
        by = rule or (run.summary or {}).get("default_rule", "mean")
        slot = Slot(method, variant, benchmark, by, trials or spec["trials"])
        found += [
            Classifier(slot, evidence)
            for evidence in measurements.every(slot)
            if evidence.run is run
        ]
    if not found:
        by = f" by the rule {rule}" if rule else ""
        of = f" with {trials} trials" if trials else ""
        raise GcbenchError(
            f"no stored run of {method} ({variant}) on {benchmark}{of}{by}",
            hint=run_command(Slot(method, variant, benchmark, trials=trials or 1)),
        )
    return min(found, key=lambda one: one.evidence.preference)


def class_names(registry: Registry, benchmark: str, data_root: Path | None = None) -> Label:
    """Names of classes by their index; the numbers themselves where the data are not there."""
    try:
        labels = registry.benchmark(benchmark, data_root).label_space.labels
    except GcbenchError:
        return str
    return lambda index: labels[index]


def paired(first: Classifier, second: Classifier, *, common: bool, seed: int) -> Paired:
    """The paired result on the images of both.

    Args:
        common: leave out the images that only one of them has.
        seed: of the bootstrap.

    Raises:
        GcbenchError: the images differ and are not to be left out, or none is left.
    """
    a, b = first.evidence, second.evidence
    if a.run.spec["benchmark_digest"] != b.run.spec["benchmark_digest"]:
        raise GcbenchError(
            f"{a.run.spec['benchmark']} was rebuilt between the two runs: images of the same name "
            "may differ",
            hint="run the older one again: " + run_command(first.slot),
        )
    if not a.comparable(b):
        shared, in_a, in_b = np.intersect1d(a.sample_ids, b.sample_ids, return_indices=True)
        if not common:
            raise GcbenchError(
                f"the two are about different images: {a.count:,} ({a.subset}) and {b.count:,} "
                f"({b.subset}), of which {len(shared):,} are the same",
                hint="--common compares these",
            )
        if not len(shared):
            raise GcbenchError("the two have no image in common", hint="run them on one subset")
        order = np.argsort(in_a)
        a = a.restricted(in_a[order], total=len(shared))
        b = b.restricted(in_b[order], total=len(shared))
        first, second = Classifier(first.slot, a), Classifier(second.slot, b)
    unlike: dict[Position, list[str]] = deviations({(0, 0): a, (1, 0): b})
    return Paired(
        first,
        second,
        mcnemar_exact(a.correct, b.correct),
        bootstrap_difference(a.correct, b.correct, np.random.default_rng(seed)),
        np.flatnonzero(a.predicted != b.predicted),
        tuple(text for texts in unlike.values() for text in texts),
    )


def describe(result: Paired, *, show: int, seed: int, label: Label = str) -> str:
    """The result in lines of text, with the first `show` images on which the two differ.

    Args:
        label: the name of a class by its index in the label space.
    """
    a, b = result.first, result.second
    value, low, high = result.difference.value, result.difference.low, result.difference.high
    test = result.test
    neither = len(result.differing) - test.only_first - test.only_second
    lines = [
        f"{a.slot.benchmark}, {result.count:,} images",
        f"A  {_accuracy(a)}",
        f"B  {_accuracy(b)}",
        *(f"Mind: {text}." for text in result.unlike),
        f"A - B: {value:+.3f} [{low:+.3f}, {high:+.3f}] (95 %, paired bootstrap, seed {seed})",
        f"only A right {test.only_first}, only B right {test.only_second}: p = {test.p_value:.2g} "
        "(exact McNemar, two-sided)",
        _needed(result),
        f"Accuracies near {a.evidence.accuracy:.0%} on {result.count:,} images are known to "
        f"± {100 * margin(a.evidence.accuracy, result.count):.1f} points each.",
        f"They differ on {len(result.differing):,} images: {test.only_first} that only A gets "
        f"right, {test.only_second} that only B does, {neither} that neither does.",
    ]
    rows = [
        (
            str(a.evidence.sample_ids[i]),
            label(int(a.evidence.labels[i])),
            *(label(int(one.evidence.predicted[i])) for one in (a, b)),
        )
        for i in result.differing[:show]
    ]
    if rows:
        from gcbench.report.render import aligned

        lines += ["", *aligned([("image", "label", "A", "B"), *rows])]
        left = len(result.differing) - len(rows)
        lines += [f"and {left:,} more (--show)"] if left else []
    return "\n".join(lines) + "\n"


def _accuracy(one: Classifier) -> str:
    low, high = one.evidence.interval
    limitation = one.evidence.limitation
    note = f"  ({limitation})" if limitation and one.evidence.status == "partial" else ""
    return f"{one.title}: {one.evidence.accuracy:.3f} [{low:.3f}, {high:.3f}]{note}"


def _needed(result: Paired) -> str:
    if result.needed is None:
        return "The accuracies are equal: no number of images would tell them apart."
    return (
        f"Images needed to find such a difference in 80 of 100 samples, at the 5 % level: "
        f"{result.needed:,}."
    )
