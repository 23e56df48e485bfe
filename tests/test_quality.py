"""The linters are part of the tests: what CI accepts is what `make lint` accepts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

RUFF = shutil.which("ruff", path=str(Path(sys.executable).parent)) or "ruff"


@pytest.mark.parametrize(
    "command",
    [
        [RUFF, "check", "."],
        [RUFF, "format", "--check", "."],
        [sys.executable, "-m", "mypy", "gcbench", "baselines", "benchmarks"],
    ],
    ids=["ruff-check", "ruff-format", "mypy"],
)
def test_linter_has_nothing_to_say(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_modules_stay_readable():
    long = {
        str(file.relative_to(ROOT)): lines
        for folder in ("gcbench", "baselines", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert not long
