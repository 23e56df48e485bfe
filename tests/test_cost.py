"""Figure 6: every point is a stored run's accuracy at what the run says it cost."""

import pytest
from checkout import ROOT
from committed_runs import RUNS
from stored_runs import hits, record

from gcbench.errors import GcbenchError
from gcbench.report.cost import accuracy_cost
from gcbench.report.figures import BENCHMARKS
from gcbench.report.series import FAMILIES, Series, measured_series
from gcbench.report.wanted import instance
from gcbench.store import Run, Store

SERIES = measured_series(RUNS, "mini")


def series(label: str, among: list[Series] = SERIES) -> Series:
    (found,) = [s for s in among if s.label == label]
    return found


def stored(method: str, benchmark: str, trials: int) -> Run:
    wanted = (method, "mini", benchmark, trials, "independent", "exhaustive", 0)
    names = ("method", "variant", "benchmark", "trials", "protocol", "strategy", "seed")
    (run,) = [r for r in RUNS if tuple(r.spec[name] for name in names) == wanted]
    return run


def seconds(run: Run) -> float:
    return run.summary.get("median_seconds_per_image") or run.summary["seconds_per_image"]


def test_every_classifier_of_table_2_that_is_measured_is_drawn():
    labels = [s.label for s in SERIES]
    assert {"DiT", "RandAR raster", "RandAR"} <= set(labels)
    assert len(set(labels)) == len(labels)
    ranks = [FAMILIES.index(s.family) for s in SERIES]
    assert ranks == sorted(ranks)
    assert set(series("RandAR").curves) == {name.replace("in-", "mini-") for name in BENCHMARKS}


def test_a_curve_holds_the_trial_counts_of_its_run_and_their_share_of_its_cost():
    run = stored("randar", "mini-val", 20)
    curve = series("RandAR").curves["mini-val"]
    assert [point.trials for point in curve.points] == [1, 2, 5, 10, 20]
    assert [point.whole for point in curve.points] == [False] * 4 + [True]
    each = instance("randar", "mini").flops_per_evaluation()
    for point in curve.points:
        counts = run.summary["accuracy"][f"mean@{point.trials}"]
        assert point.accuracy == counts["correct"] / counts["total"]
        assert point.interval[0] < point.accuracy < point.interval[1]
        assert point.seconds == pytest.approx(seconds(run) * point.trials / 20)
        assert point.flops == pytest.approx(each * 10 * point.trials)  # ten classes


def test_median_seconds_are_preferred_where_a_run_has_them():
    run = stored("dit", "mini-val", 100)
    (last,) = [point for point in series("DiT").curves["mini-val"].points if point.whole]
    assert last.seconds == run.summary["median_seconds_per_image"]


def test_conditions_name_machine_threads_path_and_precision():
    origin = stored("dit", "mini-val", 100).summary["provenance"]
    assert series("DiT").curves["mini-val"].conditions == (
        f"{origin['device']}, {origin['threads']} thread, compiled path, fp32"
    )


def test_partial_runs_and_runs_without_times_are_not_drawn(store: Store):
    record(store, "randar", "mini-val", hits(7, 10), scored=5)
    record(store, "randar-raster", "mini-val", hits(7, 10))
    assert measured_series(store.runs(), "mini") == []
    with pytest.raises(GcbenchError, match="no finished run of the suite 'mini'") as caught:
        accuracy_cost(store.runs(), "mini")
    assert "gcbench status --suite mini --table 2" in str(caught.value.hint)


def test_the_figure_has_two_panels_per_benchmark_on_log_axes():
    figure = accuracy_cost(RUNS, "mini")
    assert len(figure.axes) == 2 * len(BENCHMARKS)
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
    titles = [axes.get_title(loc="left") for axes in figure.axes[::2]]
    assert titles == [f"{n.replace('in-', 'mini-')}: {role}" for n, role in BENCHMARKS.items()]
    (legend,) = figure.legends
    texts = {text.get_text() for text in legend.get_texts()}
    assert {s.label for s in SERIES} <= texts


def test_times_of_other_conditions_are_open_markers_and_named():
    figure = accuracy_cost(RUNS, "mini")
    seconds, flops = figure.axes[:2]
    faces = {axes: [line.get_markerfacecolor() for line in axes.lines] for axes in (seconds, flops)}
    assert "white" not in faces[flops]
    conditions = {curve.conditions for s in SERIES for curve in s.curves.values()}
    opened = any("white" in [line.get_markerfacecolor() for line in a.lines] for a in figure.axes)
    assert opened == (len(conditions) > 1)
    note = " ".join(figure.get_supxlabel().split())
    assert all(condition in note for condition in conditions)
    (drawn,) = (t for t in figure.texts if t.get_text() == figure.get_supxlabel())
    assert drawn.get_window_extent().x1 < figure.bbox.x1


def test_the_figure_is_called_by_its_number_in_the_paper(gcbench, tmp_path):
    results = ROOT / "results" / "mini"
    result = gcbench("report", "--figure", "6", "--results", results, "--out", tmp_path / "six")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["six.png", "six.svg"]
