"""Measured cells against published numbers, and all cells as one table."""

import pandas as pd
import pytest
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st
from stored_runs import hits, record

from gcbench.errors import GcbenchError
from gcbench.report.check import Checked, check, summary
from gcbench.report.export import COLUMNS, all_cells, write_cells
from gcbench.report.layouts import LAYOUTS
from gcbench.report.paper import published
from gcbench.stats import wilson_interval
from gcbench.store import Store


def randar(store: Store, **more) -> list[Checked]:
    """What Table 2 says of RandAR L/16 on in-val, published as 0.780."""
    record(store, "randar", "in-val", variant="l", **more)
    found = check(store.runs(), "imagenet", 2)
    return [one for one in found if one.evidence is not None]


@pytest.mark.parametrize(("right", "verdict"), [(780, "inside"), (800, "inside"), (850, "outside")])
def test_a_published_number_is_inside_the_interval_or_outside(store: Store, right, verdict):
    (one,) = randar(store, hits=hits(right, 1000))
    assert one.verdict == verdict
    assert one.line.startswith(f"{verdict:<7}  table 2, L/16 Autoregressive RandAR, in-val")
    assert "published 0.780" in one.line
    assert f"measured {right / 1000:.3f} [" in one.line


@given(st.integers(1, 4000), st.data())
def test_a_number_that_rounds_to_the_measured_accuracy_is_inside(total, data):
    right = data.draw(st.integers(0, total))
    low, high = wilson_interval(right, total)
    assert low - 0.0005 <= round(right / total, 3) <= high + 0.0005


def test_partial_cells_are_not_compared_and_subsets_are_named(store: Store):
    (one,) = randar(store, hits=hits(100, 1000), scored=500)
    assert one.verdict == "partial"
    record(store, "vit", "in-val", hits(1606, 2000), variant="l", trials=1, subset="official-2k")
    found = check(store.runs(), "imagenet", 2)
    (vit,) = [f for f in found if f.evidence and "ViT" in f.cell]
    assert vit.verdict == "inside"
    assert "the subset official-2k: 2,000 images" in vit.line
    assert summary(found).startswith("1 of 102 published numbers (arXiv 2603.19122) compared")


def test_every_published_accuracy_has_a_line(store: Store):
    found = check([], "imagenet")
    printed = [published(n, len(layout.headings)) for n, layout in LAYOUTS.items() if layout.slot]
    assert len(found) == sum(v is not None for p in printed for row in p.values for v in row)
    assert len({one.cell for one in found}) == len(found)
    assert {one.verdict for one in found} == {"missing"}


def test_the_exit_code_tells_whether_a_number_is_outside(gcbench, store: Store):
    call = ("report", "--check", "--suite", "imagenet", "--results", store.root)
    assert gcbench(*call).exit_code == 0
    randar(store, hits=hits(850, 1000))
    result = gcbench(*call)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    outside = sum(line.startswith("outside") for line in lines)
    assert f"0 inside the 95 % interval of the measurement, {outside} outside" in lines[-1]


def test_nothing_is_published_about_a_stand_in(gcbench):
    result = gcbench("report", "--check")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == (
        "error: no number is published for the suite mini: there is nothing to check it against"
    )
    assert gcbench("report", "--check", "--all", "--out", "x").exit_code == 2
    with pytest.raises(GcbenchError, match="distances without intervals"):
        check([], "imagenet", 3)


def test_a_row_of_the_export_says_what_stands_behind_a_cell(store: Store):
    record(store, "randar", "mini-val", hits(7, 10), samples_digest="e" * 64)
    cells = all_cells(store.runs(), [], "mini")
    assert list(cells.columns) == list(COLUMNS)
    assert not cells.duplicated(["table", "row", "column", "source"]).any()
    at = (cells["row"] == "size=mini, model_type=Autoregressive, method=RandAR") & (
        cells["column"] == "mini-val"
    )
    (row,) = cells[at].to_dict("records")
    assert (row["table"], row["value"], row["count"], row["status"]) == (2, 0.7, 10, "full")
    assert (row["method"], row["variant"], row["rule"], row["trials"]) == (
        *("randar", "mini", "mean", 20),
    )
    assert row["run"] == "randar.mini-val.full.fp32.0.20"
    assert (row["benchmark_digest"], row["samples_digest"]) == ("b" * 64, "e" * 64)
    missing = cells[(cells["source"] == "measured") & cells["value"].isna()]
    assert set(missing["status"]) == {"missing"}
    assert "no sigma-stitching of more than two classes" in set(missing["note"])


def test_every_published_number_is_exported(store: Store):
    cells = all_cells([], [], "imagenet")
    paper = cells[cells["source"] == "paper"]
    for number, layout in LAYOUTS.items():
        values = [v for row in published(number, len(layout.headings)).values for v in row]
        assert list(paper[paper["table"] == number]["value"].dropna()) == [
            v for v in values if v is not None
        ]


@pytest.mark.parametrize("name", ["cells.csv", "cells.parquet"])
def test_both_formats_hold_the_same_cells(gcbench, tmp_path, name):
    mini = ROOT / "results" / "mini"
    result = gcbench("export", "--out", tmp_path / name, "--results", mini)
    assert result.exit_code == 0, result.output
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    found = read(tmp_path / name)
    store = Store(mini)
    expected = all_cells(store.runs(), store.tokenizers(), "mini")
    assert f"{len(expected):,} cells" in result.output
    assert list(found.columns) == list(expected.columns)
    assert list(found["value"].fillna(-1)) == pytest.approx(list(expected["value"].fillna(-1)))


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(GcbenchError, match=r"ends in \.csv or \.parquet"):
        write_cells(pd.DataFrame(), tmp_path / "cells.xlsx")
