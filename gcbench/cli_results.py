"""Commands about what is stored: report, compare, status, export. Nothing is computed anew."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from gcbench.errors import GcbenchError
from gcbench.options import DEFAULT_RESULTS

suite_option = click.option(
    "--suite", default="mini", show_default=True, help="mini, imagenet or wilds."
)
table_option = click.option("--table", type=int, help="Number of the paper's table.")
results_folders = click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Results folder; by default the shipped measurements and results/local.",
)


def default_results(suite: str) -> list[Path]:
    """Where a report looks when not told: the shipped measurements, then the user's own runs."""
    from gcbench.resources import resource

    shipped = resource("results") / suite
    return [folder for folder in (shipped, DEFAULT_RESULTS) if folder.is_dir()]


def existing(folders: tuple[Path, ...]) -> list[Path]:
    """The same folders. Raises GcbenchError when one is missing."""
    for folder in folders:
        if not folder.is_dir():
            raise GcbenchError(f"no results folder at {folder}", hint="run something first")
    return list(folders)


def stored(results: tuple[Path, ...], suite: str) -> tuple[list[Any], list[Any]]:
    """The runs of these folders, or where a report looks by default, and the tokenizer records."""
    from gcbench.store import Store

    stores = [Store(folder) for folder in existing(results) or default_results(suite)]
    runs = [run for store in stores for run in store.runs()]
    return runs, [record for store in stores for record in store.tokenizers()]


@click.command()
@table_option
@click.option(
    "--figure",
    help="Name or number, --out is the file's name without suffix; or all, --out is a folder.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="All measured tables into the folder --out, all figures into its folder figures.",
)
@click.option(
    "--html",
    "site",
    type=click.Path(path_type=Path),
    help="Everything as pages that open from disk, into this folder.",
)
@click.option(
    "--check",
    "check_published",
    is_flag=True,
    help="Each cell against the published number; exit 1 when one is outside its interval.",
)
@suite_option
@click.option(
    "--source",
    type=click.Choice(["measured", "paper", "both"]),
    default="measured",
    show_default=True,
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["terminal", "md", "csv", "latex", "html"]),
    default="terminal",
    show_default=True,
)
@click.option("--out", type=click.Path(path_type=Path), help="Write here instead of printing.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    envvar="GCBENCH_DATA",
    help="Where images lie that a figure shows.",
)
@results_folders
@click.pass_context
def report(
    ctx: click.Context,
    table: int | None,
    figure: str | None,
    everything: bool,
    site: Path | None,
    check_published: bool,
    suite: str,
    source: str,
    format_: str,
    out: Path | None,
    data_root: Path | None,
    results: tuple[Path, ...],
) -> None:
    """A table or figure of the paper, from stored runs, from the paper, or side by side."""
    from gcbench.analysis import Analyses
    from gcbench.registry import Registry
    from gcbench.report.publish import publish
    from gcbench.store import Store

    if check_published:
        if figure is not None or everything or site is not None:
            raise GcbenchError("--check prints lines, no figure and no files", hint="give it alone")
        _check(results, suite, table)
    # The pages are about runs whatever the source of their tables.
    measured = site is not None or source != "paper"
    folders = (existing(results) or default_results(suite)) if measured else []
    stores, registry = [Store(folder) for folder in folders], Registry(ctx.obj or ())
    kept = (
        [run for store in stores for run in store.runs()],
        [record for store in stores for record in store.tokenizers()],
        [analysis for folder in folders for analysis in Analyses(folder).runs()],
    )
    load = partial(registry.benchmark, data_root=data_root)
    if site is not None:
        from gcbench.site.build import build_site

        _alone("--html", table, figure, everything, out)
        count = build_site(*kept, registry, load, suite=suite, source=source, out=site)
        click.echo(f"wrote {site / 'index.html'} and {count - 1:,} more pages")
        return
    text = publish(
        *kept,
        load,
        table=table,
        figure=figure,
        everything=everything,
        suite=suite,
        source=source,
        format_=format_,
        out=out,
    )
    click.echo(text, nl=False)


