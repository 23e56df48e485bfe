"""Figures are made from stored runs alone, and are the same every time."""

import shutil

import pytest
from checkout import ROOT
from committed_runs import RUNS

from gcbench.errors import GcbenchError
from gcbench.report.drawings import NUMBERED
from gcbench.report.figures import BENCHMARKS, save
from gcbench.report.series import measured_series
from gcbench.report.trials import accuracy_by_trials


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


def test_everything_is_written_into_a_folder(gcbench, tmp_path):
    out = tmp_path / "t"
    result = gcbench("report", "--all", "--results", ROOT / "results/mini", "--out", out)
    assert result.exit_code == 0, result.output
    committed = ROOT / "results" / "mini" / "tables"
    tables = sorted(p.name for p in out.iterdir() if p.is_file())
    assert tables == sorted(p.name for p in committed.glob("table*"))
    drawn = {p.stem for p in (out / "figures").glob("*.png")}
    assert drawn == {p.stem for p in (out / "figures").glob("*.svg")}
    assert drawn >= {*NUMBERED.values(), "accuracy-by-trials", "reliability"}


def test_figures_that_lack_something_say_what_and_leave_the_others_alone(gcbench, tmp_path):
    runs = tmp_path / "results" / "runs"
    runs.mkdir(parents=True)
    shutil.copy(ROOT / "results" / "mini" / "store.json", runs.parent)
    for run in (ROOT / "results" / "mini" / "runs").glob("randar.mini.mini-r.*"):
        shutil.copytree(run, runs / run.name)
    shown = ("--results", runs.parent, "--out", tmp_path / "figures")
    result = gcbench("report", "--figure", "all", *shown)
    assert result.exit_code == 0, result.output
    assert "no figure token-maps: " in result.stdout
    assert (tmp_path / "figures" / "accuracy-by-trials.png").exists()
    assert not (tmp_path / "figures" / "token-maps.png").exists()
