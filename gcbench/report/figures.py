"""Figures from stored runs: vector and PNG, colour-blind safe, every point with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.errors import GcbenchError
from gcbench.report.evidence import Evidence, Measurements
from gcbench.report.layouts import SUITES, Slot
from gcbench.store import Run, atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BENCHMARKS = {
    "in-val": "in-domain",
    "in-r": "renditions",
    "in-s": "sketches",
    "in-a": "hard images",
    "in-c-gauss": "gaussian noise",
    "in-c-jpeg": "JPEG",
}
TRIALS = (1, 2, 5, 10, 20)


def accuracy_by_trials(runs: Sequence[Run], suite: str) -> Figure:
    """Accuracy against the number of token orders K, one panel per benchmark (as Table 1 shows).

    Lines are random orders, dashes the raster order; bands are 95 % Wilson intervals.

    Raises:
        GcbenchError: no run of the suite holds what is drawn.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    measured, where = Measurements(runs), SUITES[suite]
    random = {name: _curve(measured, where.adapt(Slot("randar", "l", name))) for name in BENCHMARKS}
    raster = {
        name: measured.find(where.adapt(Slot("randar-raster", "l", name))) for name in BENCHMARKS
    }
    if not any(random.values()):
        raise GcbenchError(
            f"no stored run of randar on a benchmark of suite {suite!r}",
            hint=f"gcbench run --method randar,randar-raster --bench suite:{suite}",
        )
    blue, orange = sns.color_palette("colorblind", 2)
    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        panels = figure.subplots(2, 3, sharex=True)
    for panel, (name, role) in zip(panels.flat, BENCHMARKS.items(), strict=True):
        _draw_curve(panel, random[name], blue)
        _draw_level(panel, raster[name], orange)
        panel.set_title(f"{where.name(name)}: {role}", fontsize=9)
        panel.set_xscale("log")
        panel.set_xticks(TRIALS, [str(k) for k in TRIALS])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        note = _limitation(random[name])
        panel.text(0.5, 0.05, note, transform=panel.transAxes, ha="center", fontsize=7)
    figure.supxlabel("token orders per image, K", fontsize=9)
    figure.supylabel("top-1 accuracy", fontsize=9)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return keep_layout(figure)


def keep_layout(figure: Figure) -> Figure:
    """The figure with its layout found and kept: found at each saving, it would differ a little."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _curve(measured: Measurements, slot: Slot) -> dict[int, Evidence]:
    from dataclasses import replace

    found = {k: measured.find(replace(slot, trials=k)) for k in TRIALS}
    return {k: cell for k, cell in found.items() if cell is not None}


def _limitation(curve: dict[int, Evidence]) -> str:
    """What keeps a panel from being whole; empty when nothing does."""
    if not curve:
        return "not measured"
    return next((cell.limitation for cell in curve.values() if cell.limitation), "")


def _draw_curve(panel: Any, curve: dict[int, Evidence], colour: Any) -> None:
    if not curve:
        return
    low, high = np.array([cell.interval for cell in curve.values()]).T
    panel.fill_between(list(curve), low, high, color=colour, alpha=0.2, linewidth=0)
    accuracy = [cell.accuracy for cell in curve.values()]
    panel.plot(list(curve), accuracy, "o-", color=colour, label="random orders", markersize=4)


def _draw_level(panel: Any, cell: Evidence | None, colour: Any) -> None:
    if cell is None:
        return
    panel.axhspan(*cell.interval, color=colour, alpha=0.12, linewidth=0)
    panel.axhline(cell.accuracy, color=colour, linestyle="--", label="raster order")


FIGURES = {"accuracy-by-trials": accuracy_by_trials}


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
