"""Tables as text: every format, escaped and readable, the same from the same runs."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from stored_runs import hits, measured, record

from gcbench.report.cells import Cell, Column, Footnote, Row, Table
from gcbench.report.committed import regenerate
from gcbench.report.layouts import known_tables
from gcbench.report.render import render
from gcbench.store import Store


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


LATEX = next((name for name in ("pdflatex", "tectonic") if shutil.which(name)), None)


@pytest.mark.skipif(LATEX is None, reason="neither pdflatex nor tectonic on this machine")
@pytest.mark.parametrize("included", [False, True], ids=["alone", "included"])
def test_latex_compiles_alone_and_inside_a_document(
    small: Table, store: Store, tmp_path: Path, included: bool
) -> None:
    record(store, "randar", "mini-val", hits(7, 10), scored=8)
    names = ["small", "both"]
    (tmp_path / "small.tex").write_text(render(small, "latex"))
    (tmp_path / "both.tex").write_text(render(measured(store, source="both"), "latex"))
    if included:
        tables = {n: t for n, t in regenerate(store.runs()).items() if n.endswith(".tex")}
        assert len(tables) == len(known_tables())
        for name, text in tables.items():
            (tmp_path / name).write_text(text)
        names += [name.removesuffix(".tex") for name in tables]
        inputs = "".join(rf"\input{{{name}}}" for name in names)
        document = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        (tmp_path / "paper.tex").write_text(rf"{document}{inputs}\end{{document}}")
        names = ["paper"]
    for name in names:
        options = ["-interaction=nonstopmode", "-halt-on-error"] if LATEX == "pdflatex" else []
        command = [str(LATEX), *options, f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / f"{name}.pdf").stat().st_size > 0


def test_committed_tables_depend_on_the_runs_alone(store: Store, tmp_path: Path) -> None:
    record(store, "randar", "mini-val", hits(7, 10))
    record(store, "randar-raster", "mini-val", hits(5, 10))
    texts = regenerate(store.runs())
    assert set(texts) == {
        f"table{number}.{suffix}" for number in known_tables() for suffix in ("csv", "md", "tex")
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
