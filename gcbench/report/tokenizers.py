"""Table 3 and its figure: tokenizers under latent noise, as `gcbench tokenizer` measured them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gcbench.errors import GcbenchError
from gcbench.metrics import psnr_db
from gcbench.report.cells import Cell, Column, Grid, Notes, Row, Status, Table
from gcbench.report.figures import keep_layout
from gcbench.report.layouts import Layout, Suite, suite_of
from gcbench.report.paper import PAPER, Published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = Mapping[str, Any]

ARCHITECTURES = {"llamagen": "LlamaGen", "maskgit": "MaskGIT", "var": "VAR"}
PSNR = "PSNR (dB)"
FIELDS = ("vq_vae", "vocab_size", "t", "flipped_tokens")
HEADINGS = ("Tokenizer", "Vocabulary", "t", "Flipped tokens")
DECIMALS = 2  # as in the paper
MISSING = Cell(None, "missing")


def chosen_records(records: Sequence[Record], suite: Suite) -> dict[str, Record]:
    """The best record of each tokenizer on the suite's validation set, the suite's own first.

    Whole sets go before subsets, large ones before small ones.
    """
    found: dict[str, Record] = {}
    benchmark = suite.name("in-val")
    usable = [r for r in records if r["benchmark"] == benchmark and r["levels"]]
    for record in sorted(usable, key=lambda r: (r["subset"] != "full", -r["images"])):
        found.setdefault(record["tokenizer"], record)
    names = [name for name in suite.tokenizers if name in found]
    return {name: found[name] for name in [*names, *sorted(found.keys() - set(names))]}


def tokenizer_table(
    number: int,
    layout: Layout,
    suite: str,
    source: str,
    records: Sequence[Record],
    printed: Published,
    published: Grid | None,
    notes: Notes,
) -> Table:
    """A table with a row per tokenizer and level of noise; published rows follow measured ones.

    Args:
        published: the paper's cells, of the rows of `printed`; None shows measured rows alone.
    """
    chosen = suite_of(suite)
    found = chosen_records(records, chosen)
    distances = dict.fromkeys(r["features"]["distance"] for r in found.values())
    labels = [*distances, PSNR] if found else [PSNR]
    absent = [name for name in chosen.tokenizers if name not in found]
    theirs = published.columns if published else ()
    beside = tuple(Cell(None, "unpublished") for _ in theirs)
    rows = [
        Row(_entries(record, level), (*_cells(record, level, labels, notes), *beside))
        for record in found.values()
        for level in record["levels"]
    ]
    rows += [
        Row((f"{chosen.tokenizers[name]} ({name})", "", "", ""), (MISSING,) * len(labels) + beside)
        for name in absent
    ]
    if published:
        pairs = zip(printed.rows, published.cells, strict=True)
        rows += [Row((*e[:2], "", e[2]), (MISSING,) * len(labels) + cells) for e, cells in pairs]
    _remark(list(found.values()), absent, chosen, notes)
    measured = f"Measured with gcbench, suite {suite}, on {chosen.name('in-val')}"
    from_paper = f" Published numbers: {PAPER}, Table {number}." if published else ""
    return Table(
        number=number,
        title=layout.title,
        suite=suite,
        source=source,
        source_line=f"{measured}.{from_paper}",
        fields=FIELDS,
        headings=HEADINGS,
        columns=(*(Column(label, "measured", DECIMALS) for label in labels), *theirs),
        rows=tuple(rows),
        footnotes=notes.all(),
        provenance=_provenance(list(found.values())),
    )


def title_of(record: Record) -> str:
    """Architecture and name, for readers."""
    return f"{ARCHITECTURES[record['family']]} ({record['tokenizer']})"


def _entries(record: Record, level: Record) -> tuple[str, ...]:
    flipped = f"{level['flipped']['ratio']:.3f}"
    return title_of(record), str(record["vocabulary"]), f"{level['t']:g}", flipped


def _cells(record: Record, level: Record, labels: Sequence[str], notes: Notes) -> tuple[Cell, ...]:
    values = {
        record["features"]["distance"]: level["frechet_distance"],
        PSNR: psnr_db(level["mse"]),
    }
    status: Status = "full"
    letters: tuple[str, ...] = ()
    if record["subset"] != "full":
        status = "subset"
        letters = (notes.letter(f"the subset {record['subset']}: {record['images']:,} images"),)
    return tuple(
        Cell(values[label], status, count=record["images"], footnotes=letters)
        if label in values
        else MISSING
        for label in labels
    )


def _remark(found: Sequence[Record], absent: Sequence[str], suite: Suite, notes: Notes) -> None:
    if found:
        widest = max(
            (high - low) / 2
            for record in found
            for low, high in (level["flipped"]["interval"] for level in record["levels"])
        )
        notes.general.append(
            "Flipped tokens: the share that is not the token of t = 0; 95 % intervals over images "
            f"are at most ± {widest:.3f} wide. t compares within a tokenizer only: how far it "
            "moves a latent depends on the latents' scale."
        )
    for record in found:
        if "flipped_finest_scale" in record["levels"][0]:
            finest = [f"{x['flipped_finest_scale']['ratio']:.3f}" for x in record["levels"]]
            notes.general.append(
                f"{title_of(record)} counts the tokens of all its scales; of the finest scale "
                f"alone are flipped, in the order of its rows: {', '.join(finest)}."
            )
    if any(record["features"]["distance"] != "rFID" for record in found):
        notes.general.append(
            "FD: Frechet distance between originals and reconstructions in the features that it "
            "names; it compares with no FID."
        )
    whole = {r["benchmark"]: r["images"] for r in found if r["subset"] == "full"}
    if whole:
        listed = ", ".join(f"{name} {count:,}" for name, count in whole.items())
        notes.general.append(f"Images per cell: {listed}.")
    for name in absent:
        notes.general.append(f"Missing: {name}. To fill: `{tokenizer_command(name, suite)}`")


def tokenizer_command(name: str, suite: Suite) -> str:
    """The command that measures a tokenizer on the suite's validation set."""
    return f"gcbench tokenizer --tokenizer {name} --bench {suite.name('in-val')}"


