"""What `gcbench report` gives: one table as text, one figure, or all tables as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcbench.analysis import Analysis
from gcbench.bench import Benchmark
from gcbench.errors import GcbenchError, unknown_name
from gcbench.report.committed import regenerate
from gcbench.report.render import render
from gcbench.report.tables import build_table
from gcbench.store import Run, atomic_path


def publish(
    runs: Sequence[Run],
    tokenizers: Sequence[Mapping[str, Any]],
    analyses: Sequence[Analysis],
    benchmark: Callable[[str], Benchmark],
    *,
    table: int | None,
    figure: str | None,
    everything: bool,
    suite: str,
    source: str,
    format_: str,
    out: Path | None,
) -> str:
    """Makes exactly one of a table, a figure or all tables; returns what the terminal shows.

    Args:
        benchmark: the benchmark of a name, for figures that show its images.

    Raises:
        GcbenchError: none or several were asked for, a name is unknown, or `out` is missing or
            cannot be written.
    """
    if (table is not None) + (figure is not None) + everything != 1:
        raise GcbenchError("nothing or too much to report", hint="give --table, --figure or --all")
    if figure is not None:
        from gcbench.report.drawings import NUMBERED, drawings
        from gcbench.report.figures import save

        named = drawings(runs, tokenizers, analyses, suite, benchmark)
        known = named | {number: named[name] for number, name in NUMBERED.items()}
        if figure not in known:
            raise unknown_name("figure", figure, known)
        written = save(known[figure].draw(), _needed(out, "file, without suffix,"))
        return "".join(f"wrote {file}\n" for file in written)
    if everything:
        folder = _needed(out, "folder")
        folder.mkdir(parents=True, exist_ok=True)
        texts = regenerate(runs, tokenizers, suite)
        return "".join(_write(folder / name, text) for name, text in texts.items())
    assert table is not None
    built = build_table(table, suite=suite, source=source, runs=runs, tokenizers=tokenizers)
    text = render(built, format_)
    return text if out is None else _write(out, text)


def _needed(out: Path | None, what: str) -> Path:
    if out is None:
        raise GcbenchError("--out is missing", hint=f"name the {what} to write")
    return out


def _write(file: Path, text: str) -> str:
    with atomic_path(file) as temporary:
        temporary.write_text(text)
    return f"wrote {file}\n"
