"""The published numbers (arXiv 2603.19122), as shipped in results/paper."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from gcbench.errors import GcbenchError
from gcbench.report.cells import Cell, Column, Comparison, Footnote, Grid, Mark, Notes, Position
from gcbench.resources import resource

PAPER = "arXiv 2603.19122"


@dataclass(frozen=True)
class Published:
    """One published table.

    Attributes:
        fields: names of the leading columns, which say what a row is.
        columns: names of the remaining columns, which hold the numbers.
        rows: [R] the leading entries of each row, one per field.
        values: [R][C] the numbers; None where the paper prints none.
        decimals: [C] digits after the point, as printed.
    """

    fields: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    values: tuple[tuple[float | None, ...], ...]
    decimals: tuple[int, ...]


def published(number: int, fields: int) -> Published:
    """The published table of that number, whose first `fields` columns describe the row.

    Raises:
        GcbenchError: the file is missing from this installation or an entry is not a number.
    """
    name = f"results/paper/table{number}.csv"
    with resource(name).open(newline="") as file:
        header, *lines = csv.reader(file)
    entries = [line[fields:] for line in lines]
    return Published(
        fields=tuple(header[:fields]),
        columns=tuple(header[fields:]),
        rows=tuple(tuple(line[:fields]) for line in lines),
        values=tuple(tuple(_number(text, name) for text in row) for row in entries),
        decimals=tuple(max(_decimals(t) for t in column) for column in zip(*entries, strict=True)),
    )


def published_grid(
    table: Published, comparisons: Sequence[Comparison], lower_is_better: bool, notes: Notes
) -> Grid:
    """The published numbers as cells; the plain best of each comparison is marked."""
    marks: dict[Position, Mark] = {}
    for comparison in comparisons:
        values = {p: v for p in comparison.positions if (v := table.values[p[0]][p[1]]) is not None}
        if len(values) > 1:
            best = min(values.values()) if lower_is_better else max(values.values())
            marks.update((p, "best") for p, value in values.items() if value == best)
    if marks:
        which = "lowest" if lower_is_better else "highest"
        text = f"among published numbers, {which} of {comparisons[0].among} (no test is published)"
        notes.legend.append(Footnote("best", text))

    def cell(r: int, c: int, value: float | None) -> Cell:
        if value is None:
            return Cell(None, "unpublished")
        return Cell(value, "published", mark=marks.get((r, c), ""))

    cells = tuple(
        tuple(cell(r, c, v) for c, v in enumerate(row)) for r, row in enumerate(table.values)
    )
    labels = zip(table.columns, table.decimals, strict=True)
    return Grid(tuple(Column(label, "paper", digits) for label, digits in labels), cells)


def _number(text: str, where: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise GcbenchError(
            f"{where} holds {text!r}, expected a number", hint="reinstall gcbench"
        ) from None


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])
