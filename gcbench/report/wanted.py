"""What a table's measured half asks for, before anything is measured, and the runs that give it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from gcbench.errors import GcbenchError
from gcbench.method import Method, Runtime
from gcbench.registry import Registry
from gcbench.report.cells import Position
from gcbench.report.layouts import Entries, Layout, Suite, known_tables, layout_of, suite_of
from gcbench.report.paper import Published, published
from gcbench.report.slots import Gap, Slot
from gcbench.scores import trial_ladder


@dataclass(frozen=True)
class Wanted:
    """The cells of a table in a suite.

    Attributes:
        fields: names of the entries that describe a row.
        rows: [R] these entries.
        columns: [C] the suite's names of the published columns.
        published: [R] the published row that each row takes the place of.
        slots: [R][C] what fills each cell, or why nothing does.
    """

    number: int
    layout: Layout
    fields: tuple[str, ...]
    rows: tuple[Entries, ...]
    columns: tuple[str, ...]
    published: tuple[Entries, ...]
    slots: tuple[tuple[Slot | Gap, ...], ...]

    def cells(self) -> Iterator[tuple[Position, Slot | Gap]]:
        """Every cell, row by row."""
        for r, row in enumerate(self.slots):
            for c, slot in enumerate(row):
                yield (r, c), slot


def wanted(number: int, suite: str) -> Wanted:
    """The measured half of a table of classifiers.

    Raises:
        GcbenchError: the table or suite is unknown, or they have nothing to do with each other.
    """
    layout, chosen = layout_of(number), suite_of(suite)
    printed = published(number, len(layout.headings))
    check_suite(number, suite)
    rows = tuple(chosen.rows(printed.rows))
    stands_for = tuple(chosen.stands_for(row, printed.rows) for row in rows)
    return Wanted(
        number=number,
        layout=layout,
        fields=printed.fields,
        rows=rows,
        columns=tuple(chosen.name(column) for column in printed.columns),
        published=stands_for,
        slots=tuple(_slots(layout, chosen, printed, row) for row in stands_for),
    )


def check_suite(number: int, suite: str) -> None:
    """Raises GcbenchError when the suite's benchmarks do not appear in the table."""
    if number not in (known := known_tables(suite_of(suite))):
        raise GcbenchError(
            f"table {number} is not about benchmarks of the suite {suite}",
            hint=f"its tables: {', '.join(map(str, known))}; or choose another --suite",
        )


def _slots(
    layout: Layout, suite: Suite, printed: Published, row: Entries
) -> tuple[Slot | Gap, ...]:
    assert layout.slot is not None
    described = dict(zip(printed.fields, row, strict=True))
    return tuple(_checked(layout.slot(described, column), suite) for column in printed.columns)


def _checked(slot: Slot | Gap, suite: Suite) -> Slot | Gap:
    if isinstance(slot, Gap):
        return slot
    if suite.stand_in and suite.name(slot.benchmark) == slot.benchmark:
        return Gap(f"no stand-in for {slot.benchmark.partition('-')[0]}")
    return suite.adapt(slot)


def lacking(slot: Slot | Gap) -> str | None:
    """What there would have to be before a run can fill a cell; None when it can."""
    if isinstance(slot, Gap):
        return slot.reason
    known = _variants().get(slot.method, ())
    absent = (m.variant for m in slot.members if m.variant not in known)
    return next((f"no {slot.method}:{variant}" for variant in absent), None)


def filling_runs(slots: Iterable[Slot | Gap]) -> list[tuple[Slot, list[str]]]:
    """The fewest runs that fill these cells, as far as runs can: its slot and its benchmarks.

    A run holds the cells of smaller counts of trials that are part of it.
    """
    by_run: dict[tuple[str, str, int | None, int], list[str]] = {}
    of_grid: dict[tuple[str, str, int | None, str], list[int]] = {}
    for slot in slots:
        if isinstance(slot, Gap) or lacking(slot):
            continue
        for member in slot.members:
            grid = (member.method, member.variant, member.timesteps, member.benchmark)
            of_grid.setdefault(grid, []).append(member.trials)
    for (method, variant, timesteps, benchmark), counts in of_grid.items():
        left = sorted(set(counts))
        while left:
            largest = left[-1]
            part_of_it = _contained(method, variant, timesteps, largest)
            left = [count for count in left if count not in part_of_it]
            by_run.setdefault((method, variant, timesteps, largest), []).append(benchmark)
    return [
        (Slot(method, variant, benchmarks[0], trials=trials, timesteps=timesteps), benchmarks)
        for (method, variant, timesteps, trials), benchmarks in by_run.items()
    ]


def _contained(method: str, variant: str, timesteps: int | None, trials: int) -> Sequence[int]:
    """The counts of trials whose results a run of `trials` trials holds, itself included."""
    design = instance(method, variant, timesteps).design(trials)
    return trial_ladder(trials) if design is None else [*design.nested, trials]


@cache
def instance(method: str, variant: str, timesteps: int | None = None) -> Method:
    """A shipped method, not loaded, one object per name: to count the operations of a network it
    has to be built. Raises GcbenchError for an unknown name.
    """
    cls = _registry().method(method)
    given = {} if timesteps is None else {"timesteps": timesteps}
    return cls(cls.variant_named(variant), Runtime(preprocessing=given))


@cache
def _registry() -> Registry:
    """What ships with gcbench: the paper's tables are about nothing else."""
    return Registry()


@cache
def _variants() -> dict[str, frozenset[str]]:
    """The variants of every method."""
    return {
        name: frozenset(variant.name for variant in method.variants)
        for name, method in _registry().methods.items()
    }
