"""A wheel works outside the checkout: plugins, weights, data and results included."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkout import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel, unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("gcbench-*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def gcbench(site, *arguments):
    code = "import sys, gcbench; assert gcbench.__file__.startswith(sys.argv.pop(1)), gcbench"
    code += "; from gcbench.cli import main; main(prog_name='gcbench')"
    return subprocess.run(
        [sys.executable, "-c", code, str(site), *map(str, arguments)],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )


def test_wheel_lists_the_plugins_it_carries(installed, registry):
    done = gcbench(installed, "list")
    assert done.returncode == 0, done.stderr
    for name in ("randar", "randar-raster", *registry.benchmark_names):
        assert name in done.stdout or name == "greys"


def test_wheel_runs_and_reports_outside_the_checkout(installed):
    results = installed.parent / "results"
    run = ("run", "--method", "randar", "--bench", "mini-val", "--trials", "2")
    done = gcbench(installed, *run, "--limit-per-class", "1", "--results", results)
    assert done.returncode == 0, done.stderr
    assert "randar mini · mini-val (first-1): accuracy" in done.stdout
    done = gcbench(installed, "report", "--table", "1", "--format", "csv", "--results", results)
    assert done.returncode == 0, done.stderr
    assert "mini-val" in done.stdout


def test_wheel_carries_the_published_and_the_measured_results(installed):
    for source in ("paper", "measured"):
        done = gcbench(installed, "report", "--table", "1", "--source", source)
        assert done.returncode == 0, done.stderr


def test_wheel_carries_no_tests_and_no_tools(installed):
    assert not (installed / "tests").exists()
    assert not (installed / "tools").exists()
