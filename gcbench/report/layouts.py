"""What each table shows: its title, what its rows mean, and which measurement fills a cell.

Rows, columns and their order are those of the published table (results/paper/tableN.csv), so a
measured table has the paper's layout by construction. A table is added here: its title and
headings, and a function from (row, column) to a `Slot` (gcbench.report.slots).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gcbench.errors import GcbenchError, unknown_name
from gcbench.report import slots
from gcbench.report.slots import (
    DIFFUSION_TIMESTEPS,
    MINI_COARSE_TIMESTEPS,
    MINI_TIMESTEPS,
    Gap,
    Slot,
)

Entries = tuple[str, ...]
_MODEL_SIZE = re.compile(r"^(B|L|XL)/16$")
_SIZE_SUFFIX = re.compile(r" (B|L|XL)/16$|-XL(?= \+|$)")


@dataclass(frozen=True)
class Suite:
    """A family of benchmarks that the paper's tables can be measured on.

    Attributes:
        prefix: begins the names of the benchmarks that take the place of the paper's `in-*`.
        data_sets: those that take the place of the paper's other data sets.
        tokenizers: those that the table of tokenizers is about, with their architectures.
        variants: the suite's names of trainings that a table compares.
        tables: those that the suite's benchmarks appear in; None: all.
        stand_in_variant: the suite is a stand-in for ImageNet, with this one variant of each
            method in the place of the paper's model sizes.
        stand_in_trials: counts of trials that the suite takes in the place of the paper's.
        coarser: by benchmark, counts that it takes in the place of the suite's.
    """

    prefix: str
    data_sets: Mapping[str, str] = field(default_factory=dict)
    tokenizers: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[int, ...] | None = None
    stand_in_variant: str | None = None
    stand_in_trials: Mapping[int, int] = field(default_factory=dict)
    coarser: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    @property
    def stand_in(self) -> bool:
        return self.stand_in_variant is not None

    def name(self, column: str) -> str:
        """The suite's name of a published column: `in-val` is `mini-val` in the mini suite."""
        if column.startswith("in-"):
            return self.prefix + column.removeprefix("in-")
        data_set, dash, split = column.partition("-")
        return self.data_sets.get(data_set, data_set) + dash + split

    def rows(self, printed: Sequence[Entries]) -> list[Entries]:
        """The rows of a table in this suite.

        Those of a stand-in name no model size, so that rows which differ by it alone are one;
        what a row's leading entries say (the family, say) still groups the rows.
        """
        if not self.stand_in:
            return list(printed)
        rows = list(dict.fromkeys(tuple(map(self._sizeless, row)) for row in printed))
        if len(rows) == len(printed):
            return rows
        seen: list[dict[str, int]] = [{} for _ in printed[0]]
        for row in rows:
            for ranks, entry in zip(seen, row, strict=True):
                ranks.setdefault(entry, len(ranks))
        return sorted(rows, key=lambda row: [seen[i][entry] for i, entry in enumerate(row[:-1])])

    def stands_for(self, row: Entries, printed: Sequence[Entries]) -> Entries:
        """The first published row that a row of the suite takes the place of."""
        return next(p for p in printed if row in (p, tuple(map(self._sizeless, p))))

    def _sizeless(self, entry: str) -> str:
        return _SIZE_SUFFIX.sub("", _MODEL_SIZE.sub(self.stand_in_variant or "", entry))

    def adapt(self, slot: Slot) -> Slot:
        """The slot of the paper's names in the suite's names."""
        named = replace(
            slot,
            variant=self.variants.get(slot.variant, self.stand_in_variant or slot.variant),
            trials=self.stand_in_trials.get(slot.trials, slot.trials),
        )
        return self.on(self.name(slot.benchmark), named)

    def on(self, benchmark: str, slot: Slot) -> Slot:
        """A slot of the suite on another of its benchmarks."""
        trials = self.coarser.get(benchmark, {}).get(slot.trials, slot.trials)
        return replace(slot, benchmark=benchmark, trials=trials)


# Those of the mini suite that diffusion models take the coarser grid on.
MINI_CORRUPTED = ("mini-c-gauss", "mini-c-jpeg")
MINI_SHIFTS = {"camelyon17": "mini-camelyon", "celeba": "mini-celeba", "fmow": "mini-fmow"}

SUITES: Mapping[str, Suite] = {
    "imagenet": Suite(
        prefix="in-",
        tokenizers={"maskgit-vq16": "MaskGIT", "llamagen-vq16": "LlamaGen", "var-vqvae": "VAR"},
        variants={"l-noise": "l"},
    ),
    "wilds": Suite(prefix="in-", tables=(6,)),
    "mini": Suite(
        prefix="mini-",
        data_sets=MINI_SHIFTS,
        tokenizers={"mini-maskgit-vq": "MaskGIT", "mini-vq": "LlamaGen", "mini-var-vqvae": "VAR"},
        variants={
            **{"l-maskgit": "mini-maskgit", "l-noise": "mini-noise"},
            **{depth: f"mini-{depth}" for depth in ("18", "34", "50", "101", "152")},
            **{f"{size}-{name}": mini for name, mini in MINI_SHIFTS.items() for size in ("b", "l")},
        },
        stand_in_variant="mini",
        stand_in_trials={DIFFUSION_TIMESTEPS: MINI_TIMESTEPS},
        coarser={name: {MINI_TIMESTEPS: MINI_COARSE_TIMESTEPS} for name in MINI_CORRUPTED},
    ),
}


