"""A finished table as data: columns, rows, cells, footnotes. No layout rules, no text format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Origin = Literal["measured", "paper"]
Mark = Literal["", "best", "tied"]
Status = Literal["full", "subset", "partial", "missing", "published", "unpublished"]
Position = tuple[int, int]  # row, column


@dataclass(frozen=True)
class Cell:
    """A number, or the lack of one.

    Attributes:
        value: of measured cells an accuracy in [0, 1], or what the column's label says; as printed
            for published ones.
        status: `full`, `subset`, `partial` or `missing`; `published` or `unpublished`.
        interval: 95 % Wilson interval (low, high); published numbers have none.
        count: images behind the value.
        mark: `best` of its comparison, or `tied` with the best.
        footnotes: letters of the table's footnotes that hold for this cell.
    """

    value: float | None
    status: Status
    interval: tuple[float, float] | None = None
    count: int | None = None
    mark: Mark = ""
    footnotes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column of numbers: its benchmark (or setting), and where its numbers come from."""

    label: str
    origin: Origin
    decimals: int


@dataclass(frozen=True)
class Grid:
    """The columns of one origin, with a cell per row of the table and column."""

    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """Cells among which the best is sought.

    `name` says which they are; `among` says what all comparisons of the table are: "its column".
    """

    name: str
    among: str
    positions: tuple[Position, ...]


@dataclass(frozen=True)
class Row:
    """What the row is, one entry per heading, and its cells, one per column."""

    entries: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Footnote:
    """A remark below the table. `symbol`: a letter, `best`, `tied`, or empty for a general one."""

    symbol: str
    text: str


@dataclass(frozen=True)
class Table:
    """A finished table; `gcbench.report.render` turns it into text.

    Attributes:
        fields, headings: names of the entries that describe a row, for machines and for readers.
        provenance: what the measured cells come from (name, text): digest and commits of runs.
    """

    number: int
    title: str
    suite: str
    source: str
    source_line: str
    fields: tuple[str, ...]
    headings: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[Footnote, ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def command(self) -> str:
        """The command that prints the table."""
        return f"gcbench report --table {self.number} --suite {self.suite} --source {self.source}"

    def records(self) -> Iterator[dict[str, Any]]:
        """One tidy record per cell, row by row."""
        texts = {note.symbol: note.text for note in self.footnotes}
        for row in self.rows:
            for column, cell in zip(self.columns, row.cells, strict=True):
                low, high = cell.interval or (None, None)
                yield {
                    "table": self.number,
                    "suite": self.suite if column.origin == "measured" else None,
                    **dict(zip(self.fields, row.entries, strict=True)),
                    "column": column.label,
                    "source": column.origin,
                    "value": cell.value,
                    "low": low,
                    "high": high,
                    "n": cell.count,
                    "status": cell.status,
                    "mark": cell.mark,
                    "notes": "; ".join(texts[letter] for letter in cell.footnotes),
                }

    def frame(self) -> pd.DataFrame:
        """One row per cell: what it is, value, 95 % interval, images, status, mark, notes."""
        import pandas as pd

        numbers = dict.fromkeys(("value", "low", "high"), "float64")
        return pd.DataFrame(list(self.records())).astype({**numbers, "n": "Int64"})


@dataclass
class Notes:
    """Collects footnotes while a table is built; equal texts share a letter."""

    general: list[str] = field(default_factory=list)
    legend: list[Footnote] = field(default_factory=list)
    lettered: dict[str, str] = field(default_factory=dict)  # text -> letter

    def letter(self, text: str) -> str:
        """The letter of a remark on single cells: a ... z, aa, bb ..."""
        position = len(self.lettered)
        letter = ascii_lowercase[position % 26] * (position // 26 + 1)
        return self.lettered.setdefault(text, letter)

    def all(self) -> tuple[Footnote, ...]:
        """Every footnote in the order of print: letters, marks, general remarks."""
        lettered = [Footnote(letter, text) for text, letter in self.lettered.items()]
        return (*lettered, *self.legend, *(Footnote("", text) for text in self.general))
