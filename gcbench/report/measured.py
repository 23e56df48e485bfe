"""The measured half of a table: cells from stored runs, and marks that a paired test supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from gcbench.report.cells import Cell, Column, Comparison, Footnote, Grid, Mark, Notes, Position
from gcbench.report.evidence import Evidence, Measurements, deviations
from gcbench.report.slots import Gap, Slot
from gcbench.report.wanted import Wanted
from gcbench.stats import holm, mcnemar_exact

SIGNIFICANCE = 0.05
DECIMALS = 3  # as in the paper


def measured_grid(
    asked: Wanted,
    suite: str,
    comparisons: Sequence[Comparison],
    measurements: Measurements,
    notes: Notes,
) -> tuple[Grid, dict[Position, Evidence]]:
    """The cells that a table asks for, and the evidence behind them.

    What limits a cell, sets it apart or is missing goes to `notes`.
    """
    evidence = evidence_for(asked, measurements)
    apart = deviations(evidence)
    marks = _marks(comparisons, evidence, notes)

    def cell(position: Position) -> Cell:
        if position not in evidence:
            return Cell(None, "missing")
        what = evidence[position]
        remarks = list(apart.get(position, ()))
        if what.limitation is not None:
            remarks.insert(0, what.limitation)
        return Cell(
            what.accuracy,
            what.status,
            what.interval,
            what.count,
            marks.get(position, ""),
            tuple(notes.letter(remark) for remark in remarks),
        )

    rows, columns = range(len(asked.rows)), range(len(asked.columns))
    cells = tuple(tuple(cell((r, c)) for c in columns) for r in rows)
    _remark_on_images(evidence, notes)
    _remark_on_gaps(asked, suite, evidence, notes)
    heads = tuple(Column(name, "measured", DECIMALS) for name in asked.columns)
    return Grid(heads, cells), evidence


def evidence_for(asked: Wanted, measurements: Measurements) -> dict[Position, Evidence]:
    """The best evidence for every cell that has any."""
    found = {
        position: measurements.find(slot)
        for position, slot in asked.cells()
        if isinstance(slot, Slot)
    }
    return {position: cell for position, cell in found.items() if cell is not None}


def _marks(
    comparisons: Sequence[Comparison], evidence: Mapping[Position, Evidence], notes: Notes
) -> dict[Position, Mark]:
    """Marks the best cell of each comparison, or all cells that no test tells from the best.

    Each comparison's highest cell is tested against each of the others on the same images (exact
    McNemar; of means over trainings the least significant pair of them). The p-values of the whole
    table form one family for Holm's correction. A lead counts when all of its tests reject.
    """
    rivals: list[tuple[Position, Position]] = []  # (best of a comparison, another cell of it)
    leaders: list[Position] = []
    unlike: list[str] = []
    for comparison in comparisons:
        present = [p for p in comparison.positions if p in evidence]
        if len(present) < 2:
            continue
        best = max(present, key=lambda p: evidence[p].accuracy)
        if not all(evidence[best].comparable(evidence[p]) for p in present):
            unlike.append(comparison.name)
            continue
        leaders.append(best)
        rivals += [(best, p) for p in present if p != best]
    adjusted = holm([_p_value(evidence[a], evidence[b]) for a, b in rivals])
    tied: dict[Position, list[Position]] = {best: [] for best in leaders}
    for (best, other), p_value in zip(rivals, adjusted, strict=True):
        if p_value > SIGNIFICANCE:
            tied[best].append(other)
    marks: dict[Position, Mark] = {}
    for best, others in tied.items():
        marks[best] = "tied" if others else "best"
        marks.update(dict.fromkeys(others, "tied"))
    _explain(marks, comparisons, evidence, notes)
    if unlike:
        notes.general.append(
            f"No best is marked in {', '.join(unlike)}: the cells are about different images."
        )
    return marks


def _p_value(one: Evidence, other: Evidence) -> float:
    """That the two are told apart, whichever of their trainings are taken."""
    pairs = product(one.trainings, other.trainings)
    return max(mcnemar_exact(a.correct, b.correct).p_value for a, b in pairs)


def _explain(
    marks: Mapping[Position, Mark],
    comparisons: Sequence[Comparison],
    evidence: Mapping[Position, Evidence],
    notes: Notes,
) -> None:
    where = comparisons[0].among
    each = (
        ", every training against every other" if any(e.others for e in evidence.values()) else ""
    )
    test = f"exact McNemar test on the same images{each}, Holm-corrected over the table, 5 %"
    if "best" in marks.values():
        text = f"among measured cells, above every other of {where} ({test})"
        notes.legend.append(Footnote("best", text))
    if "tied" in marks.values():
        text = f"highest of {where}, or not told apart from the highest ({test})"
        notes.legend.append(Footnote("tied", text))


def _remark_on_images(evidence: Mapping[Position, Evidence], notes: Notes) -> None:
    counts: dict[str, int] = {}
    for cell in evidence.values():
        if cell.status == "full" and not cell.group:
            counts.setdefault(cell.run.spec["benchmark"], cell.count)
    if counts:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        notes.general.append(f"Images per cell: {listed}.")


def _remark_on_gaps(
    asked: Wanted, suite: str, evidence: Mapping[Position, Evidence], notes: Notes
) -> None:
    """Names what is missing, and why nothing can fill it; the commands that complete partial runs.

    The text depends on what is stored alone. Which gaps a run can fill depends on the variants that
    there are, too: `gcbench status` knows.
    """
    missing = [slot for position, slot in asked.cells() if position not in evidence]
    slots = [slot for slot in missing if isinstance(slot, Slot)]
    for where, what in _grouped(slots).items():
        notes.general.append(f"Missing on {', '.join(where)}: {'; '.join(what)}.")
    if slots:
        command = f"gcbench status --suite {suite} --table {asked.number}"
        notes.general.append(f"`{command}` gives the commands that fill what runs can fill.")
    reasons = dict.fromkeys(slot.reason for slot in missing if isinstance(slot, Gap))
    if reasons:
        notes.general.append(f"Missing, and no run can fill it: there is {', '.join(reasons)}.")
    partial = [cell for cell in evidence.values() if cell.status == "partial"]
    for command in dict.fromkeys(cell.command for cell in partial):
        notes.general.append(f"Partial. To complete: `{command}`")


def _grouped(slots: Sequence[Slot]) -> dict[tuple[str, ...], list[str]]:
    """Benchmarks -> what is missing on just these, in words."""
    trials: dict[tuple[str, str, int | None, str], set[int]] = {}
    for slot in slots:
        several = f", {slot.trainings} trainings" if slot.trainings > 1 else ""
        of = (slot.method, slot.variant + several, slot.timesteps, slot.benchmark)
        trials.setdefault(of, set()).add(slot.trials)
    benchmarks: dict[str, list[str]] = {}
    for (method, variant, timesteps, benchmark), counts in trials.items():
        repeated = f", T={timesteps}" if timesteps else ""
        what = f"{method} ({variant}), K={', '.join(map(str, sorted(counts)))}{repeated}"
        benchmarks.setdefault(what, []).append(benchmark)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for what, where in benchmarks.items():
        grouped.setdefault(tuple(where), []).append(what)
    return grouped
