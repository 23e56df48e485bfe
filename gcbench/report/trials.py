"""Accuracy against the number of trials: token orders, timesteps, noise draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gcbench.errors import GcbenchError
from gcbench.report.figures import benchmark_panels, keep_layout, say_not_measured
from gcbench.report.layouts import suite_of
from gcbench.report.series import draw_curve, draw_legend, measured_series, styles_of
from gcbench.store import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of one evaluation per image, so that there are no trials to vary.
WITHOUT_TRIALS = ("discriminative", "joint")
TICKS = (1, 2, 5, 10, 20, 50, 100, 250)


def accuracy_by_trials(runs: Sequence[Run], suite: str) -> Figure:
    """Accuracy against the number of trials K or T, a panel per benchmark, all generative methods.

    A run of K trials gives all smaller numbers as well. Methods with one trial, such as a fixed
    token order, are a single marker. Bars are 95 % Wilson intervals.

    Raises:
        GcbenchError: no finished run of the suite is about a generative classifier.
    """
    chosen = suite_of(suite)
    found = [s for s in measured_series(runs, suite) if s.family not in WITHOUT_TRIALS]
    if not found:
        raise GcbenchError(
            f"no finished run of the suite {suite!r} is about a generative classifier",
            hint=f"gcbench run --method randar,randar-raster --bench suite:{suite}",
        )
    figure, panels = benchmark_panels(chosen, 5.6)
    styles = styles_of(found)
    for benchmark, panel in panels.items():
        here = [series for series in found if benchmark in series.curves]
        for series in here:
            draw_curve(panel, series.curves[benchmark], "trials", styles[series.label], True)
        panel.set_xscale("log")
        if not here:
            say_not_measured(panel)
    most = max(p.trials for s in found for c in s.curves.values() for p in c.points)
    ticks = [k for k in TICKS if k <= most]
    for panel in panels.values():
        panel.set_xticks(ticks, [str(k) for k in ticks])
        panel.minorticks_off()
    figure.supxlabel("trials per image: token orders, timesteps or noise draws", fontsize=9)
    draw_legend(figure, found, styles)
    return keep_layout(figure)
