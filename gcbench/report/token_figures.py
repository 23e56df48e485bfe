"""What single tokens say: the paper's Figures 3, 4, 5, 8 and 9, from stored analyses.

Maps of a method whose tokens lie on several grids show the finest one: the coarse ones hold few
tokens, and no place of an image. Counts by rank or prefix take in all tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gcbench.analysis import Analysis
from gcbench.errors import GcbenchError
from gcbench.report.evidence import run_command
from gcbench.report.figures import keep_layout
from gcbench.report.layouts import Slot, suite_of
from gcbench.stats import wilson_interval
from gcbench.tokens import TokenSummary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Images of Figure 3, of as many classes; Figure 9 has the others.
EXAMPLES = 4
# Methods that maps are drawn of beside RandAR, where they are analysed.
PEERS = (("LlamaGen", "llamagen", "l"), ("VAR", "var", "d16"))
TOKENIZERS = (("LlamaGen tokenizer", "l"), ("MaskGIT tokenizer", "l-maskgit"))
SMALL = 7  # points


@dataclass(frozen=True)
class Tokens:
    """An analysis with what its tokens say."""

    analysis: Analysis
    summary: TokenSummary

    @property
    def trials(self) -> list[int]:
        """The counts of trials, ascending."""
        return [int(count) for count in self.summary.trials]

    @property
    def images(self) -> str:
        """How many images it is about, and which part of the benchmark they are."""
        spec, total = self.analysis.spec, int(self.summary.total)
        part = "" if spec["subset"] == "full" else f" (the subset {spec['subset']})"
        lacking = len(spec["sample_ids"]) - total
        failed = f", {lacking:,} could not be scored" if lacking else ""
        return f"{total:,} images of {spec['benchmark']}{part}{failed}"

    def grid(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values [N] by position on the finest grid, [side, side]."""
        side = int(self.summary.sides[-1])
        return values[-side * side :].reshape(side, side)


def find(analyses: Sequence[Analysis], slot: Slot) -> Tokens | None:
    """The finished analysis of that method on that benchmark: whole, large, exact, first seed."""
    wanted = (slot.method, slot.variant, slot.benchmark)
    found = []
    for analysis in analyses:
        spec = analysis.spec
        if (spec["method"], spec["variant"], spec["benchmark"]) == wanted:
            summary = analysis.tokens
            if summary is not None:
                found.append(Tokens(analysis, summary))
    return min(found, key=_preference, default=None)


def _preference(tokens: Tokens) -> tuple[Any, ...]:
    spec = tokens.analysis.spec
    return (
        spec["subset"] != "full",
        -int(tokens.summary.total),
        spec["precision"] != "fp32",
        spec["seed"],
        -spec["trials"],
        tokens.analysis.name,
    )


def _needed(analyses: Sequence[Analysis], suite: str, variant: str = "l") -> Tokens:
    slot = suite_of(suite).adapt(Slot("randar", variant, "in-val", trials=20))
    tokens = find(analyses, slot)
    if tokens is None:
        raise GcbenchError(
            f"no finished analysis of {slot.method} ({slot.variant}) on {slot.benchmark}",
            hint=run_command(slot).replace("gcbench run", "gcbench analyze"),
        )
    return tokens


def _others(analyses: Sequence[Analysis], suite: str) -> dict[str, Tokens]:
    """The raster order and further methods, by what a panel calls them, as far as analysed."""
    adapt = suite_of(suite).adapt
    named = (("raster order", "randar-raster", "l"), *PEERS)
    found = {
        name: find(analyses, adapt(Slot(method, variant, "in-val")))
        for name, method, variant in named
    }
    return {name: tokens for name, tokens in found.items() if tokens is not None}


@dataclass(frozen=True)
class _Column:
    """Maps of one method after so many trials."""

    title: str
    tokens: Tokens
    at: int

    def of(self, sample_id: str) -> NDArray[np.float64] | None:
        """The map of an image, clipped at 0, [side, side]; None: it is not among those shown."""
        rows = np.flatnonzero(self.tokens.summary.sample_ids == sample_id)
        if not len(rows):
            return None
        against = self.tokens.summary.against_false[rows[0], self.at].astype(np.float64)
        return self.tokens.grid(np.clip(against, 0, None))


def token_maps(analyses: Sequence[Analysis], suite: str) -> Figure:
    """Where the tokens are that speak for the true class (Figure 3).

    Raises:
        GcbenchError: RandAR is not analysed on the suite.
    """
    return _maps(analyses, suite, _examples(_needed(analyses, suite).summary), stacks=1)


