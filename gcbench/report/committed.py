"""The tables that are committed beside the measurements they are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gcbench.report.layouts import known_tables, suite_of
from gcbench.report.render import render
from gcbench.report.tables import build_table
from gcbench.store import Run

SUFFIXES = {"md": "md", "csv": "csv", "latex": "tex"}


def regenerate(
    runs: Sequence[Run], tokenizers: Sequence[Mapping[str, Any]] = (), suite: str = "mini"
) -> dict[str, str]:
    """Every measured table of a suite in every committed format, by file name.

    The text depends on what is stored alone, so a committed table equals it byte for byte.

    Raises:
        GcbenchError: a run is damaged.
    """
    tables = [
        build_table(number, suite=suite, source="measured", runs=runs, tokenizers=tokenizers)
        for number in known_tables(suite_of(suite))
    ]
    return {
        f"table{table.number}.{suffix}": render(table, format)
        for table in tables
        for format, suffix in SUFFIXES.items()
    }
