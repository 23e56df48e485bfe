"""Measured tables: which run stands behind a cell, what is marked, what is admitted."""

import re
from typing import Any

import numpy as np
import pytest
from stored_runs import cell, general, hits, measured, notes, record

from gcbench.report.cells import Cell
from gcbench.report.render import render
from gcbench.report.tables import build_table
from gcbench.store import Shard, Store


def test_all_trial_counts_of_table_1_come_from_one_run(store: Store) -> None:
    record(store, "randar", "mini-val", hits(7, 10))
    table = measured(store)
    assert [row.entries for row in table.rows] == [
        ("raster", "1"),
        *(("random", k) for k in ("1", "2", "5", "10", "20")),
    ]
    assert [c.label for c in table.columns] == ["mini-val", "mini-r", "mini-s", "mini-a"]
    for row in table.rows[1:]:
        assert (row.cells[0].value, row.cells[0].count, row.cells[0].status) == (0.7, 10, "full")
        assert row.cells[0].interval == pytest.approx((0.3968, 0.8922), abs=1e-4)


def test_a_trial_count_uses_the_first_trials_and_the_rule_of_its_row(store: Store) -> None:
    """One image: the first trial is for the label, the second strongly against it, in nats."""
    run = record(store, "randar", "mini-val", [True], trials=2)
    values = np.array([[[0, 1, -9], [0, -5, -9]]], np.float32)  # [1, 2, 3]
    run.write_shard(Shard(0, ("mini-val/0000",), (1,), values, 1.0, {}))
    run.finish({})
    table = measured(store, number=5)
    assert cell(table, ("Lower bound",), "K=1").value == 1.0
    assert cell(table, ("Log-likelihood",), "K=1").value == 1.0
    assert cell(table, ("Lower bound",), "K=2").value == 0.0
    assert cell(table, ("Log-likelihood",), "K=2").value == 1.0
    assert cell(table, ("Lower bound",), "K=5").status == "missing"


def test_a_missing_cell_is_a_dash_and_named_below_the_table(store: Store) -> None:
    record(store, "randar", "mini-val", hits(7, 10), trials=5)
    table = measured(store)
    assert cell(table, ("random", "5"), "mini-val").value == 0.7
    assert cell(table, ("random", "10"), "mini-val") == Cell(None, "missing")
    text = general(table)
    assert "Missing on mini-val: randar (mini), K=10, 20.\n" in text
    assert "Missing on mini-r, mini-s, mini-a: randar (mini), K=1, 2, 5, 10, 20.\n" in text
    assert "Missing on mini-val, mini-r, mini-s, mini-a: randar-raster (mini), K=1.\n" in text
    assert "`gcbench status --suite mini --table 1` gives the commands" in text
    assert "| Raster | 1 | — | — | — | — |" in render(table, "md")


def test_a_partial_run_shows_its_value_and_how_much_is_there(store: Store) -> None:
    record(store, "randar", "mini-r", hits(5, 10), scored=8, seed=3, precision="bf16")
    table = measured(store)
    shown = cell(table, ("random", "20"), "mini-r")
    assert (shown.value, shown.count, shown.status) == (5 / 8, 8, "partial")
    assert notes(table, shown) == ["partial: 8 of the 10 images are scored"]
    assert (
        "To complete: `gcbench run --method randar --variant mini --bench mini-r --trials 20 "
        "--seed 3 --precision bf16`"
    ) in general(table)


def test_unreadable_images_leave_a_finished_run_partial(store: Store) -> None:
    record(store, "randar-raster", "mini-r", hits(5, 10), scored=9, subset="first-1").finish({})
    table = measured(store)
    shown = cell(table, ("raster", "1"), "mini-r")
    assert notes(table, shown) == ["partial: 9 of the 10 images of the subset first-1 are scored"]
    assert (
        "To complete: `gcbench run --method randar-raster --variant mini --bench mini-r "
        "--subset first-1 --rerun failed`"
    ) in general(table)