def more_token_maps(analyses: Sequence[Analysis], suite: str) -> Figure:
    """The same of the images that Figure 3 leaves out (Figure 9); raises as `token_maps`."""
    summary = _needed(analyses, suite).summary
    examples = _examples(summary)
    rest = [i for i in range(len(summary.labels)) if i not in examples]
    return _maps(analyses, suite, rest or examples, stacks=2)


def _examples(summary: TokenSummary) -> list[int]:
    classes = len(set(summary.labels.tolist()))  # one image of each comes first
    count = min(EXAMPLES, classes)
    return [i * classes // count for i in range(count)]


def _maps(analyses: Sequence[Analysis], suite: str, rows: Sequence[int], stacks: int) -> Figure:
    """Images and their maps, a row each; rows stand in `stacks` blocks side by side."""
    from matplotlib.figure import Figure

    randar, others = _needed(analyses, suite), _others(analyses, suite)
    columns = [
        *([_Column("raster", others.pop("raster order"), 0)] if "raster order" in others else ()),
        *(_Column(f"K = {k}", randar, i) for i, k in _ends(randar.trials)),
        *(_Column(name, tokens, len(tokens.trials) - 1) for name, tokens in others.items()),
    ]
    height = -(-len(rows) // stacks)
    wide = 1 + len(columns)
    figure = Figure(figsize=(0.45 + 0.95 * wide * stacks, 0.55 + 1.0 * height))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    blocks = figure.subfigures(1, stacks, squeeze=False)
    for number, block in enumerate(blocks.flat):
        part = rows[number * height : (number + 1) * height]
        panels = block.subplots(height, wide, squeeze=False)
        for line, image in zip(panels, part, strict=False):
            _draw_maps(line, randar.summary, image, columns)
        for panel in panels.flat:
            panel.set_xticks([])
            panel.set_yticks([])
        for panel in panels[len(part) :].flat:
            panel.set_axis_off()
        for panel, title in zip(panels[0], ["image", *(c.title for c in columns)], strict=True):
            panel.set_title(title, fontsize=SMALL + 1)
    note = "log p(token | true class) - log p(token | false class), clipped at 0;\n"
    note += "the brightest token of a map has the number of nats below it; K: random orders"
    figure.supxlabel(note, fontsize=SMALL)
    return keep_layout(figure)


def _ends(trials: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last count of trials with their places."""
    return list({i: trials[i] for i in (0, len(trials) - 1)}.items())


def _draw_maps(line: Any, summary: TokenSummary, image: int, columns: Sequence[_Column]) -> None:
    line[0].imshow(summary.picture[image], interpolation="nearest")
    true, false = (
        str(names[image]).split(",")[0] for names in (summary.true_name, summary.false_name)
    )
    line[0].set_ylabel(f"{true}\nnot {false}", fontsize=SMALL - 1)
    for panel, column in zip(line[1:], columns, strict=True):
        found = column.of(str(summary.sample_ids[image]))
        if found is None:
            panel.text(0.5, 0.5, "not shown", fontsize=SMALL, ha="center", va="center")
            continue
        top = float(found.max())
        panel.imshow(found, cmap="cividis", vmin=0, vmax=top or 1, interpolation="nearest")
        panel.set_xlabel(f"{top:.1f}", fontsize=SMALL - 1, labelpad=1)


def token_accuracy(analyses: Sequence[Analysis], suite: str) -> Figure:
    """Top-1 accuracy by the token at each position alone (Figure 4).

    Raises:
        GcbenchError: RandAR is not analysed on the suite.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    randar, others = _needed(analyses, suite), _others(analyses, suite)
    panels: list[tuple[str, Tokens, int]] = []
    if "raster order" in others:
        panels.append(("raster order", others.pop("raster order"), 0))
    panels += [(f"random, K = {k}", randar, i) for i, k in enumerate(randar.trials)]
    panels += [(name, tokens, len(tokens.trials) - 1) for name, tokens in others.items()]
    shares = [
        tokens.grid(tokens.summary.position_right[at] / tokens.summary.total)
        for _, tokens, at in panels
    ]
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(0.9 + 1.9 * across, 0.5 + 2.05 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    scale = Normalize(min(s.min() for s in shares), max(s.max() for s in shares))
    colours = ScalarMappable(scale, "viridis")
    for panel, (title, tokens, at), share in zip(axes.flat, panels, shares, strict=False):
        panel.imshow(share, cmap=colours.cmap, norm=scale, interpolation="nearest")
        mean = tokens.summary.position_right[at].mean() / tokens.summary.total
        panel.set_title(f"{title}: mean {100 * mean:.1f}%", fontsize=SMALL + 1)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    chance = 1 / len(randar.analysis.spec["classes"])
    bar = figure.colorbar(colours, ax=axes, format=PercentFormatter(1, decimals=0), shrink=0.8)
    bar.set_label(f"top-1 accuracy by one token (chance: {100 * chance:.1f}%)", fontsize=SMALL + 1)
    bar.ax.tick_params(labelsize=SMALL)
    figure.supxlabel(_images({title: tokens for title, tokens, _ in panels}), fontsize=SMALL)
    return keep_layout(figure)


def _images(panels: Mapping[str, Tokens]) -> str:
    """Which images the panels are about; each of them where they differ."""
    told = {title: tokens.images for title, tokens in panels.items()}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "\n".join(f"{title}: {images}" for title, images in told.items())


def prefix_length(analyses: Sequence[Analysis], suite: str) -> Figure:
    """Top-1 accuracy by one token against how many tokens came before it (Figure 5).

    The log-likelihoods of the tokens that K orders visit at the same rank are averaged.

    Raises:
        GcbenchError: RandAR is not analysed on the suite.
    """
    import seaborn as sns

    randar = _needed(analyses, suite)
    figure, (panel,) = _curves(1)
    colours = sns.color_palette("colorblind", 2)
    for (at, k), colour, style in zip(
        reversed(_ends(randar.trials)), colours, ("-", "--"), strict=False
    ):
        label = f"K = {k}"
        _draw_counts(panel, randar, randar.summary.rank_right[at], colour, label, style)
    panel.set_xlabel("prefix length: tokens visited before that rank", fontsize=SMALL + 2)
    panel.set_ylabel("top-1 accuracy by a rank's K tokens", fontsize=SMALL + 2)
    panel.set_title(randar.images, fontsize=SMALL + 1)
    panel.legend(frameon=False, fontsize=SMALL + 1)
    return keep_layout(figure)


def discarded_tokens(analyses: Sequence[Analysis], suite: str) -> Figure:
    """Top-1 accuracy when the first or the last k tokens of each order are left out (Figure 8).

    Raises:
        GcbenchError: RandAR is not analysed on the suite.
    """
    import seaborn as sns

    _needed(analyses, suite)
    slots = {name: Slot("randar", variant, "in-val") for name, variant in TOKENIZERS}
    every = {name: find(analyses, suite_of(suite).adapt(slot)) for name, slot in slots.items()}
    found = {name: tokens for name, tokens in every.items() if tokens is not None}
    figure, panels = _curves(len(found))
    blue, orange = sns.color_palette("colorblind", 2)
    for panel, (name, tokens) in zip(panels, found.items(), strict=True):
        summary = tokens.summary
        _draw_counts(panel, tokens, summary.first_right[-1][::-1], blue, "without the last k", "-")
        _draw_counts(
            panel, tokens, summary.last_right[-1][::-1], orange, "without the first k", "--"
        )
        panel.set_title(f"{name}, K = {tokens.trials[-1]}\n{tokens.images}", fontsize=SMALL + 1)
        panel.set_ylabel("top-1 accuracy", fontsize=SMALL + 2)
    panels[-1].set_xlabel("k: tokens of each order that are discarded", fontsize=SMALL + 2)
    panels[0].legend(frameon=False, fontsize=SMALL + 1)
    return keep_layout(figure)


def _curves(count: int) -> tuple[Figure, list[Any]]:
    """A figure with panels for curves, one below the other."""
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure = Figure(figsize=(4.6, 0.4 + 2.6 * count), layout="constrained")
        panels = list(np.atleast_1d(figure.subplots(count, 1)))
    for panel in panels:
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure, panels


def _draw_counts(
    panel: Any, tokens: Tokens, right: NDArray[np.int64], colour: Any, label: str, style: str
) -> None:
    """Shares of images that are right, counted [N], at 0 ... N - 1, with Wilson intervals."""
    total = int(tokens.summary.total)
    low, high = np.array([wilson_interval(int(count), total) for count in right]).T
    panel.fill_between(range(len(right)), low, high, color=colour, alpha=0.2, linewidth=0)
    panel.plot(range(len(right)), right / total, style, color=colour, label=label)


TOKEN_FIGURES: dict[str, Callable[[Sequence[Analysis], str], Figure]] = {
    "token-maps": token_maps,
    "token-accuracy": token_accuracy,
    "token-prefix": prefix_length,
    "token-discarded": discarded_tokens,
    "token-maps-more": more_token_maps,
}
