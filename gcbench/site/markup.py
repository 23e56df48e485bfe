"""HTML that cannot be left unescaped: text becomes markup here or not at all."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from urllib.parse import quote

# Elements that have no content and no closing tag.
_VOID = frozenset({"img", "link", "meta", "br"})


class Html(str):
    """Text that is markup already. Everything else is escaped when it becomes content."""

    __slots__ = ()


Content = str | int | Iterable["Content"] | None


def element(name: str, /, *content: Content, **attributes: str | int | bool | None) -> Html:
    """An element with escaped content and attributes.

    Args:
        content: text, markup, numbers, or any nesting of these; None is nothing.
        attributes: `class_` is `class`, other underscores are hyphens; True is an attribute without
            a value, None and False leave it out.
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{markup(content)}</{name}>")


def markup(content: Content) -> Html:
    """Content one after the other, escaped where it is not markup already."""
    if content is None:
        return Html()
    if isinstance(content, Html):
        return content
    if isinstance(content, str | int):
        return Html(html.escape(str(content), quote=False))
    return Html("".join(markup(part) for part in content))


def lines(*parts: Content) -> Html:
    """Markup with a line for each part."""
    return Html("\n".join(text for part in parts if (text := markup(part))))


def link(text: Content, *path: str, up: bool = False, fragment: str = "") -> Html:
    """A link to a file of the site, from its root or, with `up`, from one folder below it."""
    target = "/".join(quote(part, safe="") for part in path)
    return element("a", text, href=("../" if up else "") + target + fragment)


def table(
    caption: Content,
    heads: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    *,
    sortable: bool = False,
    label: str | None = None,
) -> Html:
    """A table whose rows begin with what they are about.

    Args:
        rows: cells; those that are `td` or `th` elements already stay as they are.
        label: the name of the region that scrolls when the table is wide; by default its caption.
    """
    shown = label or (caption if isinstance(caption, str) else None)
    body = [
        element("tr", element("th", first, scope="row"), [_cell(cell) for cell in rest])
        for first, *rest in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            "\n",
            element("thead", element("tr", [element("th", h, scope="col") for h in heads])),
            "\n",
            element("tbody", lines(*body)),
            class_="sortable" if sortable else None,
        ),
        class_="table",
        role="region",
        tabindex="0",
        aria_label=shown,
    )


def _cell(cell: Content) -> Html:
    if isinstance(cell, Html) and cell.startswith(("<td", "<th")):
        return cell
    return element("td", cell)


def facts(entries: Iterable[tuple[Content, Content]]) -> Html:
    """A list of names and what they are; entries without content are left out."""
    pairs = ((name, markup(value)) for name, value in entries)
    return element(
        "dl",
        lines(*(element("div", element("dt", n), element("dd", v)) for n, v in pairs if v)),
    )


def data_uri(png: bytes) -> str:
    """A PNG file as an address."""
    import base64

    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
