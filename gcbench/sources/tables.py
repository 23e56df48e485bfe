"""CSV tables of a data set, read row by row; a broken row is named with its line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gcbench.errors import GcbenchError
from gcbench.sources.files import Source


@dataclass(frozen=True)
class Row:
    """A row as text by column. `line` is its line in the file; the header is line 1."""

    table: str
    line: int
    cells: dict[str, str]

    def text(self, column: str, among: Sequence[str] = ()) -> str:
        """A cell's text, one of `among` if any are given. Raises GcbenchError otherwise."""
        value = self.cells[column]
        if not value or (among and value not in among):
            raise self.error(column, f"one of {', '.join(among)}" if among else "some text")
        return value

    def integer(self, column: str, among: Sequence[int] = ()) -> int:
        """A cell's whole number, one of `among` if any are given. Raises GcbenchError otherwise."""
        value: int | None
        try:
            value = int(self.cells[column])
        except ValueError:
            value = None
        if value is None or (among and value not in among):
            numbers = ", ".join(map(str, among))
            raise self.error(column, f"one of {numbers}" if among else "a whole number")
        return value

    def error(self, column: str, expected: str) -> GcbenchError:
        """The error for a cell that does not hold what was expected."""
        return GcbenchError(
            f"{self.table}, line {self.line}, column {column!r}: got "
            f"{self.cells[column]!r}, expected {expected}",
            hint="the file is damaged or of another version: fetch it again",
        )


def read_rows(source: Source, path: str, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a CSV file with a header, restricted to `columns`, in file order.

    Raises:
        GcbenchError: the file is missing or no UTF-8 text, lacks a column, or has a row with too
            few or too many cells.
    """
    shown = source.shown(path)
    try:
        text = source.read(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise GcbenchError(f"{shown} cannot be read ({error})", hint="fetch it again") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        missing = [c for c in columns if c not in header]
        if missing:
            raise GcbenchError(
                f"{shown} has no column {missing[0]!r}; it has {', '.join(header) or 'none'}",
                hint="the file is damaged or of another version: fetch it again",
            )
        positions = [header.index(c) for c in columns]
        for cells in reader:
            line = reader.line_num
            if len(cells) != len(header):
                column = header[min(len(cells), len(header) - 1)]
                raise GcbenchError(
                    f"{shown}, line {line}, column {column!r}: the row has {len(cells)} cells, "
                    f"expected {len(header)}",
                    hint="the file is damaged: fetch it again",
                )
            yield Row(shown, line, {c: cells[p] for c, p in zip(columns, positions, strict=True)})
    except csv.Error as error:
        raise GcbenchError(
            f"{shown}, line {max(line, reader.line_num)}: {error}",
            hint="the file is damaged: fetch it again",
        ) from None
