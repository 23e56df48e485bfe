"""Tables as text: terminal, Markdown, CSV, LaTeX, HTML. The same table gives the same bytes."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence

from gcbench.errors import unknown_name
from gcbench.report.cells import Cell, Column, Footnote, Table

ABSENT = "—"
DAGGER = "†"


def render(table: Table, format: str) -> str:
    """The table in one of `FORMATS`, ending in a newline.

    Raises:
        GcbenchError: the format is unknown.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    return FORMATS[format](table)


def terminal(table: Table) -> str:
    """Aligned columns. A star stands for bold."""

    def text(cell: Cell, column: Column) -> str:
        mark = {"best": "*", "tied": DAGGER, "": ""}[cell.mark]
        return _plain(cell, column) + mark + "".join(f" ({x})" for x in cell.footnotes)

    grid = [[*table.headings, *_labels(table)]]
    for row in table.rows:
        cells = zip(row.cells, table.columns, strict=True)
        grid.append([*map(_capital, row.entries), *(text(*pair) for pair in cells)])
    lines = aligned(grid)
    symbols = {"best": "*", "tied": DAGGER}
    notes = [_note(n, lambda s: symbols.get(s, f"({s})"), _unquoted) for n in table.footnotes]
    return "\n".join([_caption(table), table.source_line, "", *lines, "", *notes]) + "\n"


def aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with a rule below the first row; columns are as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = [
        "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in grid
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return lines


def markdown(table: Table) -> str:
    """A pipe table, as GitHub renders it."""

    def text(cell: Cell, column: Column) -> str:
        if cell.value is None:
            return ABSENT
        value, interval = _value(cell, column), _interval(cell, column)
        shown = {"best": f"**{value}**", "tied": value + DAGGER, "": value}[cell.mark]
        letters = ",".join(cell.footnotes)
        return shown + interval + (f" <sup>{letters}</sup>" if letters else "")

    heads = [*table.headings, *_labels(table)]
    rule = [":--"] * len(table.headings) + [":-:"] * len(table.columns)
    lines = [heads, rule]
    for row in table.rows:
        cells = zip(row.cells, table.columns, strict=True)
        lines.append([*map(_capital, row.entries), *(text(*pair) for pair in cells)])
    symbols = {"best": "**Bold**", "tied": DAGGER}
    notes = [
        "- " + _note(note, lambda s: symbols.get(s, f"<sup>{s}</sup>"), str)
        for note in table.footnotes
    ]
    pipes = ["| " + " | ".join(t.replace("|", "\\|") for t in line) + " |" for line in lines]
    head = [f"**{_caption(table)}**", "", table.source_line, ""]
    return "\n".join([*head, *pipes, "", *notes]).rstrip() + "\n"


def comma_separated(table: Table) -> str:
    """Tidy: one line per cell. Absent numbers are empty; proportions have six decimals at most."""
    records = list(table.records())
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({k: round(v, 6) if isinstance(v, float) else v for k, v in record.items()})
    return out.getvalue()


def latex(table: Table) -> str:
    """A booktabs table that compiles alone, and inside a document by \\input."""

    def text(cell: Cell, column: Column) -> str:
        if cell.value is None:
            return "---"
        value = _value(cell, column)
        shown = rf"\mathbf{{{value}}}" if cell.mark == "best" else value
        if cell.interval is not None:
            low, high = cell.interval
            below, above = cell.value - low, high - cell.value
            shown += f"_{{-{below:.{column.decimals}f}}}^{{+{above:.{column.decimals}f}}}"
        raised = ([r"\dagger"] if cell.mark == "tied" else []) + list(cell.footnotes)
        return f"${shown}{{}}^{{{','.join(raised)}}}$" if raised else f"${shown}$"

    heads = [*table.headings, *_labels(table)]
    body = [" & ".join(map(_tex, heads)) + r" \\"]
    for row in table.rows:
        cells = zip(row.cells, table.columns, strict=True)
        entries = [_tex(_capital(entry)) for entry in row.entries]
        body.append(" & ".join([*entries, *(text(*pair) for pair in cells)]) + r" \\")
    symbols = {"best": r"\textbf{Bold}", "tied": r"$^{\dagger}$"}
    notes = [_note(n, lambda s: symbols.get(s, f"$^{{{s}}}$"), _tex) for n in table.footnotes]
    paper = "a3paper," if len(table.columns) > 8 else ""
    alignment = "l" * len(table.headings) + "c" * len(table.columns)
    return "\n".join(
        [
            f"% {_caption(table)}",
            f"% command: {table.command} --format latex",
            *(f"% {what}: {text}" for what, text in table.provenance),
            r"% Compiles alone; \input it into a document that loads booktabs.",
            # \@nodocument is \relax inside a document's body, and an error message before it.
            r"\expandafter\ifx\csname @nodocument\endcsname\relax\else",
            r"\documentclass{article}",
            rf"\usepackage[{paper}margin=1cm,landscape]{{geometry}}",
            r"\usepackage{booktabs}",
            r"\def\gcbenchalone{}",
            r"\begin{document}",
            r"\fi",
            r"\begin{table}[htbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            r"\renewcommand{\arraystretch}{1.4}",
            rf"\caption{{{_tex(f'{table.title}. {table.source_line}')}}}",
            rf"\label{{tab:gcbench-{table.number}-{table.suite}-{table.source}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\smallskip\raggedright",
            *(rf"{note}\par" for note in notes),
            r"\end{table}",
            r"\ifdefined\gcbenchalone\end{document}\fi",
            "",
        ]
    )


def html_document(table: Table) -> str:
    """A page of its own: no script, no external resource."""
    title = html.escape(f"{_caption(table)}")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            html_table(table),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def html_table(table: Table) -> str:
    """The table element with its notes, to be placed in a page."""

    def text(cell: Cell, column: Column) -> str:
        if cell.value is None:
            reason = "not measured" if column.origin == "measured" else "not published"
            return f'<td><abbr title="{reason}">{ABSENT}</abbr></td>'
        value, interval = _value(cell, column), _interval(cell, column)
        shown = {"best": f"<strong>{value}</strong>", "tied": value + DAGGER, "": value}[cell.mark]
        small = f" <small>{interval.strip()}</small>" if interval else ""
        letters = ",".join(cell.footnotes)
        return f"<td>{shown}{small}{f'<sup>{letters}</sup>' if letters else ''}</td>"

    heads = [*table.headings, *_labels(table)]
    lines = [
        f'<div class="table" role="region" tabindex="0" aria-label="Table {table.number}">',
        "<table>",
        f"<caption><strong>{html.escape(_caption(table))}</strong><br>",
        f"{html.escape(table.source_line)}</caption>",
        "<thead>",
        "<tr>" + "".join(f'<th scope="col">{html.escape(h)}</th>' for h in heads) + "</tr>",
        "</thead>",
        "<tbody>",
    ]
    for row in table.rows:
        entries = (html.escape(_capital(entry)) for entry in row.entries)
        row_heads = "".join(f'<th scope="row">{entry}</th>' for entry in entries)
        cells = "".join(text(*pair) for pair in zip(row.cells, table.columns, strict=True))
        lines.append(f"<tr>{row_heads}{cells}</tr>")
    lines += ["</tbody>", "</table>", "</div>"]
    if table.footnotes:
        symbols = {"best": "<strong>Bold</strong>", "tied": DAGGER}
        notes = (
            _note(note, lambda s: symbols.get(s, f"<sup>{s}</sup>"), _html_code)
            for note in table.footnotes
        )
        lines += ["<ul>", *(f"<li>{note}</li>" for note in notes), "</ul>"]
    return "\n".join(lines)


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "terminal": terminal,
    "md": markdown,
    "csv": comma_separated,
    "latex": latex,
    "html": html_document,
}

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color:#1a1a1a;background:#fff}"
    ".table{overflow-x:auto}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "caption{text-align:left;padding-bottom:.75rem}"
    "th,td{padding:.3rem .8rem;text-align:left;white-space:nowrap}"
    "thead th{border-top:2px solid;border-bottom:1px solid}"
    "tbody tr:last-child>*{border-bottom:2px solid}"
    "tbody th{font-weight:normal}"
    "small{color:#555}"
    "sup{line-height:0}"
    "abbr{text-decoration:none}"
    "li{max-width:60rem}"
)


