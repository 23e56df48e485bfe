"""What `gcbench report` gives: one table as text, one figure, or all tables as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gcbench.analysis import Analysis
from gcbench.errors import GcbenchError, unknown_name
from gcbench.report.committed import regenerate
from gcbench.report.render import render
from gcbench.report.tables import build_table
from gcbench.store import Run, atomic_path

# The paper's numbers of figures.
NUMBERED = {
    "3": "token-maps",
    "4": "token-accuracy",
    "5": "token-prefix",
    "6": "accuracy-cost",
    "8": "token-discarded",
    "9": "token-maps-more",
}


def publish(
    runs: Sequence[Run],
    tokenizers: Sequence[Mapping[str, Any]],
    analyses: Sequence[Analysis] = (),
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

    Raises:
        GcbenchError: none or several were asked for, a name is unknown, or `out` is missing or
            cannot be written.
    """
    if (table is not None) + (figure is not None) + everything != 1:
        raise GcbenchError("nothing or too much to report", hint="give --table, --figure or --all")
    if figure is not None:
        from gcbench.report.cost import accuracy_cost
        from gcbench.report.figures import FIGURES, save
        from gcbench.report.reliability import reliability_curves
        from gcbench.report.token_figures import TOKEN_FIGURES
        from gcbench.report.tokenizers import tokenizer_robustness

        drawings = {name: partial(draw, runs, suite) for name, draw in FIGURES.items()}
        drawings["accuracy-cost"] = partial(accuracy_cost, runs, suite)
        drawings["reliability"] = partial(reliability_curves, runs, suite)
        drawings["tokenizer-robustness"] = partial(tokenizer_robustness, tokenizers, suite)
        drawings |= {name: partial(draw, analyses, suite) for name, draw in TOKEN_FIGURES.items()}
        drawings |= {number: drawings[name] for number, name in NUMBERED.items()}
        if figure not in drawings:
            raise unknown_name("figure", figure, drawings)
        written = save(drawings[figure](), _needed(out, "file, without suffix,"))
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