def test_a_run_that_has_no_image_yet_is_missing(store: Store) -> None:
    record(store, "randar", "mini-r", hits(5, 10), scored=0)
    assert cell(measured(store), ("random", "20"), "mini-r").status == "missing"


def test_a_subset_is_named_and_a_full_run_is_preferred(store: Store) -> None:
    record(store, "randar", "mini-s", hits(2, 5), subset="first-5")
    table = measured(store)
    shown = cell(table, ("random", "1"), "mini-s")
    assert (shown.value, shown.status) == (0.4, "subset")
    assert notes(table, shown) == ["the subset first-5: 5 images"]
    record(store, "randar", "mini-s", hits(6, 10))
    assert cell(measured(store), ("random", "1"), "mini-s").value == 0.6


def test_fp32_and_the_smallest_seed_are_preferred(store: Store) -> None:
    record(store, "randar", "mini-s", hits(1, 10), precision="bf16")
    record(store, "randar", "mini-s", hits(2, 10), seed=10)
    record(store, "randar", "mini-s", hits(3, 10), seed=9)
    assert cell(measured(store), ("random", "1"), "mini-s").value == 0.3


def test_other_variants_and_suites_do_not_fill_a_cell(store: Store) -> None:
    record(store, "randar", "in-val", hits(7, 10))
    record(store, "randar", "mini-val", hits(7, 10), variant="xl")
    assert {c.status for row in measured(store).rows for c in row.cells} == {"missing"}


@pytest.mark.parametrize(
    ("deviation", "note"),
    [
        ({"precision": "bf16"}, "precision bf16, where comparable cells have fp32"),
        ({"seed": 4}, "seed 4, where comparable cells have 0"),
        (
            {"weights": {"model": "c" * 64}},
            "weights model cccccccccccc, where comparable cells have model aaaaaaaaaaaa",
        ),
    ],
)
def test_cells_of_another_protocol_carry_a_footnote(
    store: Store, deviation: dict[str, Any], note: str
) -> None:
    record(store, "randar", "mini-val", hits(7, 10))
    record(store, "randar", "mini-r", hits(7, 10))
    record(store, "randar", "mini-s", hits(7, 10), **deviation)
    table = measured(store)
    assert notes(table, cell(table, ("random", "20"), "mini-s")) == [note]
    assert cell(table, ("random", "20"), "mini-val").footnotes == ()


def test_run_that_left_evaluations_out_fills_no_cell(store: Store) -> None:
    record(store, "randar", "mini-val", hits(9, 10), strategy="race delta=0.001", seed=1)
    assert cell(measured(store), ("random", "20"), "mini-val").status == "missing"
    record(store, "randar", "mini-val", hits(7, 10))
    assert cell(measured(store), ("random", "20"), "mini-val").value == 0.7


def test_methods_may_differ_in_weights_and_preprocessing_without_a_footnote(store: Store) -> None:
    record(store, "randar", "mini-val", hits(7, 10))
    weights = {"model": "c" * 64}
    record(store, "randar-raster", "mini-val", hits(7, 10), weights=weights, preprocessing="crop")
    assert not any(c.footnotes for row in measured(store).rows for c in row.cells)


def flip(outcomes: np.ndarray, every: int) -> np.ndarray:
    """The outcomes with every n-th image turned into a miss."""
    return outcomes & (np.arange(len(outcomes)) % every != 0)


def test_a_lead_that_the_paired_test_supports_is_the_best(store: Store) -> None:
    record(store, "randar", "mini-val", hits(180, 200), trials=1)
    record(store, "randar-raster", "mini-val", flip(hits(180, 200), 3))
    table = measured(store)
    assert cell(table, ("random", "1"), "mini-val").mark == "best"
    assert cell(table, ("raster", "1"), "mini-val").mark == ""
    assert "**0.900**" in render(table, "md")


