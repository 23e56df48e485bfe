"""Figure 6: accuracy against what one image costs, in seconds and in floating-point operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from gcbench.errors import GcbenchError
from gcbench.report.figures import BENCHMARKS, keep_layout, say_not_measured
from gcbench.report.layouts import suite_of
from gcbench.report.series import (
    Series,
    draw_curve,
    draw_legend,
    measured_series,
    styles_of,
)
from gcbench.store import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Characters of the note that fit beside each other.
NOTE_WIDTH = 120


def accuracy_cost(runs: Sequence[Run], suite: str) -> Figure:
    """Accuracy against seconds per image (left) and operations per image (right).

    A row per benchmark, log axes, colour by family, marker by method, bars are 95 % Wilson
    intervals. Open markers on the left: timed under other conditions than most.

    Raises:
        GcbenchError: no finished run of the suite is about one of the classifiers.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    chosen = suite_of(suite)
    found = measured_series(runs, suite)
    if not found:
        raise GcbenchError(
            f"no finished run of the suite {suite!r} has an accuracy and a time",
            hint=f"gcbench status --suite {suite} --table 2 lists the commands",
        )
    usual = Counter(c.conditions for s in found for c in s.curves.values()).most_common(1)[0][0]
    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure = Figure(figsize=(7.2, 10.2), layout="constrained")
        panels = figure.subplots(len(BENCHMARKS), 2, sharex="col", sharey="row")
    styles = styles_of(found)
    for row, (name, role) in zip(panels, BENCHMARKS.items(), strict=True):
        benchmark = chosen.name(name)
        for panel, axis in zip(row, ("seconds", "flops"), strict=True):
            for series in found:
                if benchmark in series.curves:
                    curve = series.curves[benchmark]
                    filled = axis == "flops" or curve.conditions == usual
                    draw_curve(panel, curve, axis, styles[series.label], filled)
            panel.set_xscale("log")
            panel.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        row[0].set_title(f"{benchmark}: {role}", loc="left", fontsize=8.5)
        if not any(benchmark in series.curves for series in found):
            say_not_measured(row[0])
    _label_decades(panels[-1][0])
    panels[-1][0].set_xlabel("seconds per image", fontsize=9)
    panels[-1][1].set_xlabel("FLOPs per image: evaluations x FLOPs of one", fontsize=9)
    figure.supylabel("top-1 accuracy", fontsize=9)
    draw_legend(figure, found, styles)
    figure.supxlabel(_note(found, usual), fontsize=7, x=0.02, ha="left")
    return keep_layout(figure)


def _label_decades(panel: Axes) -> None:
    """Plain numbers at every decade, and at 3 times it where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_xlim()
    subs = (1, 3) if high < 300 * low else (1,)
    panel.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _note(found: Sequence[Series], usual: str) -> str:
    """How to read markers, and under which conditions times were taken."""
    others: dict[str, list[str]] = {}
    for series in found:
        for conditions in dict.fromkeys(c.conditions for c in series.curves.values()):
            if conditions != usual:
                others.setdefault(conditions, []).append(series.label)
    lines = [
        "Large markers: all trials of a run; small: fewer of them, their seconds in proportion.",
        f"Seconds: {usual}.",
        *(f"Open markers: {conditions} ({', '.join(of)})." for conditions, of in others.items()),
    ]
    return "\n".join(part for line in lines for part in wrap(line, NOTE_WIDTH))
