"""The tables of docs/speed.md are what was recorded, and fp32 moved no score beyond rounding."""

import json

import pytest

from tools.racing import with_table
from tools.speed import MEASURED, PAGE, measured_tables

RECORDED = sorted(MEASURED.glob("*.json"))


def test_page_shows_what_was_recorded():
    page = PAGE.read_text()
    assert with_table(page, measured_tables()) == page


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_recorded_fp32_paths_are_exact_up_to_rounding(file):
    found = json.loads(file.read_text())
    assert found["provenance"]["dirty"] is False
    for timing in found["timings"]:
        assert timing["same_argmax"]
        if timing["rung"].startswith("fp32"):
            assert timing["relative_error"] <= 1e-6
            assert timing["centred_error"] <= 1e-3
