"""Accuracy of diffusion classifiers by the weighting of their losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gcbench.errors import GcbenchError
from gcbench.report.evidence import Evidence, Measurements
from gcbench.report.figures import benchmark_panels, error_bars, keep_layout, say_not_measured
from gcbench.report.layouts import suite_of
from gcbench.report.series import MARKERS, classifiers, family_of
from gcbench.report.slots import WEIGHTINGS, Slot
from gcbench.store import Run

if TYPE_CHECKING:
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

# Between the markers of neighbours, that bars stay apart; one weighting takes 1.
APART = 0.09
LEGEND_COLUMNS = 5


def accuracy_by_weighting(runs: Sequence[Run], suite: str) -> Figure:
    """Accuracy of diffusion classifiers by the weighting of their losses, a panel per benchmark.

    All weightings are read from one run, at all its timesteps. Bars are 95 % Wilson intervals.

    Raises:
        GcbenchError: no finished run of the suite is about a diffusion classifier.
    """
    import seaborn as sns

    chosen, measurements = suite_of(suite), Measurements(runs)
    found = {
        label: measured
        for label, slots in classifiers(suite).items()
        if family_of(slots[0]) == "diffusion"
        and any(measured := [_by_weighting(slot, measurements) for slot in slots])
    }
    if not found:
        raise GcbenchError(
            f"no finished run of the suite {suite!r} is about a diffusion classifier",
            hint=f"gcbench run --method dit --bench suite:{suite}",
        )
    figure, panels = benchmark_panels(chosen, 5.2)
    colours = sns.color_palette("colorblind", len(found))
    places = np.arange(len(WEIGHTINGS))
    shown: dict[str, ErrorbarContainer] = {}
    for i, (label, measured) in enumerate(found.items()):
        moved = places + APART * (i - (len(found) - 1) / 2)
        for panel, cells in zip(panels.values(), measured, strict=True):
            if not cells:
                continue
            y = np.array([cell.accuracy for cell in cells])
            shown[label] = panel.errorbar(
                moved,
                y,
                error_bars(y, [cell.interval for cell in cells]),
                fmt=MARKERS[i % len(MARKERS)],
                color=colours[i],
                elinewidth=0.8,
                markersize=4,
                label=label,
            )
    for panel in panels.values():
        panel.set_xticks(places, WEIGHTINGS, rotation=35, ha="right")
        if not panel.containers:
            say_not_measured(panel)
    figure.legend(
        handles=list(shown.values()),
        loc="outside upper center",
        ncols=min(LEGEND_COLUMNS, len(found)),
        frameon=False,
        fontsize=8,
    )
    return keep_layout(figure)


def _by_weighting(slot: Slot, measurements: Measurements) -> list[Evidence]:
    """A classifier by each weighting; empty unless a run of all chosen images has them."""
    found = [measurements.find(replace(slot, rule=rule)) for rule in WEIGHTINGS.values()]
    whole = [cell for cell in found if cell is not None and cell.status != "partial"]
    return whole if len(whole) == len(found) else []
