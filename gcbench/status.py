"""What there is of every cell of every table, and the commands that would fill the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gcbench.engine.locks import held
from gcbench.report.evidence import Evidence, Measurements, run_command
from gcbench.report.layouts import Suite, known_tables, layout_of, suite_of
from gcbench.report.render import ABSENT, aligned
from gcbench.report.slots import Gap, Slot
from gcbench.report.tokenizers import chosen_records, tokenizer_command
from gcbench.report.wanted import filling_runs, lacking, wanted
from gcbench.store import Run

State = Literal["done", "partial", "running", "failed", "missing"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class CellState:
    """What there is of a cell.

    Attributes:
        row, column: where it stands in its table.
        state: `done`, `partial`, `running` (a process holds a lock of its run), `failed` (the run
            ended without some of its images) or `missing`.
        scored, total: images that are there, and that the run is to have.
        reason: what limits or keeps away the cell, in words; empty when nothing does.
        fill: the command that completes a partial or failed one; empty elsewhere.
    """

    row: tuple[str, ...]
    column: str
    state: State
    scored: int = 0
    total: int | None = None
    reason: str = ""
    fill: str = ""

    @property
    def word(self) -> str:
        """The state in few characters."""
        if self.state in ("partial", "running"):
            return f"{self.state} {self.scored:,}/{self.total:,}"
        return ABSENT if self.state == "missing" else self.state


@dataclass(frozen=True)
class TableState:
    """The cells of a table in its order, and commands that fill the missing ones."""

    number: int
    title: str
    headings: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[CellState, ...]
    missing: tuple[Slot | Gap, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[State, int]:
        """How many cells are in which state."""
        counted = Counter(cell.state for cell in self.cells)
        return {state: counted[state] for state in STATES}


def table_states(
    runs: Sequence[Run],
    tokenizers: Sequence[Mapping[str, Any]],
    suite: str,
    table: int | None = None,
) -> list[TableState]:
    """What there is of the suite's tables, or of one.

    Raises:
        GcbenchError: the table or suite is unknown, or they have nothing to do with each other.
    """
    chosen, measurements = suite_of(suite), Measurements(runs)
    return [
        _of_tokenizers(number, chosen, tokenizers)
        if layout_of(number).of_tokenizers
        else _of_classifiers(number, suite, measurements)
        for number in (known_tables(chosen) if table is None else [table])
    ]


def fill_commands(tables: Sequence[TableState]) -> list[str]:
    """The commands that complete what is partial, then the fewest that add what is missing."""
    complete = [cell.fill for table in tables for cell in table.cells if cell.fill]
    slots = [slot for table in tables for slot in table.missing]
    fill = [run_command(slot, benchmarks) for slot, benchmarks in filling_runs(slots)]
    others = [command for table in tables for command in table.commands]
    return list(dict.fromkeys((*complete, *fill, *others)))


def _of_classifiers(number: int, suite: str, measurements: Measurements) -> TableState:
    asked = wanted(number, suite)
    val = suite_of(suite).name("in-val")
    cells, missing = [], []
    for (r, c), slot in asked.cells():
        cell = _state(asked.rows[r], asked.columns[c], slot, measurements)
        cells.append(cell)
        if cell.state == "missing":
            missing.append(slot)
    return TableState(
        number,
        asked.layout.title.format(val=val),
        asked.layout.headings,
        asked.columns,
        tuple(cells),
        tuple(missing),
    )


def _state(
    row: tuple[str, ...], column: str, slot: Slot | Gap, measurements: Measurements
) -> CellState:
    evidence = None if isinstance(slot, Gap) else measurements.find(slot)
    if evidence is None:
        running = None
        if isinstance(slot, Slot):
            running = next((r for r in measurements.begun(slot) if _running(r)), None)
        if running is not None:
            return CellState(row, column, "running", 0, len(running.spec["sample_ids"]))
        return CellState(row, column, "missing", reason=lacking(slot) or "")
    images = (evidence.count, evidence.total)
    if evidence.status != "partial":
        return CellState(row, column, "done", *images, evidence.limitation or "")
    if _running(evidence.run):
        return CellState(row, column, "running", *images)
    failures = _failures(evidence)
    if failures:
        return CellState(row, column, "failed", *images, failures, evidence.command)
    return CellState(row, column, "partial", *images, evidence.limitation or "", evidence.command)


def _running(run: Run) -> bool:
    return held(run.path / "locks")


def _failures(evidence: Evidence) -> str:
    """Why a finished run lacks images; empty for one that goes on."""
    failures = (evidence.run.summary or {}).get("coverage", {}).get("failures", {})
    if not failures:
        return ""
    sample, reason = next(iter(failures.items()))
    return f"{len(failures):,} images failed, first {sample}: {reason}"


def _of_tokenizers(
    number: int, suite: Suite, tokenizers: Sequence[Mapping[str, Any]]
) -> TableState:
    found = chosen_records(tokenizers, suite)
    names = dict.fromkeys((*suite.tokenizers, *found))
    cells = tuple(
        CellState((name,), column, "done", found[name]["images"], found[name]["images"])
        if name in found
        else CellState((name,), column, "missing")
        for name in names
        for column in [suite.name("in-val")]
    )
    commands = tuple(tokenizer_command(name, suite) for name in names if name not in found)
    layout = layout_of(number)
    columns = (suite.name("in-val"),)
    return TableState(number, layout.title, layout.headings[:1], columns, cells, (), commands)


def as_text(tables: Sequence[TableState]) -> str:
    """A matrix of states per table, what is behind the gaps, and the commands that fill them."""
    blocks = []
    for table in tables:
        counts = ", ".join(f"{n} {state}" for state, n in table.counts.items() if n)
        width = len(table.columns)
        rows = [table.cells[i : i + width] for i in range(0, len(table.cells), width)]
        grid = [[*table.headings, *table.columns]]
        grid += [[*cells[0].row, *(cell.word for cell in cells)] for cells in rows]
        reasons = dict.fromkeys(cell.reason for cell in table.cells if cell.reason)
        lines = [f"Table {table.number}. {table.title}: {counts}", "", *aligned(grid)]
        blocks.append("\n".join([*lines, *(["; ".join(reasons)] if reasons else [])]))
    commands = fill_commands(tables)
    if commands:
        blocks.append("\n".join(["To fill what runs can fill:", *commands]))
    return "\n\n".join(blocks) + "\n"


def as_json(tables: Sequence[TableState], suite: str) -> dict[str, Any]:
    """The same as plain nested values."""
    return {
        "suite": suite,
        "tables": [
            {
                "table": table.number,
                "title": table.title,
                "counts": table.counts,
                "cells": [
                    {
                        "row": dict(zip(table.headings, cell.row, strict=True)),
                        "column": cell.column,
                        "state": cell.state,
                        "scored": cell.scored,
                        "total": cell.total,
                        "reason": cell.reason,
                    }
                    for cell in table.cells
                ],
            }
            for table in tables
        ],
        "commands": fill_commands(tables),
    }
