"""Classifiers as a figure shows them: accuracies of stored runs, a colour, a marker, a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.report.evidence import Measurements
from gcbench.report.figures import BENCHMARKS, error_bars
from gcbench.report.layouts import Suite, suite_of
from gcbench.report.slots import Slot
from gcbench.report.wanted import instance, lacking, wanted
from gcbench.stats import wilson_interval
from gcbench.store import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Tables whose rows are the figure's classifiers; where two hold the same one, the first names it.
TABLES = (2, 10, 4, 9)
FAMILIES = ("discriminative", "joint", "diffusion", "autoregressive")
MARKERS = "osD^vPX<>*dhp"
LEGEND_ROWS = 8


@dataclass(frozen=True)
class Point:
    """A classifier by its first `trials` trials, on one benchmark.

    Attributes:
        accuracy, interval: with its 95 % Wilson interval.
        seconds: per image, the median over the run's shards; of fewer trials than the run's, in
            proportion.
        flops: per image, evaluations times the operations of one; None where not known.
        whole: the run has just these trials: its seconds are measured.
    """

    trials: int
    accuracy: float
    interval: tuple[float, float]
    seconds: float
    flops: float | None
    whole: bool


@dataclass(frozen=True)
class Curve:
    """A classifier on one benchmark, by growing numbers of trials, and how its time was taken."""

    points: tuple[Point, ...]
    conditions: str


@dataclass(frozen=True)
class Series:
    """A classifier on every benchmark where it is measured."""

    label: str
    family: str
    curves: Mapping[str, Curve]


def measured_series(runs: Sequence[Run], suite: str) -> list[Series]:
    """The classifiers of the paper's tables that finished runs of the suite are about."""
    measurements = Measurements(runs)
    found = []
    for label, slots in classifiers(suite).items():
        curves = {slot.benchmark: curve for slot in slots if (curve := _curve(slot, measurements))}
        if curves:
            found.append(Series(label, family_of(slots[0]), curves))
    return sorted(found, key=lambda series: FAMILIES.index(series.family))


def classifiers(suite: str) -> dict[str, list[Slot]]:
    """Label -> slots, one per benchmark, of every classifier in the tables.

    Tables leave out benchmarks that a figure shows where a classifier is measured on them.
    """
    chosen = suite_of(suite)
    named: dict[tuple[str, str], str] = {}
    slots: dict[str, Slot] = {}
    for number in TABLES:
        asked = wanted(number, suite)
        for (r, _), slot in asked.cells():
            if isinstance(slot, Slot) and not lacking(slot):
                row = dict(zip(asked.fields, asked.rows[r], strict=True))
                label = named.setdefault((slot.method, slot.variant), _label(row, chosen))
                slots.setdefault(label, slot)
    return {
        label: [chosen.on(chosen.name(name), slot) for name in BENCHMARKS]
        for label, slot in slots.items()
    }


def _label(row: Mapping[str, str], suite: Suite) -> str:
    """What a table's row is called where it stands alone."""
    if "tokenizer" in row:
        return f"RandAR ({row['tokenizer']})"
    sized = "size" in row and not suite.stand_in
    return f"{row['method']} {row['size']}" if sized else row["method"]


def family_of(slot: Slot) -> str:
    return instance(slot.method, slot.variant).family


def _curve(slot: Slot, measurements: Measurements) -> Curve | None:
    """The points of the best run behind a slot; None when it is unfinished or has no time."""
    evidence = measurements.find(slot)
    if evidence is None or evidence.status == "partial" or evidence.run.summary is None:
        return None
    spec, summary = evidence.run.spec, evidence.run.summary
    seconds = summary.get("median_seconds_per_image") or summary.get("seconds_per_image")
    if not seconds:
        return None
    each = instance(slot.method, slot.variant).flops_per_evaluation()
    points = []
    for name, counts in summary["accuracy"].items():
        rule, _, number = name.partition("@")
        trials = int(number)
        if trials > slot.trials or rule != (slot.rule if trials > 1 else "mean"):
            continue
        share = trials / spec["trials"]
        points.append(
            Point(
                trials,
                counts["correct"] / counts["total"],
                wilson_interval(counts["correct"], counts["total"]),
                seconds * share,
                None if each is None else each * summary["evaluations_per_image"] * share,
                whole=trials == spec["trials"],
            )
        )
    return Curve(tuple(sorted(points, key=lambda point: point.trials)), _conditions(evidence.run))


def _conditions(run: Run) -> str:
    """Under which a run was timed: machine, threads, path and precision."""
    origin = (run.summary or {}).get("provenance", {})
    threads = origin.get("threads", "?")
    return ", ".join(
        (
            str(origin.get("device", "unknown machine")),
            f"{threads} thread{'' if threads == 1 else 's'}",
            f"{run.spec.get('path', 'reference')} path",
            str(run.spec["precision"]),
        )
    )


Style = tuple[Any, str]


def styles_of(found: Sequence[Series]) -> dict[str, Style]:
    """Colour of the family and a marker of its own within it, by label."""
    import seaborn as sns

    # Blue, orange, green and pink of the colour-blind safe palette.
    palette = sns.color_palette("colorblind")
    colours = dict(zip(FAMILIES, (palette[2], palette[4], palette[1], palette[0]), strict=True))
    members: Counter[str] = Counter()
    styles = {}
    for series in found:
        marker = MARKERS[members[series.family] % len(MARKERS)]
        styles[series.label] = (colours[series.family], marker)
        members[series.family] += 1
    return styles


def draw_curve(panel: Axes, curve: Curve, axis: str, style: Style, filled: bool) -> None:
    colour, marker = style
    points = [point for point in curve.points if getattr(point, axis) is not None]
    if not points:
        return
    x = [getattr(point, axis) for point in points]
    y = np.array([point.accuracy for point in points])
    panel.plot(x, y, "-", color=colour, linewidth=0.8, alpha=0.6)
    bars = error_bars(y, [point.interval for point in points])
    panel.errorbar(x, y, bars, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.6)
    for size, part in ((2.5, False), (5.0, True)):
        chosen = [(a, b) for a, b, point in zip(x, y, points, strict=True) if point.whole == part]
        if chosen:
            panel.plot(
                *zip(*chosen, strict=True),
                marker,
                color=colour,
                markersize=size,
                markerfacecolor=colour if filled else "white",
            )


def draw_legend(figure: Figure, found: Sequence[Series], styles: Mapping[str, Style]) -> None:
    from matplotlib.lines import Line2D

    nothing = Line2D([], [], linestyle="none", label="")
    columns: list[list[Line2D]] = []
    for family in dict.fromkeys(series.family for series in found):
        labels = [series.label for series in found if series.family == family]
        head = Line2D([], [], linestyle="none", label=f"$\\bf{{{family.capitalize()}}}$")
        for start in range(0, len(labels), LEGEND_ROWS):
            columns.append([nothing if start else head])
            for label in labels[start : start + LEGEND_ROWS]:
                colour, marker = styles[label]
                what = {"color": colour, "marker": marker, "label": label}
                columns[-1].append(Line2D([], [], linestyle="none", markersize=5, **what))
    longest = max(map(len, columns))
    handles = [one for column in columns for one in column + [nothing] * (longest - len(column))]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(columns),
        frameon=False,
        fontsize=8,
        handletextpad=0.2,
        columnspacing=1.0,
    )
