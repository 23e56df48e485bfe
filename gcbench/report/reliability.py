"""Calibration of stored runs: NLL, expected calibration error, reliability curves, temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.confidence import (
    Reliability,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from gcbench.errors import GcbenchError
from gcbench.report.evidence import preference
from gcbench.report.figures import error_bars, keep_layout
from gcbench.report.layouts import suite_of
from gcbench.scores import log_posterior
from gcbench.stats import wilson_interval
from gcbench.store import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Columns = NDArray[np.int64]


def confident_runs(runs: Sequence[Run]) -> list[Run]:
    """The finished runs whose posteriors are known: those that evaluated everything."""
    return [run for run in runs if run.summary and run.exhaustive]


def log_posteriors(run: Run) -> tuple[NDArray[np.float64], Columns]:
    """log p(class | image) by the mean over all trials [N, C], and the columns of the labels [N].

    From the raw scores where they are all there, else from the stored posteriors: in these a class
    that is more than 87 nats behind counts as 87 behind.

    Raises:
        GcbenchError: a label is not among the candidate classes.
    """
    table = run.predictions()
    scores = run.scores()
    if len(scores.sample_ids) == len(table):
        found, labels = log_posterior(scores.combined()), scores.labels
    else:
        stored = np.stack(list(table["posterior"])).astype(np.float64)  # [N, C]
        found = log_posterior(np.log(np.maximum(stored, np.finfo(np.float32).tiny)))
        labels = table["label"].to_numpy()
    classes = np.array(run.spec["classes"])
    columns = np.searchsorted(classes, labels)
    if (columns >= len(classes)).any() or (classes[columns] != labels).any():
        raise GcbenchError(f"{run.name}: a label is not among the candidate classes")
    return found, columns


def calibration_table(
    runs: Sequence[Run], share: float | None = None, seed: int = 0
) -> pd.DataFrame:
    """One row per finished run: accuracy, mean confidence, NLL in nats, expected calibration error.

    Args:
        share: if given, a temperature is fitted on this random share of each run's images, and all
            numbers are those of the others, before and after.
        seed: of that choice.

    Raises:
        GcbenchError: no run, or a share that leaves no image on a side.
    """
    import pandas as pd

    usable = confident_runs(runs)
    if not usable:
        raise GcbenchError(
            "no finished run has posteriors", hint="gcbench run --method randar --bench mini-val"
        )
    return pd.DataFrame([_row(run, share, seed) for run in usable])


def _row(run: Run, share: float | None, seed: int) -> dict[str, object]:
    spec = run.spec
    scores, columns = log_posteriors(run)
    row: dict[str, object] = {
        "method": spec["method"],
        "variant": spec["variant"],
        "benchmark": spec["benchmark"],
        "subset": spec["subset"],
        "trials": spec["trials"],
    }
    if share is None:
        return row | _numbers(scores, columns)
    fitted = np.random.default_rng(seed).permutation(len(columns)) < round(share * len(columns))
    if fitted.all() or not fitted.any():
        raise GcbenchError(
            f"--temperature {share}: {int(fitted.sum())} of {len(columns)} images of {run.name} "
            "would fit it, expected some on either side"
        )
    temperature = fit_temperature(scores[fitted], columns[fitted])
    rest, of_rest = scores[~fitted], columns[~fitted]
    after = _numbers(rest / temperature, of_rest)
    kept = {f"{name}_after": after[name] for name in ("confidence", "nll", "ece")}
    return row | _numbers(rest, of_rest) | {"temperature": temperature} | kept


def _numbers(scores: NDArray[np.floating], columns: Columns) -> dict[str, object]:
    curve = reliability(scores, columns)
    return {
        "images": len(columns),
        "accuracy": float(curve.correct.sum() / len(columns)),
        "confidence": float((curve.counts * curve.confidence).sum() / len(columns)),
        "nll": negative_log_likelihood(scores, columns),
        "ece": curve.error,
    }


def reliability_curves(runs: Sequence[Run], suite: str) -> Figure:
    """Accuracy against confidence on the suite's validation set, a panel per method.

    Bars are 95 % Wilson intervals, the grey bars below show how many images are that confident.

    Raises:
        GcbenchError: no finished run on that benchmark has posteriors.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    benchmark = suite_of(suite).name("in-val")
    chosen = _one_per_method([r for r in confident_runs(runs) if r.spec["benchmark"] == benchmark])
    if not chosen:
        raise GcbenchError(
            f"no finished run on {benchmark} has posteriors",
            hint=f"gcbench run --method randar --bench {benchmark}",
        )
    across = min(4, len(chosen))
    down = -(-len(chosen) // across)
    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure = Figure(figsize=(1.8 * across + 0.6, 2.1 * down + 0.5), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    panels = grid.flatten()
    colour = sns.color_palette("colorblind")[0]
    for panel, run in zip(panels, chosen, strict=False):
        curve = reliability(*log_posteriors(run))
        _draw(panel, curve, colour)
        variant = "" if run.spec["variant"] == "mini" else f":{run.spec['variant']}"
        title = f"{run.spec['method']}{variant}, K = {run.spec['trials']}\nECE {curve.error:.3f}"
        panel.set_title(title, fontsize=8)
    for panel in panels[len(chosen) :]:
        panel.set_visible(False)
    figure.supxlabel(f"confidence (highest posterior) on {benchmark}", fontsize=9)
    figure.supylabel("accuracy", fontsize=9)
    return keep_layout(figure)


def _one_per_method(runs: Sequence[Run]) -> list[Run]:
    """Of every method and variant the run with the most images, then the one that tables prefer."""
    best: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=lambda r: (-len(r.spec["sample_ids"]), *preference(r))):
        best.setdefault((run.spec["method"], run.spec["variant"]), run)
    return [best[key] for key in sorted(best)]


def _draw(panel: Axes, curve: Reliability, colour: object) -> None:
    filled = curve.counts > 0
    right = curve.correct[filled] / curve.counts[filled]
    pairs = zip(curve.correct[filled].tolist(), curve.counts[filled].tolist(), strict=True)
    width = 1 / len(curve.counts)
    share = curve.counts / curve.counts.sum()
    panel.bar(curve.edges[:-1], share, width, align="edge", color="0.85", linewidth=0)
    panel.plot([0, 1], [0, 1], color="0.5", linewidth=0.8, linestyle="--")
    panel.errorbar(
        curve.confidence[filled],
        right,
        yerr=error_bars(right, [wilson_interval(c, n) for c, n in pairs]),
        fmt="o",
        color=colour,
        markersize=3,
        linewidth=0.9,
    )
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1)
