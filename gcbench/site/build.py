"""Writes the site: every page, the figures, the styles and the script, into one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcbench.analysis import Analysis
from gcbench.bench import Benchmark
from gcbench.errors import GcbenchError
from gcbench.registry import Registry
from gcbench.report.compare import class_names
from gcbench.report.drawings import NUMBERED, draw_all, drawings
from gcbench.report.layouts import known_tables, suite_of
from gcbench.report.tables import build_table
from gcbench.site.gallery import galleries, gallery_list, gallery_page
from gcbench.site.overview import Shown, coverage_page, figures_page, tables_page
from gcbench.site.page import GENERATOR, assets
from gcbench.site.runs import run_list, run_page
from gcbench.status import table_states
from gcbench.store import Run, atomic_path, explained

FOLDERS = ("runs", "images", "figures")


def build_site(
    runs: Sequence[Run],
    tokenizers: Sequence[Mapping[str, Any]],
    analyses: Sequence[Analysis],
    registry: Registry,
    benchmark: Callable[[str], Benchmark],
    *,
    suite: str,
    source: str,
    out: Path,
) -> int:
    """Writes pages about what is stored into `out`; returns how many. Equal runs, equal bytes.

    A site that was there is replaced.

    Args:
        benchmark: the benchmark of a name, for figures that show its images.
        source: what tables show: `measured`, `paper` or `both`.

    Raises:
        GcbenchError: the suite is unknown, a run is damaged, or the folder holds something else or
            cannot be written.
    """
    _check_folder(out)
    runs = _one_of_each_name(runs)
    numbers = known_tables(suite_of(suite))
    tables = [
        build_table(n, suite=suite, source=source, runs=runs, tokenizers=tokenizers)
        for n in numbers
    ]
    states = table_states(runs, tokenizers, suite)
    shown = galleries(registry, runs, analyses)
    labels = {name: class_names(registry, name) for name in {r.spec["benchmark"] for r in runs}}
    with explained(out):
        for folder in FOLDERS:
            (out / folder).mkdir(parents=True, exist_ok=True)
    figures = _draw(drawings(runs, tokenizers, analyses, suite, benchmark), out / "figures")
    files = {
        **assets(),
        "index.html": tables_page(tables, states, suite),
        "figures.html": figures_page(figures, suite),
        "coverage.html": coverage_page(states, suite),
        "runs.html": run_list(runs, suite),
        "images.html": gallery_list(shown, suite),
    }
    for run in runs:
        name = run.spec["benchmark"]
        gallery = shown[name].file if name in shown else None
        files[f"runs/{run.name}.html"] = run_page(run, suite, labels[name], gallery=gallery)
    for one in shown.values():
        files[f"images/{one.file}"] = gallery_page(one, suite)
    for file, text in files.items():
        with atomic_path(out / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    drawn = {f"figures/{file}" for figure in figures for file in figure.files}
    _remove_others(out, {*files, *drawn})
    return sum(file.endswith(".html") for file in files)


def _check_folder(out: Path) -> None:
    """Refuses a folder of something else."""
    index = out / "index.html"
    ours = index.is_file() and GENERATOR in index.read_text(encoding="utf-8", errors="replace")
    if out.exists() and not ours and (not out.is_dir() or any(out.iterdir())):
        raise GcbenchError(
            f"{out} is not empty and not a site that gcbench made",
            hint="name a new or an empty folder",
        )


def _remove_others(out: Path, written: set[str]) -> None:
    """Deletes pages and figures of an earlier site that this one does not have."""
    for folder in FOLDERS:
        for file in (out / folder).iterdir():
            if file.is_file() and f"{folder}/{file.name}" not in written:
                file.unlink()


def _one_of_each_name(runs: Sequence[Run]) -> list[Run]:
    """The same run can lie in several folders: the finished one, else the first."""
    found: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.summary is None):
        found.setdefault(run.name, run)
    return [found[name] for name in sorted(found)]


def _draw(named: Mapping[str, Any], folder: Path) -> list[Shown]:
    """Draws what can be drawn, numbered figures first."""
    numbers = {name: number for number, name in NUMBERED.items()}
    order = sorted(named, key=lambda name: (name not in numbers, int(numbers.get(name, 0)), name))
    shown = []
    for name, drawn in draw_all({name: named[name] for name in order}, folder):
        shows, number = named[name].shows, numbers.get(name)
        if isinstance(drawn, GcbenchError):
            hint = f" ({drawn.hint})" if drawn.hint else ""
            shown.append(Shown(name, shows, number, lacking=f"{drawn.message}{hint}"))
        else:
            shown.append(Shown(name, shows, number, tuple(file.name for file in drawn)))
    return shown
