"""Tables that pages show, from results/mini/tables: README.md and docs/*.md.

python -m tools.pages            names the pages that show other tables than those
python -m tools.pages --update   writes the tables into them

A page shows table N between the lines `<!-- table N -->` and `<!-- /table N -->`.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "results" / "mini" / "tables"
SHOWN = re.compile(r"(<!-- table (\d+) -->\n).*?(\n<!-- /table \2 -->)", re.DOTALL)


@click.command()
@click.option("--update", is_flag=True, help="Write the tables into the pages.")
def main(update: bool) -> None:
    """Name or mend the pages whose tables are not those of results/mini/tables."""
    for page in pages():
        text = page.read_text()
        if (current := with_tables(text)) != text:
            click.echo(page.relative_to(ROOT))
            if update:
                page.write_text(current)


def pages() -> list[Path]:
    """Those that show tables."""
    every = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [page for page in every if SHOWN.search(page.read_text())]


def with_tables(text: str) -> str:
    """The page's text with every table that it shows as it is stored."""

    def shown(mark: re.Match[str]) -> str:
        table = (TABLES / f"table{mark[2]}.md").read_text().strip()
        return f"{mark[1]}{table}{mark[3]}"

    return SHOWN.sub(shown, text)


if __name__ == "__main__":
    main()
