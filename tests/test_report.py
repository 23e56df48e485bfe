"""Measured tables: which run stands behind a cell, what is marked, what is admitted."""

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcbench.report.cells import Cell, Column, Footnote, Row, Table
from gcbench.report.committed import regenerate
from gcbench.report.render import render
from gcbench.report.tables import build_table, known_tables
from gcbench.store import Run, Shard, Store

K = 20


def record(
    store: Store,
    method: str,
    benchmark: str,
    hits: Sequence[bool] | np.ndarray,
    *,
    scored: int | None = None,
    **spec: Any,
) -> Run:
    """Stores a run that classifies image i correctly, in every trial, exactly where `hits[i]`.

    `scored`: only so many images are there and the run is unfinished.
    """
    count, trials = len(hits), spec.get("trials", 1 if method == "randar-raster" else K)
    ids = [f"{benchmark}/{i:04d}" for i in range(count)]
    labels = [1] * count
    what = {
        "method": method,
        "variant": "mini",
        "weights": {"model": "a" * 64},
        "scoring_version": 1,
        "benchmark": benchmark,
        "benchmark_digest": "b" * 64,
        "subset": "full",
        "label_space": "fashion-10",
        "classes": [0, 1, 2],
        "preprocessing": "none",
        "precision": "fp32",
        "protocol": "independent",
        "trials": trials,
        "seed": 0,
        "strategy": "exhaustive",
        "suite": "mini",
        "sample_ids": ids,
        "labels": labels,
        **spec,
    }
    name = ".".join(str(what[k]) for k in ("method", "benchmark", "subset", "precision", "seed"))
    run = store.run(f"{name}.{trials}")
    run.begin(what)
    values = np.zeros((count, trials, 3), np.float32)
    values[:, :, 1] = np.where(np.asarray(hits, bool), 1.0, -1.0)[:, None]
    kept = count if scored is None else scored
    run.write_shard(Shard(0, tuple(ids[:kept]), tuple(labels[:kept]), values[:kept], 1.0, {}))
    if scored is None:
        run.finish({"provenance": {"commit": "0123abc", "dirty": False}})
    return run


def hits(correct: int, total: int) -> np.ndarray:
    return np.arange(total) < correct


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results").create()


def measured(store: Store, number: int = 1, source: str = "measured") -> Table:
    return build_table(number, suite="mini", source=source, runs=store.runs())


def cell(table: Table, row: tuple[str, ...], column: str) -> Cell:
    at = [c.label for c in table.columns].index(column)
    return next(r.cells[at] for r in table.rows if r.entries == row)


def notes(table: Table, of: Cell) -> list[str]:
    return [n.text for n in table.footnotes if n.symbol in of.footnotes]


def general(table: Table) -> str:
    return "\n".join(n.text for n in table.footnotes if not n.symbol)


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


def test_a_missing_cell_is_a_dash_with_the_command_that_fills_it(store: Store) -> None:
    record(store, "randar", "mini-val", hits(7, 10), trials=5)
    table = measured(store)
    assert cell(table, ("random", "5"), "mini-val").value == 0.7
    assert cell(table, ("random", "10"), "mini-val") == Cell(None, "missing")
    assert (
        "Missing: randar (mini) on mini-val, K=10, 20. To fill: "
        "`gcbench run --method randar --variant mini --bench mini-val --trials 20`"
    ) in general(table)
    assert (
        "Missing: randar-raster (mini) on mini-r, K=1. To fill: "
        "`gcbench run --method randar-raster --variant mini --bench mini-r`"
    ) in general(table)
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


def test_csv_reads_back_as_the_frame(store: Store) -> None:
    import pandas as pd

    record(store, "randar", "mini-val", hits(7, 13))
    table = measured(store)
    text = io.StringIO(render(table, "csv"))
    pd.testing.assert_frame_equal(
        pd.read_csv(text, dtype={"K": str, "n": "Int64"}, keep_default_na=False, na_values=""),
        table.frame().replace({"mark": "", "notes": ""}, np.nan),
        check_dtype=False,
        atol=1e-6,
    )


@pytest.fixture
def small() -> Table:
    """A table with every kind of cell, and characters that each format must escape."""
    measured, paper = Column("b_1", "measured", 3), Column("b_1", "paper", 2)
    return Table(
        number=1,
        title="A & B <i>",
        suite="mini",
        source="both",
        source_line="Measured 100 %.",
        fields=("method",),
        headings=("Method",),
        columns=(measured, paper),
        rows=(
            Row(
                ("a|b",),
                (Cell(0.8735, "full", (0.85, 0.9), 40, "best"), Cell(0.7, "published")),
            ),
            Row(
                ("c_d",),
                (
                    Cell(0.5, "partial", (0.25, 0.75), 4, "tied", ("a", "b")),
                    Cell(None, "unpublished"),
                ),
            ),
        ),
        footnotes=(
            Footnote("a", "partial: 4 of 8"),
            Footnote("b", "seed 1"),
            Footnote("best", "ahead"),
            Footnote("tied", "not told apart"),
            Footnote("", "Missing. To fill: `gcbench run --x a_b`"),
        ),
        provenance=(("runs", "2, sha256 ff"),),
    )


