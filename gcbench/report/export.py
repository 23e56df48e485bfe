"""All cells of all tables, measured and published, as one tidy table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcbench.errors import GcbenchError
from gcbench.report.evidence import Evidence, Measurements
from gcbench.report.layouts import known_tables, layout_of, suite_of
from gcbench.report.measured import evidence_for
from gcbench.report.slots import Gap, Slot
from gcbench.report.tables import build_table
from gcbench.report.wanted import lacking, wanted
from gcbench.store import Run, atomic_path

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("table",), "Int64"),
    **dict.fromkeys(("row", "column", "suite", "source"), "str"),
    **dict.fromkeys(("value", "low", "high"), "float64"),
    "count": "Int64",
    **dict.fromkeys(("status", "note", "method", "variant", "benchmark", "rule"), "str"),
    **dict.fromkeys(("trials", "timesteps"), "Int64"),
    **dict.fromkeys(("subset", "precision"), "str"),
    "seed": "Int64",
    **dict.fromkeys(("run", "scores_digest", "benchmark_digest", "samples_digest"), "str"),
}


def all_cells(
    runs: Sequence[Run], tokenizers: Sequence[Mapping[str, Any]], suite: str
) -> pd.DataFrame:
    """One row per cell, measured ones first; what a column does not apply to is empty.

    `value` is an accuracy in [0, 1], or what `column` says; `row` holds the entries that describe
    the row, as `size=mini, method=RandAR`; `note` says what limits or keeps away a measured cell.

    Raises:
        GcbenchError: the suite is unknown, or a run is damaged.
    """
    import pandas as pd

    measurements = Measurements(runs)
    numbers = known_tables(suite_of(suite))
    records = [
        record
        for number in numbers
        for record in (
            _shown(number, suite, "measured", tokenizers)
            if layout_of(number).of_tokenizers
            else _measured(number, suite, measurements)
        )
    ]
    records += [record for number in numbers for record in _shown(number, suite, "paper", ())]
    return pd.DataFrame(records, columns=list(COLUMNS)).astype(
        {name: kind for name, kind in COLUMNS.items() if kind != "str"}
    )


def write_cells(cells: pd.DataFrame, file: Path) -> None:
    """Writes a .csv or .parquet file.

    Raises:
        GcbenchError: the suffix is another one, or the file cannot be written.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise GcbenchError(
            f"--out {file}: expected a name that ends in .csv or .parquet",
            hint="for example --out cells.csv",
        )
    with atomic_path(file) as temporary:
        if file.suffix == ".csv":
            cells.to_csv(temporary, index=False)
        else:
            cells.to_parquet(temporary, index=False)


def _measured(number: int, suite: str, measurements: Measurements) -> Iterator[dict[str, Any]]:
    asked = wanted(number, suite)
    evidence = evidence_for(asked, measurements)
    for position, slot in asked.cells():
        r, c = position
        place = {
            "table": number,
            "row": _row(asked.fields, asked.rows[r]),
            "column": asked.columns[c],
            "suite": suite,
            "source": "measured",
        }
        yield place | _slot(slot) | _evidence(evidence.get(position), slot)


def _slot(slot: Slot | Gap) -> dict[str, Any]:
    if isinstance(slot, Gap):
        return {}
    names = ("method", "variant", "benchmark", "rule", "trials", "timesteps")
    return {name: getattr(slot, name) for name in names}


def _evidence(evidence: Evidence | None, slot: Slot | Gap) -> dict[str, Any]:
    if evidence is None:
        return {"status": "missing", "note": lacking(slot)}
    spec, (low, high) = evidence.run.spec, evidence.interval
    return {
        "value": evidence.accuracy,
        "low": low,
        "high": high,
        "count": evidence.count,
        "status": evidence.status,
        "note": evidence.limitation,
        "run": " ".join(training.run.name for training in evidence.trainings),
        "scores_digest": (evidence.run.summary or {}).get("scores_digest"),
        **{
            name: spec.get(name)
            for name in ("subset", "precision", "seed", "benchmark_digest", "samples_digest")
        },
    }


def _shown(
    number: int, suite: str, source: str, tokenizers: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The cells of a finished table that no run of a classifier stands behind."""
    table = build_table(number, suite=suite, source=source, runs=[], tokenizers=tokenizers)
    for record in table.records():
        kept = {k: record[k] for k in ("table", "column", "suite", "source", "value", "status")}
        row = _row(table.fields, [record[field] for field in table.fields])
        yield kept | {
            "row": row,
            "low": record["low"],
            "high": record["high"],
            "count": record["n"],
            "note": record["notes"] or None,
        }


def _row(fields: Sequence[str], entries: Sequence[str]) -> str:
    return ", ".join(f"{field}={entry}" for field, entry in zip(fields, entries, strict=True))