def _caption(table: Table) -> str:
    return f"Table {table.number}. {table.title}"


def _labels(table: Table) -> list[str]:
    """Column heads; where both sources are shown, each says which it is."""
    if table.source != "both":
        return [column.label for column in table.columns]
    return [f"{column.label} ({column.origin})" for column in table.columns]


def _capital(entry: str) -> str:
    return entry[:1].upper() + entry[1:]


def _value(cell: Cell, column: Column) -> str:
    return f"{cell.value:.{column.decimals}f}"


def _interval(cell: Cell, column: Column) -> str:
    if cell.interval is None:
        return ""
    low, high = (f"{bound:.{column.decimals}f}" for bound in cell.interval)
    return f" [{low}, {high}]"


def _plain(cell: Cell, column: Column) -> str:
    return ABSENT if cell.value is None else _value(cell, column) + _interval(cell, column)


def _note(note: Footnote, symbol: Callable[[str], str], text: Callable[[str], str]) -> str:
    return f"{symbol(note.symbol)}: {text(note.text)}" if note.symbol else text(note.text)


def _unquoted(text: str) -> str:
    return text.replace("`", "")


def _html_code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


_TEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "—": "---",
    "--": "-{}-",
}


def _tex(text: str) -> str:
    """LaTeX source of a text; `code` becomes typewriter."""
    pattern = "|".join(re.escape(c) for c in sorted(_TEX_ESCAPES, key=len, reverse=True))
    escaped = re.sub(pattern, lambda found: _TEX_ESCAPES[found[0]], text)
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped)
