"""Figures are made from stored runs alone, and are the same every time."""

import pytest

from conftest import ROOT
from gcbench.errors import GcbenchError
from gcbench.report.figures import BENCHMARKS, save
from gcbench.report.series import measured_series
from gcbench.report.trials import accuracy_by_trials
from gcbench.store import Store

RUNS = Store(ROOT / "results" / "mini").runs()


@pytest.fixture(scope="module")
def figure():
    return accuracy_by_trials(RUNS, "mini")


def test_every_point_is_the_accuracy_of_a_stored_run(figure):
    stored = {
        (run.spec["benchmark"], int(name.removeprefix("mean@")), hits["correct"] / hits["total"])
        for run in RUNS
        for name, hits in run.summary["accuracy"].items()
        if name.startswith("mean@")
    }
    for panel, name in zip(figure.axes, BENCHMARKS, strict=True):
        benchmark = name.replace("in-", "mini-", 1)
        assert panel.get_title().startswith(f"{benchmark}:")
        drawn = [
            (benchmark, int(k), y)
            for line in panel.get_lines()
            for k, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        ]
        assert drawn
        assert set(drawn) <= stored


def test_every_generative_classifier_is_drawn_with_all_its_trials(figure):
    found = [
        s for s in measured_series(RUNS, "mini") if s.family in ("diffusion", "autoregressive")
    ]
    assert {"RandAR", "LlamaGen", "DiT"} <= {series.label for series in found}
    panel = figure.axes[0]
    lines = [list(line.get_xdata()) for line in panel.get_lines() if line.get_linestyle() == "-"]
    assert lines == [[p.trials for p in s.curves["mini-val"].points] for s in found]
    assert list(range(1, 3)) in [line[:2] for line in lines]


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
    with pytest.raises(GcbenchError, match="no finished run") as caught:
        accuracy_by_trials([], "mini")
    assert "gcbench run --method randar,randar-raster --bench suite:mini" in caught.value.hint


def test_unknown_suite_of_a_figure_is_explained(gcbench):
    result = gcbench("report", "--figure", "accuracy-by-trials", "--suite", "minni", "--out", "x")
    assert result.exit_code == 2
    assert "did you mean 'mini'" in result.stderr


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