def test_a_lead_within_noise_is_a_tie(store: Store) -> None:
    record(store, "randar", "mini-val", hits(180, 200), trials=1)
    record(store, "randar-raster", "mini-val", flip(hits(180, 200), 60))
    table = measured(store)
    assert cell(table, ("random", "1"), "mini-val").mark == "tied"
    assert cell(table, ("raster", "1"), "mini-val").mark == "tied"
    assert "**0" not in render(table, "md")


def test_a_lead_must_survive_the_correction_for_all_comparisons_of_the_table(store: Store) -> None:
    # Six images to none: p = 2 / 2^6 = 0.031, alone significant, as one of two no more.
    record(store, "randar", "mini-val", hits(100, 100), trials=1)
    record(store, "randar-raster", "mini-val", hits(94, 100))
    assert cell(measured(store), ("random", "1"), "mini-val").mark == "best"
    record(store, "randar", "mini-r", hits(50, 100), trials=1)
    record(store, "randar-raster", "mini-r", hits(50, 100))
    assert cell(measured(store), ("random", "1"), "mini-val").mark == "tied"


def test_a_single_cell_is_not_the_best_of_anything(store: Store) -> None:
    record(store, "randar-raster", "mini-val", hits(9, 10))
    assert cell(measured(store), ("raster", "1"), "mini-val").mark == ""


def test_nothing_is_marked_where_cells_are_about_different_images(store: Store) -> None:
    record(store, "randar", "mini-val", hits(190, 200))
    record(store, "randar-raster", "mini-val", hits(1, 100), subset="first-10")
    table = measured(store)
    assert {row.cells[0].mark for row in table.rows} == {""}
    assert "No best is marked in mini-val" in general(table)


def test_nothing_is_marked_where_the_benchmark_was_rebuilt_in_between(store: Store) -> None:
    record(store, "randar", "mini-val", hits(190, 200))
    record(store, "randar-raster", "mini-val", hits(1, 200), benchmark_digest="d" * 64)
    table = measured(store)
    assert {row.cells[0].mark for row in table.rows} == {""}
    note = "benchmark digest dddddddddddd, where comparable cells have bbbbbbbbbbbb"
    assert notes(table, cell(table, ("raster", "1"), "mini-val")) == [note]


def test_no_published_number_appears_among_measured_ones(store: Store) -> None:
    record(store, "randar", "mini-val", hits(501, 1000))
    printed = build_table(1, suite="mini", source="paper", runs=[])
    numbers = {f"{c.value:.3f}" for row in printed.rows for c in row.cells}
    for format in ("terminal", "md", "csv", "latex", "html"):
        text = render(measured(store), format)
        assert not numbers & set(re.findall(r"0\.\d{3}", text))
        assert "2603.19122" not in text
        assert "0.501" in text


def test_both_sources_stand_side_by_side_under_their_own_names(store: Store) -> None:
    record(store, "randar", "mini-val", hits(501, 1000))
    table = measured(store, source="both")
    assert [(c.label, c.origin) for c in table.columns[:4]] == [
        ("mini-val", "measured"),
        ("in-val", "paper"),
        ("mini-r", "measured"),
        ("in-r", "paper"),
    ]
    published = build_table(1, suite="mini", source="paper", runs=[])
    for both, ours, theirs in zip(table.rows, measured(store).rows, published.rows, strict=True):
        assert both.cells[::2] == ours.cells
        assert both.cells[1::2] == theirs.cells
    assert "| mini-val (measured) | in-val (paper) |" in render(table, "md")
    assert "stands in for the paper's benchmarks" in general(table)


def test_the_frame_has_one_tidy_row_per_cell(store: Store) -> None:
    record(store, "randar", "mini-val", hits(7, 10))
    frame = measured(store).frame()
    assert len(frame) == 24
    assert list(frame.columns) == [
        *("table", "suite", "token_order", "K", "column", "source"),
        *("value", "low", "high", "n", "status", "mark", "notes"),
    ]
    found = frame[(frame["K"] == "20") & (frame["column"] == "mini-val")].iloc[0]
    assert (found["value"], found["n"]) == (0.7, 10)
    assert frame["value"].isna().sum() == 19
