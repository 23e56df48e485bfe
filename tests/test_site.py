"""The site opens from disk, is whole and escaped, says what is stored, and works by keyboard."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest
from checkout import ROOT
from chromium import ABSENT, PROGRAM, Chromium
from stored_runs import hits, record

from gcbench.analysis import Analyses
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.method import Runtime
from gcbench.plan import plan
from gcbench.report.maps import rival_maps
from gcbench.site.build import build_site
from gcbench.site.markup import Html, element
from gcbench.site.page import PAGES
from gcbench.status import STATES, table_states
from gcbench.store import Store

SHIPPED = Store(ROOT / "results" / "mini")
RUNS = SHIPPED.runs()
VOID = {"img", "link", "meta", "br"}


@dataclass
class Page(HTMLParser):
    """A page's elements in order, with their attributes, and its text."""

    file: Path
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self.feed(self.file.read_text())
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (self.file, tag)

    def handle_data(self, data):
        self.text.append(data)

    def of(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def ids(self):
        return [a["id"] for _, a in self.elements if "id" in a]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def build(registry):
    def call(runs, out, tokenizers=(), analyses=(), source="measured"):
        return build_site(
            runs,
            tokenizers,
            analyses,
            registry,
            registry.benchmark,
            suite="mini",
            source=source,
            out=out,
        )

    return call


@pytest.fixture(scope="module")
def analyses(registry, tmp_path_factory):
    """RandAR's tokens on one image of each class."""
    store = Analyses(tmp_path_factory.mktemp("results")).create()
    cls = registry.method("randar")
    made = cls(cls.variant_named("mini"), Runtime(path="fast"))
    benchmark = registry.benchmark("mini-val").choose("first-1")
    (planned,) = plan([made], [benchmark], store, trials=5, seed=0)
    execute(planned)
    return store.runs()


@pytest.fixture(scope="module")
def site(build, analyses, tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    build(RUNS, out, SHIPPED.tokenizers(), analyses)
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {str(f.relative_to(site)): Page(f) for f in sorted(site.rglob("*.html"))}


def test_pages_are_well_formed_with_one_heading_and_unique_ids(pages):
    assert set(PAGES) <= set(pages)
    for name, page in pages.items():
        assert len(page.of("h1")) == len(page.of("title")) == len(page.of("main")) == 1, name
        assert page.of("html") == [{"lang": "en"}], name
        assert len(set(page.ids)) == len(page.ids), name
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
        assert all(b <= a + 1 for a, b in pairwise(levels)), name


def test_every_link_picture_style_and_script_is_a_file_of_the_site(pages, site):
    for name, page in pages.items():
        wanted = [a["href"] for a in page.of("a", "link")]
        wanted += [a["src"] for a in page.of("img", "script")]
        for target in wanted:
            if target.startswith("data:"):
                continue
            assert not re.match(r"[a-z]+:|//", target), (name, target)
            path, fragment = urldefrag(target)
            file = (page.file.parent / unquote(path)).resolve() if path else page.file
            assert file.is_file(), (name, target)
            assert file.is_relative_to(site), (name, target)
            if fragment:
                assert fragment in pages[str(file.relative_to(site))].ids, (name, target)
    for file in ("style.css", "sort.js"):
        assert not re.search(r"https?:|url\(|@import", (site / file).read_text())


def test_pictures_have_texts_and_tables_have_captions_and_scopes(pages):
    for name, page in pages.items():
        assert all(a.get("alt") for a in page.of("img")), name
        assert len(page.of("caption")) == len(page.of("table")), name
        assert all(a.get("scope") in ("col", "row") for a in page.of("th")), name
        for attributes in (a for a in page.of("div") if a.get("role") == "region"):
            assert attributes["tabindex"] == "0", name
            assert attributes["aria-label"], name
        assert not any(key.startswith("on") for _, a in page.elements for key in a), name


def test_every_table_figure_and_run_is_there(pages, site):
    index = pages["index.html"]
    assert [i for i in index.ids if i.startswith("table-")] == [f"table-{n}" for n in range(1, 11)]
    assert "sha256 of their predictions" in index.words
    figures = pages["figures.html"]
    for name in ("token-orders", "accuracy-cost", "errors", "accuracy-by-trials", "token-maps"):
        assert name in figures.ids
        assert (site / "figures" / f"{name}.svg").is_file()
    assert {f"runs/{run.name}.html" for run in RUNS} == {p for p in pages if p.startswith("runs/")}


def test_what_cannot_be_drawn_says_what_is_lacking(build, tmp_path):
    build([r for r in RUNS if r.spec["benchmark"] == "mini-s"][:1], tmp_path)
    words = Page(tmp_path / "figures.html").words
    assert "Figure 3. Token maps : no finished analysis of randar (mini) on mini-val" in words
    assert "gcbench analyze --method randar" in words
    assert "has 5 orders and its raw scores" in words


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_page_of_a_run_tells_what_how_cost_and_provenance(pages, run):
    words = pages[f"runs/{run.name}.html"].words
    spec, summary = run.spec, run.summary
    told = [*spec["weights"].values(), spec["benchmark_digest"], spec["preprocessing"]]
    told += [spec["precision"], spec["protocol"], spec["subset"], summary["scores_digest"]]
    told += [summary["provenance"]["commit"], summary["provenance"]["device"]]
    told += [f"{summary['evaluations_per_image']:,}", f"--method {spec['method']}"]
    counted = summary["accuracy"][summary["metrics"]["at"]]
    told.append(f"{counted['correct']:,} of {counted['total']:,}")
    headline = summary["metrics"]["headline"]
    how = "[" if headline["name"] == "accuracy" else f"({headline['name']})"
    told.append(f"{headline['value']:.3f} {how}")
    for text in told:
        assert text in words


def test_coverage_counts_are_those_of_status(pages):
    cells = [a.get("class") for a in pages["coverage.html"].of("td")]
    states = table_states(RUNS, SHIPPED.tokenizers(), "mini")
    for state in STATES:
        assert cells.count(state) == sum(table.counts[state] for table in states)


def test_gallery_shows_stored_answers_posteriors_and_maps(pages, registry, analyses):
    benchmark = registry.benchmark("mini-val")
    labels = benchmark.label_space.labels
    page = pages["images/mini-val.html"]
    cards = dict(re.findall(r'<article[^>]*aria-label="[^"]*, (\S+)">(.*?)</article>',
                            page.file.read_text(), re.DOTALL))  # fmt: skip
    runs = [r for r in RUNS if r.spec["benchmark"] == "mini-val"]
    tables = [r.predictions().set_index("sample_id") for r in runs]
    assert len(cards) == 40
    for sample in benchmark.choose("first-2").samples:
        assert sample.id in cards
    for id, card in cards.items():
        answers, posteriors = card.split("<details>")
        for run, stored in zip(runs, tables, strict=True):
            row, at = stored.loc[id], run.summary["metrics"]["at"]
            share = row["posterior"][run.spec["classes"].index(row[at])]
            found = re.search(rf"{re.escape(run.name)}\.html.*?</tr>", answers, re.DOTALL)[0]
            assert labels[row[at]].replace("&", "&amp;") in found
            assert f">{share:.3f}<" in found
            assert ("(right)" in found) is bool(row[at] == row["label"])
            for share in row["posterior"]:
                assert f">{share:.3f}<" in posteriors
    mapped = rival_maps(analyses[0])
    assert len(mapped) == 10
    for id, one in mapped.items():
        assert f"speak for {one.rival}" in cards[id]
    assert sum("Map of the tokens" in card for card in cards.values()) == 10


def test_equal_results_are_equal_bytes_and_an_older_site_leaves_nothing(build, tmp_path):
    of = {name: [r for r in RUNS if r.spec["benchmark"] == name] for name in ("mini-s", "mini-r")}
    few, older = of["mini-s"][:4], of["mini-r"][:1]
    for out, order in (("one", few), ("two", older), ("two", few[::-1])):
        build(order, tmp_path / out)
    one, two = (
        {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert "images/mini-s.html" in one
    assert one == two


def test_names_are_shown_as_they_are_and_never_become_markup(build, store, tmp_path):
    evil = "<img src=x onerror=alert(1)>\"'&"
    record(store, evil, "mini-s", hits(1, 3), preprocessing=evil, subset=evil)
    build(store.runs(), tmp_path / "site")
    for file in (tmp_path / "site").rglob("*.html"):
        page = Page(file)
        assert not any("onerror" in a or a.get("src") == "x" for _, a in page.elements)
    listed = Page(tmp_path / "site" / "runs.html")
    assert evil in listed.words
    (target,) = (a["href"] for a in listed.of("a") if a["href"].startswith("runs/"))
    assert (tmp_path / "site" / unquote(target)).is_file()


def test_text_is_escaped_and_markup_is_not():
    made = element("td", "a<b", element("b", "&"), title='"', hidden=True, lang=None)
    assert made == '<td title="&quot;" hidden>a&lt;b<b>&amp;</b></td>'
    assert element("p", Html("<br>"), 3, None, ["x", ("y",)]) == "<p><br>3xy</p>"


def test_a_run_that_goes_on_has_a_page(build, store, tmp_path):
    run = record(store, "randar", "mini-s", hits(2, 4), scored=2)
    build(store.runs(), tmp_path / "site", source="both")
    assert "unfinished" in Page(tmp_path / "site" / "runs" / f"{run.name}.html").words
    assert "partial 2/4" in Page(tmp_path / "site" / "coverage.html").words


def test_a_folder_of_something_else_is_refused(build, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(GcbenchError, match="not empty and not a site"):
        build([], tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["index.html"]


def test_command_writes_the_site_and_nothing_beside_it(gcbench, store, tmp_path):
    record(store, "randar", "mini-s", hits(2, 4))
    how = ("report", "--results", store.root, "--html", tmp_path / "site")
    result = gcbench(*how)
    assert result.exit_code == 0, result.output
    assert "index.html and 5 more pages" in result.output
    result = gcbench(*how, "--table", 1)
    assert result.exit_code == 2
    assert "--html together with" in result.stderr


def test_colours_are_readable_in_both_schemes(site):
    light, dark = re.findall(r":root \{(.*?)\}", (site / "style.css").read_text(), re.DOTALL)
    for block in (light, dark):
        colour = {k: _luminance(v) for k, v in re.findall(r"--(\w+): (#\w+);", block)}
        for ground in ("paper", "tint"):
            for ink in ("ink", "soft", "link", "good", "warn", "bad"):
                low, high = sorted((colour[ink], colour[ground]))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)
        low, high = sorted((colour["ink"], colour["bar"]))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def _luminance(colour):
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    srgb = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip(ABSENT)
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_window_and_none_complains(browser, pages, width):
    for name, page in pages.items():
        browser.console.clear()
        browser.open(page.file, width)
        size = browser.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert size[0] <= width == size[1], name
        broken = "[...document.images].filter((i) => !i.complete || !i.naturalWidth).length"
        assert browser.evaluate(broken) == 0, name
        assert not browser.console, (name, browser.console)


TABLE = "document.querySelector('#table-2 table')"
COLUMN = f"[...{TABLE}.tBodies[0].rows].map((row) => row.cells[3].textContent)"


def test_a_table_is_sorted_by_keyboard_and_tells_its_order(browser, site):
    browser.open(site / "index.html", 1280)
    written = browser.evaluate(COLUMN)
    head = f"{TABLE}.tHead.rows[0].cells[3]"
    assert browser.evaluate(f"{head}.getAttribute('aria-sort')") is None
    browser.evaluate(f"{head}.querySelector('button').focus()")
    numbers = sorted((float(t[:5]) for t in written if t != "—"), reverse=True)
    assert len(numbers) >= 3
    for order, expected in (("descending", numbers), ("ascending", numbers[::-1])):
        browser.press("Enter", 13, "\r")
        assert browser.evaluate(f"{head}.getAttribute('aria-sort')") == order
        shown = browser.evaluate(COLUMN)
        assert [float(t[:5]) for t in shown[: len(numbers)]] == expected
        assert set(shown[len(numbers) :]) == {"—"}
    assert sorted(shown) == sorted(written)
    browser.evaluate(f"{TABLE}.tHead.rows[0].cells[2].querySelector('button').click()")
    methods = f"[...{TABLE}.tBodies[0].rows].map((row) => row.cells[2].textContent)"
    assert browser.evaluate(methods) == sorted(browser.evaluate(methods), key=str.casefold)
    assert browser.evaluate(f"{head}.getAttribute('aria-sort')") is None


def test_first_stop_of_the_keyboard_skips_to_the_content(browser, site):
    browser.open(site / "runs.html", 1280)
    browser.press("Tab", 9)
    assert browser.evaluate("document.activeElement.textContent") == "Skip to content"
    left = "document.activeElement.getBoundingClientRect().left"
    assert browser.evaluate(left) >= 0
    browser.press("Enter", 13, "\r")
    assert browser.evaluate("document.activeElement.id") == "content"


def test_without_scripts_everything_is_readable(browser, site):
    browser.open(site / "index.html", 1280, scripts=False)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.querySelectorAll('th button').length") == 0
    assert browser.evaluate("document.querySelectorAll('table').length") == 10
    assert "0.903" in browser.evaluate("document.body.innerText")
