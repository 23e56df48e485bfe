"""Figures are made from stored runs alone, and are the same every time."""

import pytest

from conftest import ROOT
from gcbench.errors import GcbenchError
from gcbench.report.figures import BENCHMARKS, TRIALS, accuracy_by_trials, save
from gcbench.store import Store

RUNS = Store(ROOT / "results" / "mini").runs()


@pytest.fixture(scope="module")
def figure():
    return accuracy_by_trials(RUNS, "mini")


def test_every_point_is_the_accuracy_of_a_stored_run(figure):
    accuracy = {
        (run.spec["method"], run.spec["benchmark"]): run.summary["accuracy"]
        for run in RUNS
        if run.spec["variant"] == "mini"
    }
    for panel, name in zip(figure.axes, BENCHMARKS, strict=True):
        benchmark = name.replace("in-", "mini-", 1)
        assert panel.get_title().startswith(f"{benchmark}:")
        curve, level = panel.get_lines()
        stored = accuracy["randar", benchmark]
        expected = [stored[f"mean@{k}"]["correct"] / stored[f"mean@{k}"]["total"] for k in TRIALS]
        assert list(curve.get_xdata()) == list(TRIALS)
        assert list(curve.get_ydata()) == pytest.approx(expected)
        raster = accuracy["randar-raster", benchmark]["mean@1"]
        assert level.get_ydata()[0] == pytest.approx(raster["correct"] / raster["total"])


def test_equal_figures_are_equal_files(figure, tmp_path):
    first = [file.read_bytes() for file in save(figure, tmp_path / "one")]
    second = [file.read_bytes() for file in save(figure, tmp_path / "two")]
    assert first == second
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "one.png",
        "one.svg",
        "two.png",
        "two.svg",
    ]


def test_figure_without_runs_says_what_to_run():
    with pytest.raises(GcbenchError, match="no stored run of randar") as caught:
        accuracy_by_trials([], "mini")
    assert "gcbench run --method randar,randar-raster --bench suite:mini" in caught.value.hint


def test_unknown_figure_and_missing_file_name_are_explained(gcbench):
    result = gcbench("report", "--figure", "accuracy-by-trails", "--out", "x")
    assert result.exit_code == 2
    assert "did you mean 'accuracy-by-trials'" in result.stderr
    result = gcbench("report", "--figure", "accuracy-by-trials")
    assert result.exit_code == 2
    assert "--out is missing" in result.stderr


def test_all_tables_are_written_into_a_folder(gcbench, tmp_path):
    result = gcbench("report", "--all", "--results", ROOT / "results/mini", "--out", tmp_path / "t")
    assert result.exit_code == 0, result.output
    committed = ROOT / "results" / "mini" / "tables"
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == sorted(
        p.name for p in committed.iterdir()
    )