@dataclass(frozen=True)
class Layout:
    """One table of the paper.

    Attributes:
        title: what is compared, in a few words; `{val}` is the suite's validation benchmark.
        headings: headings of the columns that describe a row, one per leading CSV column.
        slot: the measurement of a cell, in the paper's names; None: not of runs of classifiers.
        of_tokenizers: the table is about tokenizers and not about runs of classifiers.
        compare: whether the best is sought down each column or along each row.
        block: the field whose value a comparison never crosses (model size, say).
        lower_is_better: the numbers are errors or distances.
        remarks: what to know about the measured half, by suite.
    """

    title: str
    headings: tuple[str, ...]
    slot: Callable[[Mapping[str, str], str], Slot | Gap] | None = None
    of_tokenizers: bool = False
    compare: Literal["column", "row"] = "column"
    block: str | None = None
    lower_is_better: bool = False
    remarks: Mapping[str, str] = field(default_factory=dict)


WORST_GROUP = (
    "Columns ending in wg: accuracy on the images of the worst group, and the interval of that "
    "group as if it had been chosen beforehand."
)
MINI_WORST_GROUP = (
    f"{WORST_GROUP} The groups of mini-celeba are equally large, so that its plain accuracy is the "
    "mean over them; docs/data.md says what each set can and cannot show."
)

LAYOUTS: Mapping[int, Layout] = {
    1: Layout(
        "RandAR in raster order and in K random orders, top-1 accuracy",
        headings=("Token order", "K"),
        slot=slots.token_order,
    ),
    2: Layout(
        "Families of classifiers under distribution shift, top-1 accuracy",
        headings=("Size", "Family", "Method"),
        slot=slots.model_family,
        block="size",
        remarks={
            "imagenet": "The paper names no depths of VAR and A-VARC, no noise draws of A-VARC: "
            "taken are depths 16 and 20, and 3 draws.",
            "mini": f"Diffusion models: {MINI_TIMESTEPS} timesteps, {MINI_COARSE_TIMESTEPS} on "
            f"{' and '.join(MINI_CORRUPTED)}.",
        },
    ),
    3: Layout(
        "Tokenizer reconstruction under latent noise (distances: lower is better)",
        headings=("Tokenizer", "Vocabulary", "Flipped tokens"),
        of_tokenizers=True,
        lower_is_better=True,
    ),
    4: Layout(
        "RandAR with different tokenizers, top-1 accuracy",
        headings=("Tokenizer",),
        slot=slots.tokenizer,
        remarks={
            "imagenet": "MaskGIT and LlamaGen are the releases of RandAR's authors, LlamaGen + "
            "Noise aug. is the paper's own training: they differ in more than the tokens."
        },
    ),
    5: Layout(
        "Two estimates of the likelihood from K orders, top-1 accuracy on {val}",
        headings=("Estimate",),
        slot=slots.likelihood_estimate,
    ),
    6: Layout(
        "Subpopulation and domain shifts, accuracy (wg: worst group)",
        headings=("Size", "Method"),
        slot=slots.real_world_shift,
        block="size",
        remarks={"imagenet": WORST_GROUP, "wilds": WORST_GROUP, "mini": MINI_WORST_GROUP},
    ),
    7: Layout(
        "Timesteps T against noise samples N at equal cost, top-1 accuracy",
        headings=("Model", "NFE", "T", "N"),
        slot=slots.noises_per_timestep,
    ),
    8: Layout(
        "Loss weightings of diffusion classifiers, top-1 accuracy on {val}",
        headings=("Model",),
        slot=slots.loss_weighting,
        compare="row",
    ),
    9: Layout(
        "ResNets beside RandAR, top-1 accuracy",
        headings=("Method",),
        slot=slots.residual_network,
    ),
    10: Layout(
        "Diffusion models with aligned features, top-1 accuracy",
        headings=("Method",),
        slot=slots.aligned_features,
    ),
}


def layout_of(number: int) -> Layout:
    """The layout of a table. Raises GcbenchError for an unknown number."""
    if number not in LAYOUTS:
        known = f"{min(LAYOUTS)} to {max(LAYOUTS)}"
        raise GcbenchError(f"unknown table {number}", hint=f"known: {known}")
    return LAYOUTS[number]


def suite_of(name: str) -> Suite:
    """The suite of that name. Raises GcbenchError with the nearest name."""
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    return SUITES[name]


def known_tables(suite: Suite | None = None) -> tuple[int, ...]:
    """The numbers of the paper's tables, or of those that the suite's benchmarks appear in."""
    return tuple(LAYOUTS) if suite is None or suite.tables is None else suite.tables
