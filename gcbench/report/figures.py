"""What all figures share: panels of benchmarks, a layout that stays, vector and PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.store import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gcbench.report.layouts import Suite

BENCHMARKS = {
    "in-val": "in-domain",
    "in-r": "renditions",
    "in-s": "sketches",
    "in-a": "hard images",
    "in-c-gauss": "gaussian noise",
    "in-c-jpeg": "JPEG",
}


def benchmark_panels(suite: Suite, height: float) -> tuple[Figure, dict[str, Axes]]:
    """A figure of 2 x 3 panels of accuracies, and its panels by the suite's benchmark.

    Args:
        height: in inches; the width is that of a page.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        grid = figure.subplots(2, 3, sharex=True)
    panels = {}
    for panel, (name, role) in zip(grid.flat, BENCHMARKS.items(), strict=True):
        benchmark = suite.name(name)
        panel.set_title(f"{benchmark}: {role}", fontsize=9)
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panels[benchmark] = panel
    figure.supylabel("top-1 accuracy", fontsize=9)
    return figure, panels


def say_not_measured(panel: Axes) -> None:
    panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center")


def error_bars(
    values: NDArray[np.float64], intervals: Sequence[tuple[float, float]]
) -> NDArray[np.float64]:
    """How far the bars of values [N] reach to the ends of their intervals, [2, N]: down, up."""
    low, high = np.array(intervals).T
    # Bounds are the value itself at 0 and 100 %; rounding must not make a bar negative.
    return np.maximum(0, [values - low, high - values])


def keep_layout(figure: Figure) -> Figure:
    """The figure with its layout found and kept: found at each saving, it would differ a little."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes `stem`.svg and `stem`.png, without dates, so that equal figures are equal files."""
    import matplotlib as mpl

    files = []
    with mpl.rc_context({"svg.hashsalt": "gcbench", "svg.fonttype": "path"}):
        for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            target = stem.with_name(f"{stem.name}.{suffix}")
            with atomic_path(target) as temporary:
                figure.savefig(temporary, format=suffix, dpi=160, metadata=metadata)
            files.append(target)
    return files