def test_terminal_text(small: Table) -> None:
    assert render(small, "terminal") == (
        "Table 1. A & B <i>\n"
        "Measured 100 %.\n"
        "\n"
        "Method  b_1 (measured)                 b_1 (paper)\n"
        "──────  ─────────────────────────────  ───────────\n"
        "A|b     0.874 [0.850, 0.900]*          0.70\n"
        "C_d     0.500 [0.250, 0.750]† (a) (b)  —\n"
        "\n"
        "(a): partial: 4 of 8\n"
        "(b): seed 1\n"
        "*: ahead\n"
        "†: not told apart\n"
        "Missing. To fill: gcbench run --x a_b\n"
    )


def test_markdown_text(small: Table) -> None:
    assert render(small, "md") == (
        "**Table 1. A & B <i>**\n"
        "\n"
        "Measured 100 %.\n"
        "\n"
        "| Method | b_1 (measured) | b_1 (paper) |\n"
        "| :-- | :-: | :-: |\n"
        "| A\\|b | **0.874** [0.850, 0.900] | 0.70 |\n"
        "| C_d | 0.500† [0.250, 0.750] <sup>a,b</sup> | — |\n"
        "\n"
        "- <sup>a</sup>: partial: 4 of 8\n"
        "- <sup>b</sup>: seed 1\n"
        "- **Bold**: ahead\n"
        "- †: not told apart\n"
        "- Missing. To fill: `gcbench run --x a_b`\n"
    )


def test_csv_text(small: Table) -> None:
    text = render(small, "csv")
    assert text == (
        "table,suite,method,column,source,value,low,high,n,status,mark,notes\n"
        "1,mini,a|b,b_1,measured,0.8735,0.85,0.9,40,full,best,\n"
        "1,,a|b,b_1,paper,0.7,,,,published,,\n"
        "1,mini,c_d,b_1,measured,0.5,0.25,0.75,4,partial,tied,partial: 4 of 8; seed 1\n"
        "1,,c_d,b_1,paper,,,,,unpublished,,\n"
    )
    assert len(list(csv.DictReader(io.StringIO(text)))) == 4


def test_latex_text(small: Table) -> None:
    text = render(small, "latex")
    assert text.startswith(
        "% Table 1. A & B <i>\n"
        "% command: gcbench report --table 1 --suite mini --source both --format latex\n"
        "% runs: 2, sha256 ff\n"
    )
    assert "\\caption{A \\& B \\textless{}i\\textgreater{}. Measured 100 \\%.}\n" in text
    assert (
        "\\toprule\n"
        "Method & b\\_1 (measured) & b\\_1 (paper) \\\\\n"
        "\\midrule\n"
        "A\\textbar{}b & $\\mathbf{0.874}_{-0.024}^{+0.026}$ & $0.70$ \\\\\n"
        "C\\_d & $0.500_{-0.250}^{+0.250}{}^{\\dagger,a,b}$ & --- \\\\\n"
        "\\bottomrule\n"
    ) in text
    assert "To fill: \\texttt{gcbench run -{}-x a\\_b}\\par\n" in text


def test_html_text(small: Table) -> None:
    text = render(small, "html")
    assert "<title>Table 1. A &amp; B &lt;i&gt;</title>" in text
    assert (
        '<tr><th scope="row">A|b</th>'
        "<td><strong>0.874</strong> <small>[0.850, 0.900]</small></td><td>0.70</td></tr>\n"
        '<tr><th scope="row">C_d</th>'
        "<td>0.500† <small>[0.250, 0.750]</small><sup>a,b</sup></td>"
        '<td><abbr title="not published">—</abbr></td></tr>\n'
    ) in text
    assert "To fill: <code>gcbench run --x a_b</code></li>" in text
    assert "<i>" not in text
    assert not re.search(r"<script|https?://", text)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
@pytest.mark.parametrize("included", [False, True], ids=["alone", "included"])
def test_latex_compiles_alone_and_inside_a_document(
    small: Table, store: Store, tmp_path: Path, included: bool
) -> None:
    record(store, "randar", "mini-val", hits(7, 10), scored=8)
    names = ["small", "both"]
    (tmp_path / "small.tex").write_text(render(small, "latex"))
    (tmp_path / "both.tex").write_text(render(measured(store, source="both"), "latex"))
    if included:
        inputs = "".join(rf"\input{{{name}}}" for name in names)
        document = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        (tmp_path / "paper.tex").write_text(rf"{document}{inputs}\end{{document}}")
        names = ["paper"]
    for name in names:
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / f"{name}.pdf").stat().st_size > 0


def test_committed_tables_depend_on_the_runs_alone(store: Store, tmp_path: Path) -> None:
    record(store, "randar", "mini-val", hits(7, 10))
    record(store, "randar-raster", "mini-val", hits(5, 10))
    texts = regenerate(store.runs())
    assert set(texts) == {
        f"table{number}.{suffix}"
        for number in known_tables("measured")
        for suffix in ("csv", "md", "tex")
    }
    moved = shutil.copytree(store.root, tmp_path / "elsewhere")
    assert regenerate(Store(moved).runs()) == texts
    assert "% measured at commit: 0123abc\n" in texts["table1.tex"]


def test_the_digest_in_latex_changes_with_a_prediction(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other").create()
    for folder, correct in ((store, [True, False]), (other, [False, True])):
        record(folder, "randar", "mini-val", correct)
    digests = [
        re.findall(r"predictions (\w{64})", render(measured(s), "latex")) for s in (store, other)
    ]
    assert len(digests[0]) == len(digests[1]) == 1
    assert digests[0] != digests[1]