def _provenance(found: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    origins = [level["provenance"] for record in found for level in record["levels"]]
    commits = {o["commit"] + ("-dirty" if o["dirty"] else "") for o in origins if "commit" in o}
    first = ("records", f"{len(found)}, sha256 {digest}")
    return (first, ("measured at commit", ", ".join(sorted(commits)))) if commits else (first,)


def tokenizer_robustness(records: Sequence[Record], suite: str) -> Figure:
    """Reconstruction quality against the share of flipped tokens, a line per tokenizer.

    One panel for each kind of distance and one for PSNR; bars are 95 % intervals over images.

    Raises:
        GcbenchError: no record of the suite's validation set.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

    where = suite_of(suite)
    found = chosen_records(records, where)
    if not found:
        raise GcbenchError(
            f"no tokenizer was measured on {where.name('in-val')}",
            hint=f"gcbench tokenizer --tokenizer {','.join(where.tokenizers)} "
            f"--bench {where.name('in-val')}",
        )
    names = [*dict.fromkeys(r["features"]["distance"] for r in found.values()), PSNR]
    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure = Figure(figsize=(3.6 * len(names), 3.4), layout="constrained")
        panels = figure.subplots(1, len(names), squeeze=False)[0]
    colours = sns.color_palette("colorblind", len(found))
    for panel, name in zip(panels, names, strict=True):
        for colour, marker, record in zip(colours, "osD^v<>P*X", found.values(), strict=False):
            if name in (PSNR, record["features"]["distance"]):
                _draw(panel, record, name, colour, marker)
        panel.set_title(f"{name}, {'higher' if name == PSNR else 'lower'} is better", fontsize=9)
        panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if name != PSNR:
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
    figure.supxlabel("tokens flipped by latent noise", fontsize=9)
    handles = {
        label: handle
        for panel in panels
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=2, frameon=False)
    return keep_layout(figure)


def _draw(panel: Any, record: Record, name: str, colour: Any, marker: str) -> None:
    levels = record["levels"]
    quality = [psnr_db(x["mse"]) if name == PSNR else x["frechet_distance"] for x in levels]
    flipped = [x["flipped"]["ratio"] for x in levels]
    bars = [
        [abs(x["flipped"]["interval"][i] - x["flipped"]["ratio"]) for x in levels] for i in (0, 1)
    ]
    label = f"{title_of(record)}, {record['vocabulary']:,} codes"
    if record["subset"] != "full":
        label += f", {record['images']:,} images"
    panel.errorbar(
        flipped,
        quality,
        xerr=bars,
        color=colour,
        marker=marker,
        markersize=4,
        elinewidth=1,
        label=label,
    )
