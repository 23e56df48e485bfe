"""Builds the paper's tables: measured, published, or both side by side and never mixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

from gcbench.errors import unknown_name
from gcbench.report.cells import Cell, Comparison, Grid, Notes, Row, Table
from gcbench.report.evidence import Evidence, Measurements
from gcbench.report.layouts import Entries, Layout, layout_of, suite_of
from gcbench.report.measured import measured_grid
from gcbench.report.paper import PAPER, Published, published, published_grid
from gcbench.report.tokenizers import tokenizer_table
from gcbench.report.wanted import check_suite, wanted
from gcbench.store import Run

T = TypeVar("T")

SOURCES = ("measured", "paper", "both")


def build_table(
    number: int,
    *,
    suite: str,
    source: str,
    runs: Sequence[Run],
    tokenizers: Sequence[Mapping[str, Any]] = (),
) -> Table:
    """A table of the paper from what is stored, from the paper, or both side by side.

    Args:
        number: the paper's number of the table.
        suite: whose benchmarks stand for the paper's; of no effect on `source="paper"`.
        source: `measured`, `paper` or `both`.
        runs: the runs to choose from; those of other tables are ignored.
        tokenizers: the records of tokenizers under noise to choose from.

    Raises:
        GcbenchError: the table, suite or source is unknown, or the table is not about the suite.
    """
    layout, chosen = layout_of(number), suite_of(suite)
    if source not in SOURCES:
        raise unknown_name("source", source, SOURCES)
    if source != "paper":
        check_suite(number, suite)
    printed = published(number, len(layout.headings))
    notes = Notes()
    if source != "paper" and suite in layout.remarks:
        notes.general.append(layout.remarks[suite])
    if source == "both" and chosen.stand_in:
        notes.general.append(
            f"The suite {suite} stands in for the paper's benchmarks with other images and other "
            "models: compare the shape of the two halves, not their values."
        )
    if layout.of_tokenizers and source != "paper":
        beside = _published(layout, printed, notes) if source == "both" else None
        return tokenizer_table(number, layout, suite, source, tokenizers, printed, beside, notes)
    provenance: dict[str, str] = {}
    validation: list[str] = []
    halves: list[tuple[Sequence[Entries], Grid]] = []
    if source != "paper":
        measurements, asked = Measurements(runs), wanted(number, suite)
        comparisons = _comparisons(layout, printed.fields, asked.rows, asked.columns)
        grid, evidence = measured_grid(asked, suite, comparisons, measurements, notes)
        halves.append((asked.rows, grid))
        validation.append(chosen.name("in-val"))
        provenance = _provenance(list(evidence.values()), measurements)
    if source != "measured":
        halves.append((printed.rows, _published(layout, printed, notes)))
        validation.append("in-val")
    grids = _aligned(halves)
    return Table(
        number=number,
        title=layout.title.format(val=" and ".join(dict.fromkeys(validation))),
        suite=suite,
        source=source,
        source_line=_source_line(number, suite, source),
        fields=printed.fields,
        headings=layout.headings,
        columns=tuple(_interleaved(grid.columns for grid in grids)),
        rows=tuple(
            Row(entries, tuple(_interleaved(grid.cells[r] for grid in grids)))
            for r, entries in enumerate(_all_rows(halves))
        ),
        footnotes=notes.all(),
        provenance=tuple(provenance.items()),
    )


def _published(layout: Layout, printed: Published, notes: Notes) -> Grid:
    comparisons = _comparisons(layout, printed.fields, printed.rows, printed.columns)
    return published_grid(printed, comparisons, layout.lower_is_better, notes)


def _all_rows(halves: Sequence[tuple[Sequence[Entries], Grid]]) -> list[Entries]:
    """The rows of all halves: side by side where they are the same, else one after the other."""
    return list(dict.fromkeys(entries for rows, _ in halves for entries in rows))


def _aligned(halves: Sequence[tuple[Sequence[Entries], Grid]]) -> list[Grid]:
    """The halves' grids with a row for each of all rows; what a half lacks is absent."""
    grids = []
    for rows, grid in halves:
        own = dict(zip(rows, grid.cells, strict=True))
        measured = grid.columns[0].origin == "measured"
        absent = (Cell(None, "missing" if measured else "unpublished"),) * len(grid.columns)
        cells = tuple(own.get(entries, absent) for entries in _all_rows(halves))
        grids.append(Grid(grid.columns, cells))
    return grids


def _comparisons(
    layout: Layout, fields: Sequence[str], rows: Sequence[Entries], labels: Sequence[str]
) -> list[Comparison]:
    """Which cells compete: each column (inside each block of rows), or each row."""
    if layout.compare == "row":
        columns = range(len(labels))
        return [
            Comparison(" ".join(entries), "its row", tuple((r, c) for c in columns))
            for r, entries in enumerate(rows)
        ]
    blocks: dict[str, list[int]] = {}
    for r, entries in enumerate(rows):
        key = entries[fields.index(layout.block)] if layout.block else ""
        blocks.setdefault(key, []).append(r)
    among = f"its column and {layout.block}" if len(blocks) > 1 else "its column"
    return [
        Comparison(f"{label} {block}".strip(), among, tuple((r, c) for r in members))
        for c, label in enumerate(labels)
        for block, members in blocks.items()
    ]


def _source_line(number: int, suite: str, source: str) -> str:
    from_paper = f"Published numbers: {PAPER}, Table {number}"
    if source == "paper":
        return f"{from_paper}."
    measured = f"Measured with gcbench, suite {suite}, with 95 % Wilson intervals"
    return f"{measured}." if source == "measured" else f"{measured}. {from_paper}."


def _provenance(evidence: Sequence[Evidence], measurements: Measurements) -> dict[str, str]:
    """Digest of the predictions behind the table, and the commits that produced them."""
    runs = {t.run.path: t.run for cell in evidence for t in cell.trainings}
    commits = set()
    for run in runs.values():
        origin = (run.summary or {}).get("provenance", {})
        if "commit" in origin:
            commits.add(origin["commit"] + ("-dirty" if origin.get("dirty") else ""))
    found = {
        "runs": f"{len(runs)}, sha256 of their predictions {measurements.digest(runs.values())}"
    }
    return found | ({"measured at commit": ", ".join(sorted(commits))} if commits else {})


def _interleaved(groups: Iterable[Sequence[T]]) -> Iterator[T]:
    """First of each group, second of each group, and so on: keeps matching columns together."""
    return chain.from_iterable(zip(*groups, strict=True))
