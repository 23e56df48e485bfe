"""The frame of every page: title, way around, styles and the script that sorts tables."""

from __future__ import annotations

from importlib.resources import files

from gcbench.site.markup import Content, Html, element, lines, link

STYLE, SCRIPT = "style.css", "sort.js"
GENERATOR = '<meta name="generator" content="gcbench">'
PAGES = {
    "index.html": "Tables",
    "figures.html": "Figures",
    "coverage.html": "Coverage",
    "runs.html": "Runs",
    "images.html": "Images",
}


def page(title: str, *content: Content, here: str, suite: str, up: bool = False) -> str:
    """A page of the site.

    Args:
        title: its heading, and first half of the window's title.
        here: the page of `PAGES` that it is or belongs to.
        up: it lies in a folder below the root.
    """
    root = "../" if up else ""
    around = [
        element("li", element("a", name, href=root + file, aria_current=_current(file, here, up)))
        for file, name in PAGES.items()
    ]
    head = lines(
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Html(GENERATOR),
        element("title", f"{title} · gcbench, suite {suite}"),
        # An icon of its own, or browsers look for one.
        element("link", rel="icon", href="data:,"),
        element("link", rel="stylesheet", href=root + STYLE),
        element("script", src=root + SCRIPT, defer=True),
    )
    body = lines(
        element("a", "Skip to content", class_="skip", href="#content"),
        element(
            "header",
            element("p", link("gcbench", "index.html", up=up), f" suite {suite}", class_="brand"),
            element("nav", element("ul", around), aria_label="Pages"),
        ),
        element("main", lines(element("h1", title), *content), id="content", tabindex="-1"),
    )
    parts = ('<html lang="en">', "<head>", head, "</head>", "<body>", body, "</body>", "</html>")
    return "\n".join(["<!doctype html>", *parts, ""])


def _current(file: str, here: str, up: bool) -> str | None:
    if file != here:
        return None
    return "true" if up else "page"


def assets() -> dict[str, str]:
    """The files that every page refers to, by name."""
    return {name: files("gcbench.site").joinpath(name).read_text() for name in (STYLE, SCRIPT)}
