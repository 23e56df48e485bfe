"""Which benchmarks can be run on this machine: found, incomplete or missing, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gcbench.bench import BenchmarkFamily
from gcbench.errors import GcbenchError
from gcbench.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console

FOUND, INCOMPLETE, MISSING = "found", "incomplete", "missing"


@dataclass(frozen=True)
class DataStatus:
    """What is known of one benchmark's data.

    Attributes:
        state: `found`; `incomplete` when the data are there but not whole or not as they should
            be; `missing` when they are nowhere.
        where: the place, or, when missing, nothing.
        samples, classes: how many there are; None when the data cannot be read.
        digest: of the content; None when the data cannot be read.
        note: what is wrong and what to do.
    """

    name: str
    state: str
    where: str = ""
    samples: int | None = None
    classes: int | None = None
    digest: str | None = None
    note: str = ""


def data_status(registry: Registry, data_root: Path | None = None) -> list[DataStatus]:
    """The status of every listed benchmark, in the order of the list. Reads no pixels."""
    return [
        _status(family, name, data_root) for family in registry.families for name in family.names
    ]


def _status(family: BenchmarkFamily, name: str, data_root: Path | None) -> DataStatus:
    try:
        where = family.locate(name, data_root)
    except GcbenchError as error:
        return DataStatus(name, MISSING, note=str(error))
    try:
        benchmark = family.load(name, data_root)
    except GcbenchError as error:
        return DataStatus(name, INCOMPLETE, where, note=str(error))
    return DataStatus(
        name=name,
        state=INCOMPLETE if benchmark.shortfall else FOUND,
        where=where,
        samples=len(benchmark),
        classes=len(benchmark.classes),
        digest=benchmark.digest,
        note=benchmark.shortfall,
    )


def show_status(statuses: Sequence[DataStatus], console: Console) -> None:
    """Prints the statuses as a table, then what is wrong with each."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    colours = {FOUND: "green", INCOMPLETE: "yellow", MISSING: "red"}
    table = Table(box=box.SIMPLE)
    for column in ("benchmark", "data", "images", "classes", "digest"):
        right = column in ("images", "classes")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    table.add_column("where", overflow="fold")
    for status in statuses:
        table.add_row(
            status.name,
            f"[{colours[status.state]}]{status.state}[/]",
            "" if status.samples is None else f"{status.samples:,}",
            "" if status.classes is None else f"{status.classes:,}",
            (status.digest or "")[:12],
            escape(status.where),
        )
    console.print(table)
    for note, names in _by_note(statuses).items():
        console.print(f"{', '.join(names)}: {escape(note)}", soft_wrap=True, highlight=False)


def _by_note(statuses: Sequence[DataStatus]) -> dict[str, list[str]]:
    """The notes, each with the benchmarks that it is about: several may share their data."""
    named: dict[str, list[str]] = {}
    for status in statuses:
        if status.note:
            named.setdefault(status.note.removeprefix(f"{status.name}: "), []).append(status.name)
    return named
