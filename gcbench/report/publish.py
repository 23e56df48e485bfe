"""What `gcbench report` gives: one table as text, one figure, or all of them as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcbench.analysis import Analysis
from gcbench.bench import Benchmark
from gcbench.errors import GcbenchError, unknown_name
from gcbench.report.committed import regenerate
from gcbench.report.drawings import NUMBERED, Drawing, draw_all, drawings
from gcbench.report.figures import save
from gcbench.report.render import render
from gcbench.report.tables import build_table
from gcbench.store import Run, atomic_path

EVERY = "all"


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
    """Makes exactly one of a table, a figure (or all of them) or everything.

    Everything is the tables in `out` and the figures in its folder `figures`; of figures those that
    stored runs suffice for. Returns what the terminal shows.

    Args:
        benchmark: the benchmark of a name, for figures that show its images.

    Raises:
        GcbenchError: none or several were asked for, a name is unknown, or `out` is missing or
            cannot be written.
    """
    if (table is not None) + (figure is not None) + everything != 1:
        raise GcbenchError("nothing or too much to report", hint="give --table, --figure or --all")
    if figure is not None or everything:
        named = drawings(runs, tokenizers, analyses, suite, benchmark)
    if figure == EVERY:
        return _draw_all(named, _folder(out))
    if figure is not None:
        known = named | {number: named[name] for number, name in NUMBERED.items()}
        if figure not in known:
            raise unknown_name("figure", figure, [*known, EVERY])
        stem = _needed(out, "file, without suffix,")
        return _wrote(save(known[figure].draw(), stem))
    if everything:
        folder = _folder(out)
        texts = regenerate(runs, tokenizers, suite)
        written = "".join(_write(folder / name, text) for name, text in texts.items())
        return written + _draw_all(named, _folder(folder / "figures"))
    assert table is not None
    built = build_table(table, suite=suite, source=source, runs=runs, tokenizers=tokenizers)
    text = render(built, format_)
    return text if out is None else _write(out, text)


def _draw_all(named: Mapping[str, Drawing], folder: Path) -> str:
    """Draws what can be drawn, and says of the rest what it lacks."""
    return "".join(
        f"no figure {name}: {drawn.message}\n" if isinstance(drawn, GcbenchError) else _wrote(drawn)
        for name, drawn in draw_all(named, folder)
    )


def _wrote(files: Sequence[Path]) -> str:
    return "".join(f"wrote {file}\n" for file in files)


def _folder(out: Path | None) -> Path:
    folder = _needed(out, "folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _needed(out: Path | None, what: str) -> Path:
    if out is None:
        raise GcbenchError("--out is missing", hint=f"name the {what} to write")
    return out


def _write(file: Path, text: str) -> str:
    with atomic_path(file) as temporary:
        temporary.write_text(text)
    return f"wrote {file}\n"
