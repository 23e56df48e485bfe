"""Builds the paper's tables: measured, published, or both side by side and never mixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

from gcbench.errors import GcbenchError, unknown_name
from gcbench.report.cells import Comparison, Grid, Notes, Row, Table
from gcbench.report.evidence import Evidence, Measurements
from gcbench.report.layouts import Layout, Suite, known_tables, layout_of, suite_of
from gcbench.report.measured import measured_grid
from gcbench.report.paper import PAPER, Published, published, published_grid
from gcbench.report.tokenizers import tokenizer_table
from gcbench.store import Run

__all__ = ["SOURCES", "build_table", "known_tables"]

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
        GcbenchError: the table, suite or source is unknown, or the table has no measured cells.
    """
    layout, chosen = layout_of(number), suite_of(suite)
    if source not in SOURCES:
        raise unknown_name("source", source, SOURCES)
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
        beside = None
        if source == "both":
            comparisons = _comparisons(layout, printed, printed.columns)
            beside = published_grid(printed, comparisons, layout.lower_is_better, notes)
        return tokenizer_table(number, layout, suite, source, tokenizers, printed, beside, notes)
    provenance: dict[str, str] = {}
    grids: list[Grid] = []
    validation: list[str] = []
    if source != "paper":
        measurements = Measurements(runs)
        grid, evidence = _measured(number, layout, printed, chosen, measurements, notes)
        grids.append(grid)
        validation.append(chosen.name("in-val"))
        provenance = _provenance(evidence, measurements)
    if source != "measured":
        comparisons = _comparisons(layout, printed, printed.columns)
        grids.append(published_grid(printed, comparisons, layout.lower_is_better, notes))
        validation.append("in-val")
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
            for r, entries in enumerate(printed.rows)
        ),
        footnotes=notes.all(),
        provenance=tuple(provenance.items()),
    )


def _measured(
    number: int,
    layout: Layout,
    printed: Published,
    suite: Suite,
    measurements: Measurements,
    notes: Notes,
) -> tuple[Grid, list[Evidence]]:
    slot = layout.slot
    if slot is None:
        raise GcbenchError(
            f"table {number} has no measured cells in this version",
            hint="use --source paper, or one of the measured tables: "
            + ", ".join(map(str, known_tables("measured"))),
        )
    labels = [suite.name(column) for column in printed.columns]
    described = [dict(zip(printed.fields, row, strict=True)) for row in printed.rows]
    slots = [[suite.adapt(slot(row, column)) for column in printed.columns] for row in described]
    comparisons = _comparisons(layout, printed, labels)
    return measured_grid(slots, labels, comparisons, measurements, notes)


def _comparisons(layout: Layout, printed: Published, labels: Sequence[str]) -> list[Comparison]:
    """Which cells compete: each column (inside each block of rows), or each row."""
    rows, columns = range(len(printed.rows)), range(len(labels))
    if layout.compare == "row":
        return [
            Comparison(" ".join(printed.rows[r]), "its row", tuple((r, c) for c in columns))
            for r in rows
        ]
    among = f"its column and {layout.block}" if layout.block else "its column"
    blocks: dict[str, list[int]] = {}
    for r in rows:
        key = printed.rows[r][printed.fields.index(layout.block)] if layout.block else ""
        blocks.setdefault(key, []).append(r)
    return [
        Comparison(f"{labels[c]} {block}".strip(), among, tuple((r, c) for r in members))
        for c in columns
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
    runs = {cell.run.path: cell.run for cell in evidence}
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
