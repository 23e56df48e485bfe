"""Pages about all runs together: tables, figures, and what there is of every cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gcbench.report.cells import Table
from gcbench.report.render import html_table
from gcbench.site.markup import Html, element, lines, link, table
from gcbench.site.page import page
from gcbench.status import CellState, TableState, fill_commands


@dataclass(frozen=True)
class Shown:
    """A figure of the site: the files below `figures/`, or why it could not be drawn."""

    name: str
    shows: str
    number: str | None
    files: tuple[str, ...] = ()
    lacking: str = ""

    @property
    def title(self) -> str:
        named = self.name.replace("-", " ")
        named = named[:1].upper() + named[1:]
        return named if self.number is None else f"Figure {self.number}. {named}"


def tables_page(tables: Sequence[Table], states: Sequence[TableState], suite: str) -> str:
    """The first page: every table, with what there is of it and what it is made from."""
    of = {state.number: state for state in states}
    contents = [
        element(
            "li",
            element("a", f"Table {t.number}. {t.title}", href=f"#table-{t.number}"),
            " ",
            element("small", _counts(of[t.number])) if t.number in of else None,
        )
        for t in tables
    ]
    sections = [
        element(
            "section",
            lines(
                element("h2", f"Table {t.number}", class_="hidden"),
                sortable(html_table(t)),
                _made_from(t),
            ),
            id=f"table-{t.number}",
        )
        for t in tables
    ]
    return page(
        "Tables",
        element(
            "p",
            "Classifiers that ask which class explains an image best: how good, on which shift, at "
            "what cost. Everything here is made from stored runs.",
        ),
        element("nav", element("ul", contents), aria_label="Contents", class_="contents"),
        *sections,
        here="index.html",
        suite=suite,
    )


def sortable(rendered: str) -> Html:
    """A rendered table whose headings may become buttons."""
    return Html(rendered.replace("<table>", '<table class="sortable">', 1))


def _made_from(made: Table) -> Html:
    origin = [f"{what}: {text}" for what, text in made.provenance]
    return element(
        "p", element("code", made.command), [f"; {text}" for text in origin], class_="soft"
    )


def _counts(state: TableState) -> str:
    return ", ".join(f"{count} {name}" for name, count in state.counts.items() if count)


def figures_page(figures: Sequence[Shown], suite: str) -> str:
    """Every figure that could be drawn, then what the others lack."""
    drawn = [
        element(
            "figure",
            element("h2", one.title, id=one.name),
            element(
                "a",
                element("img", src=f"figures/{one.files[0]}", alt=f"{one.title}: {one.shows}"),
                href=f"figures/{one.files[0]}",
            ),
            element(
                "figcaption",
                one.shows,
                " ",
                [
                    [link(file.rpartition(".")[2].upper(), "figures", file), " "]
                    for file in one.files
                ],
                element("code", f"gcbench report --figure {one.name}"),
            ),
            class_="chart",
        )
        for one in figures
        if one.files
    ]
    lacking = [
        element("li", element("strong", one.title), ": ", one.lacking)
        for one in figures
        if not one.files
    ]
    rest = [element("h2", "Not drawn"), element("ul", lacking)] if lacking else []
    return page("Figures", *drawn, *rest, here="figures.html", suite=suite)


SYMBOLS: Mapping[str, str] = {
    "done": "●",
    "partial": "◐",
    "running": "◌",
    "failed": "✕",
    "missing": "—",
}


def coverage_page(states: Sequence[TableState], suite: str) -> str:
    """What there is of every cell of every table, and the commands that would fill the rest."""
    key = ", ".join(f"{symbol} {name}" for name, symbol in SYMBOLS.items())
    matrices = [
        lines(element("h2", f"Table {state.number}", id=f"table-{state.number}"), _matrix(state))
        for state in states
    ]
    commands = fill_commands(states)
    fill = [
        element("h2", "To fill what runs can fill"),
        element("pre", element("code", "\n".join(commands))),
    ]
    return page(
        "Coverage",
        element("p", f"What there is of every cell: {key}."),
        *matrices,
        *(fill if commands else ()),
        here="coverage.html",
        suite=suite,
    )


def _matrix(state: TableState) -> Html:
    width = len(state.columns)
    by_row = [state.cells[i : i + width] for i in range(0, len(state.cells), width)]
    rows = []
    for cells in by_row:
        first, *rest = (entry[:1].upper() + entry[1:] for entry in cells[0].row)
        heads_of_row = [element("th", entry, scope="row") for entry in rest]
        rows.append([first, *heads_of_row, *map(_cell, cells)])
    reasons = dict.fromkeys(cell.reason for cell in state.cells if cell.reason)
    notes = element("p", "; ".join(reasons), class_="soft") if reasons else None
    caption = [element("strong", state.title), Html("<br>"), _counts(state)]
    heads = [*state.headings, *state.columns]
    return lines(table(caption, heads, rows, sortable=True, label=state.title), notes)


def _cell(cell: CellState) -> Html:
    symbol = element("span", SYMBOLS[cell.state], aria_hidden="true")
    images = f" {cell.scored:,}/{cell.total:,}" if cell.state in ("partial", "running") else ""
    return element(
        "td", symbol, f" {cell.state}{images}", class_=cell.state, title=cell.reason or None
    )
