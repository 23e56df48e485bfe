"""The published numbers as shipped and as printed."""

import pytest

from gcbench.errors import GcbenchError
from gcbench.report.cells import Table
from gcbench.report.layouts import LAYOUTS, known_tables
from gcbench.report.paper import published
from gcbench.report.render import FORMATS, render
from gcbench.report.tables import build_table


def from_paper(number: int, suite: str = "imagenet") -> Table:
    return build_table(number, suite=suite, source="paper", runs=[])


def best(table: Table) -> dict[str, list[tuple[str, ...]]]:
    """Column -> entries of the rows that are marked best in it."""
    return {
        column.label: [row.entries for row in table.rows if row.cells[c].mark == "best"]
        for c, column in enumerate(table.columns)
    }


@pytest.mark.parametrize("number", known_tables())
@pytest.mark.parametrize("format", FORMATS)
def test_every_published_table_prints_in_every_format(number: int, format: str) -> None:
    text = render(from_paper(number), format)
    assert text.endswith("\n")
    if format != "csv":
        assert f"Published numbers: arXiv 2603.19122, Table {number}." in text


@pytest.mark.parametrize("number", known_tables())
def test_a_published_table_holds_every_number_of_its_file_and_no_other(number: int) -> None:
    table, printed = from_paper(number), published(number, len(LAYOUTS[number].headings))
    assert tuple(row.entries for row in table.rows) == printed.rows
    assert tuple(tuple(c.value for c in row.cells) for row in table.rows) == printed.values
    assert {c.origin for c in table.columns} == {"paper"}


def test_all_ten_tables_are_there() -> None:
    assert known_tables() == tuple(range(1, 11))


def test_the_suite_does_not_change_published_numbers() -> None:
    ours, theirs = from_paper(1, "mini"), from_paper(1, "imagenet")
    assert (ours.rows, ours.columns, ours.title) == (theirs.rows, theirs.columns, theirs.title)


def test_the_best_of_a_published_column_is_its_highest_number() -> None:
    assert best(from_paper(1)) == {
        "in-val": [("random", "20")],
        "in-r": [("random", "20")],
        "in-s": [("random", "20")],
        "in-a": [("raster", "1")],
    }


def test_model_sizes_are_compared_apart() -> None:
    assert best(from_paper(2))["in-val"] == [
        ("L/16", "Discriminative", "DINOv2"),
        ("XL/16", "Discriminative", "DINOv2"),
    ]


def test_lower_is_better_for_rfid() -> None:
    assert {rows[0] for rows in best(from_paper(3))["rfid"]} == {"MaskGIT", "LlamaGen"}
    assert all(row.cells[0].value == 1.67 for row in from_paper(3).rows if row.cells[0].mark)


def test_weightings_are_compared_along_a_row() -> None:
    rows = best(from_paper(8))
    assert rows.pop("Constant") == [("DiT-XL",), ("SiT-XL",)]
    assert not any(rows.values())


def test_a_number_that_the_paper_does_not_give_stays_absent() -> None:
    text = render(from_paper(6), "md")
    row = next(line for line in text.splitlines() if "Sigma-stitching" in line and "B/16" in line)
    assert row.endswith("| 0.461 | — | — |")


def test_numbers_keep_their_printed_digits() -> None:
    assert "| 2.49 |" in render(from_paper(3), "md")
    assert "| 0.670 |" in render(from_paper(1), "md")


@pytest.mark.parametrize(
    ("number", "suite", "source", "message"),
    [
        (11, "mini", "paper", "unknown table 11 (known: 1 to 10)"),
        (0, "mini", "measured", "unknown table 0 (known: 1 to 10)"),
        (1, "minni", "measured", "unknown suite 'minni' (did you mean 'mini'?"),
        (1, "mini", "papers", "unknown source 'papers' (did you mean 'paper'?"),
        (
            2,
            "wilds",
            "measured",
            "table 2 is not about benchmarks of the suite wilds",
        ),
    ],
)
def test_unknown_tables_suites_and_sources_are_named(
    number: int, suite: str, source: str, message: str
) -> None:
    with pytest.raises(GcbenchError) as caught:
        build_table(number, suite=suite, source=source, runs=[])
    assert message in str(caught.value)


def test_an_unknown_format_suggests_the_nearest() -> None:
    with pytest.raises(GcbenchError, match=r"unknown format 'latec' \(did you mean 'latex'"):
        render(from_paper(1), "latec")
