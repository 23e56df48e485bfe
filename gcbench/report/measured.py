"""The measured half of a table: cells from stored runs, and marks that a paired test supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gcbench.report.cells import Cell, Column, Comparison, Footnote, Grid, Mark, Notes, Position
from gcbench.report.evidence import Evidence, Measurements, deviations, run_command
from gcbench.report.layouts import Slot
from gcbench.stats import holm, mcnemar_exact

SIGNIFICANCE = 0.05
DECIMALS = 3  # as in the paper


def measured_grid(
    slots: Sequence[Sequence[Slot]],
    labels: Sequence[str],
    comparisons: Sequence[Comparison],
    measurements: Measurements,
    notes: Notes,
) -> tuple[Grid, list[Evidence]]:
    """Cells for `slots` [R][C] under the column `labels` [C], and the evidence behind them.

    What limits a cell, sets it apart or is missing goes to `notes`.
    """
    wanted = {(r, c): slot for r, row in enumerate(slots) for c, slot in enumerate(row)}
    found = {position: measurements.find(slot) for position, slot in wanted.items()}
    evidence = {position: cell for position, cell in found.items() if cell is not None}
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

    cells = tuple(tuple(cell((r, c)) for c in range(len(labels))) for r in range(len(slots)))
    _remark_on_images(evidence, notes)
    _remark_on_gaps(wanted, evidence, notes)
    columns = tuple(Column(label, "measured", DECIMALS) for label in labels)
    return Grid(columns, cells), list(evidence.values())


def _marks(
    comparisons: Sequence[Comparison], evidence: Mapping[Position, Evidence], notes: Notes
) -> dict[Position, Mark]:
    """Marks the best cell of each comparison, or all cells that no test tells from the best.

    Each comparison's highest cell is tested against each of the others on the same images (exact
    McNemar). The p-values of the whole table form one family for Holm's correction. A lead counts
    when all of its tests reject.
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
    tests = [mcnemar_exact(evidence[a].correct, evidence[b].correct) for a, b in rivals]
    adjusted = holm([test.p_value for test in tests])
    tied: dict[Position, list[Position]] = {best: [] for best in leaders}
    for (best, other), p_value in zip(rivals, adjusted, strict=True):
        if p_value > SIGNIFICANCE:
            tied[best].append(other)
    marks: dict[Position, Mark] = {}
    for best, others in tied.items():
        marks[best] = "tied" if others else "best"
        marks.update(dict.fromkeys(others, "tied"))
    _explain(marks, comparisons, notes)
    if unlike:
        notes.general.append(
            f"No best is marked in {', '.join(unlike)}: the cells are about different images."
        )
    return marks


def _explain(
    marks: Mapping[Position, Mark], comparisons: Sequence[Comparison], notes: Notes
) -> None:
    where = comparisons[0].among
    test = "exact McNemar test on the same images, Holm-corrected over the table, 5 %"
    if "best" in marks.values():
        text = f"among measured cells, above every other of {where} ({test})"
        notes.legend.append(Footnote("best", text))
    if "tied" in marks.values():
        text = f"highest of {where}, or not told apart from the highest ({test})"
        notes.legend.append(Footnote("tied", text))


def _remark_on_images(evidence: Mapping[Position, Evidence], notes: Notes) -> None:
    counts: dict[str, int] = {}
    for cell in evidence.values():
        if cell.status == "full":
            counts.setdefault(cell.run.spec["benchmark"], cell.count)
    if counts:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        notes.general.append(f"Images per cell: {listed}.")


def _remark_on_gaps(
    wanted: Mapping[Position, Slot], evidence: Mapping[Position, Evidence], notes: Notes
) -> None:
    """Names each run that is missing or partial, with the command that fills the gap."""
    missing: dict[tuple[str, str, str, int | None], list[Slot]] = {}
    for position, slot in wanted.items():
        if position not in evidence:
            what = (slot.method, slot.variant, slot.benchmark, slot.timesteps)
            missing.setdefault(what, []).append(slot)
    for (method, variant, benchmark, _), slots in missing.items():
        counts = sorted({slot.trials for slot in slots})
        command = run_command(max(slots, key=lambda slot: slot.trials))
        notes.general.append(
            f"Missing: {method} ({variant}) on {benchmark}, K={', '.join(map(str, counts))}. "
            f"To fill: `{command}`"
        )
    partial = [cell for cell in evidence.values() if cell.status == "partial"]
    for command in dict.fromkeys(cell.command for cell in partial):
        notes.general.append(f"Partial. To complete: `{command}`")
