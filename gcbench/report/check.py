"""Measured cells against the published numbers, one line per cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gcbench.errors import GcbenchError
from gcbench.report.evidence import Evidence, Measurements
from gcbench.report.layouts import known_tables, layout_of, suite_of
from gcbench.report.measured import DECIMALS, evidence_for
from gcbench.report.paper import PAPER, published
from gcbench.report.wanted import wanted
from gcbench.store import Run

Verdict = Literal["inside", "outside", "partial", "missing"]


@dataclass(frozen=True)
class Checked:
    """A published number and the measurement that takes its place, if there is one.

    Attributes:
        cell: what the number is: table, row and column.
        verdict: whether the number lies in the measurement's 95 % interval; `partial` ones are not
            compared, and those not measured are `missing`.
    """

    cell: str
    number: float
    verdict: Verdict
    evidence: Evidence | None

    @property
    def line(self) -> str:
        parts = [f"{self.verdict:<7}", f"{self.cell}: published {self.number:.{DECIMALS}f}"]
        if self.evidence is not None:
            low, high = self.evidence.interval
            of = self.evidence.limitation or f"{self.evidence.count:,} images"
            parts.append(f"measured {self.evidence.accuracy:.3f} [{low:.3f}, {high:.3f}], {of}")
        return "  ".join(parts)


def check(runs: Sequence[Run], suite: str, table: int | None = None) -> list[Checked]:
    """Every published accuracy of the suite's tables, or of one of them, with its verdict.

    Published numbers are rounded: one is inside when a number that rounds to it lies in the
    interval. The interval is that of the measurement alone: with equal classifiers on the paper's
    images one in twenty would be outside, more on other images.

    Raises:
        GcbenchError: nothing is published about the suite, or the table is not one of its own or
            holds no accuracies.
    """
    if suite_of(suite).stand_in:
        raise GcbenchError(
            f"no number is published for the suite {suite}: there is nothing to check it against",
            hint="use --suite imagenet or wilds, or --source both to see the two side by side",
        )
    if table is not None and layout_of(table).of_tokenizers:
        raise GcbenchError(
            f"table {table} holds distances without intervals", hint="use --source both to see them"
        )
    numbers = [n for n in known_tables(suite_of(suite)) if not layout_of(n).of_tokenizers]
    measurements = Measurements(runs)
    return [
        checked
        for number in (numbers if table is None else [table])
        for checked in _check_table(number, suite, measurements)
    ]


def _check_table(number: int, suite: str, measurements: Measurements) -> list[Checked]:
    asked = wanted(number, suite)
    printed = published(number, len(asked.fields))
    evidence = evidence_for(asked, measurements)
    found = []
    for position, _ in asked.cells():
        r, c = position
        value = printed.values[r][c]
        if value is None:
            continue
        row = " ".join(entry for entry in asked.rows[r] if entry)
        cell = f"table {number}, {row}, {asked.columns[c]}"
        what = evidence.get(position)
        found.append(Checked(cell, value, _verdict(value, printed.decimals[c], what), what))
    return found


def _verdict(number: float, decimals: int, evidence: Evidence | None) -> Verdict:
    if evidence is None:
        return "missing"
    if evidence.status == "partial":
        return "partial"
    low, high = evidence.interval
    rounding = 0.5 * 10**-decimals
    return "inside" if low - rounding <= number <= high + rounding else "outside"


def summary(checked: Sequence[Checked]) -> str:
    """How many cells have which verdict."""
    counts = Counter(one.verdict for one in checked)
    compared = counts["inside"] + counts["outside"]
    return (
        f"{compared} of {len(checked)} published numbers ({PAPER}) compared: "
        f"{counts['inside']} inside the 95 % interval of the measurement, "
        f"{counts['outside']} outside; {counts['partial']} partial, {counts['missing']} missing"
    )