def _alone(option: str, *others: object) -> None:
    if any(other not in (None, False) for other in others):
        raise GcbenchError(
            f"{option} together with --table, --figure, --all or --out",
            hint=f"{option} shows everything and names its own folder",
        )


def _check(results: tuple[Path, ...], suite: str, table: int | None) -> None:
    """Prints every published number with its verdict and ends the program."""
    from gcbench.report.check import check, summary

    checked = check(stored(results, suite)[0], suite, table)
    for one in checked:
        click.echo(one.line)
    click.echo(summary(checked))
    sys.exit(1 if any(one.verdict == "outside" for one in checked) else 0)


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--bench", "benchmark", required=True)
@click.option("--trials", help="K of both, or of each as 20,100; by default all that are stored.")
@click.option(
    "--rule", help="How trials combine, of both or of each as fm-ot,mean; by default the method's."
)
@click.option("--common", is_flag=True, help="Leave out the images that only one of them has.")
@click.option("--show", type=click.IntRange(min=0), default=10, show_default=True, help="Images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@suite_option
@click.option("--data-root", type=click.Path(path_type=Path), envvar="GCBENCH_DATA")
@results_folders
@click.pass_context
def compare(
    ctx: click.Context,
    first: str,
    second: str,
    benchmark: str,
    trials: str | None,
    rule: str | None,
    common: bool,
    show: int,
    seed: int,
    suite: str,
    data_root: Path | None,
    results: tuple[Path, ...],
) -> None:
    """Two stored classifiers, METHOD or METHOD:VARIANT, on the same images."""
    from gcbench.registry import Registry
    from gcbench.report.compare import class_names, describe, paired, stored_classifier

    registry, (runs, _) = Registry(ctx.obj or ()), stored(results, suite)
    found = []
    counts = map(_count, _of_both("--trials", trials, "20,100"))
    rules = _of_both("--rule", rule, "fm-ot,mean")
    for name, count, by in zip((first, second), counts, rules, strict=True):
        method, _, short = name.partition(":")
        variant = registry.method(method).variant_named(short or None).name
        found.append(stored_classifier(runs, method, variant, benchmark, trials=count, rule=by))
    result = paired(*found, common=common, seed=seed)
    label = class_names(registry, benchmark, data_root)
    click.echo(describe(result, show=show, seed=seed, label=label), nl=False)


def _of_both(option: str, text: str | None, example: str) -> tuple[str | None, str | None]:
    """One value for both, or two with a comma between."""
    if text is None:
        return None, None
    parts = text.split(",")
    if len(parts) > 2 or not all(parts):
        raise GcbenchError(
            f"{option} {text}: expected one value, or two with a comma between",
            hint=f"for example {option} {example}",
        )
    return parts[0], parts[-1]


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or not int(text):
        raise GcbenchError(f"--trials {text}: expected a number", hint="for example --trials 20")
    return int(text)


@click.command()
@table_option
@suite_option
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
@results_folders
def status(table: int | None, suite: str, as_json: bool, results: tuple[Path, ...]) -> None:
    """What there is of every table's cells, and the commands that would fill the rest."""
    import json

    from gcbench import status as states

    runs, tokenizers = stored(results, suite)
    tables = states.table_states(runs, tokenizers, suite, table)
    if as_json:
        click.echo(json.dumps(states.as_json(tables, suite), indent=1))
    else:
        click.echo(states.as_text(tables), nl=False)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".csv or .parquet")
@suite_option
@results_folders
def export(out: Path, suite: str, results: tuple[Path, ...]) -> None:
    """Every cell of every table, measured and published, as one tidy table."""
    from gcbench.report.export import all_cells, write_cells

    cells = all_cells(*stored(results, suite), suite)
    write_cells(cells, out)
    click.echo(f"wrote {out}: {len(cells):,} cells")


COMMANDS = (report, compare, status, export)
