"""What each table shows: its title, what its rows mean, and which measurement fills a cell.

Rows, columns and their order are those of the published table (results/paper/tableN.csv), so a
measured table has the paper's layout by construction. A table is added here: its title and
headings, and, once its methods can be run, a function from (row, column) to a `Slot`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gcbench.errors import GcbenchError, unknown_name

# Of a diffusion classifier: the paper's (section 5), and of the mini suite.
DIFFUSION_TIMESTEPS = 250
MINI_TIMESTEPS = 100


@dataclass(frozen=True)
class Slot:
    """The measurement a cell asks for: a method on a benchmark, `trials` combined by `rule`.

    `timesteps`: those that the trials go through several times; None: a trial is not repeated.
    """

    method: str
    variant: str
    benchmark: str
    rule: str = "mean"
    trials: int = 1
    timesteps: int | None = None

    @property
    def prediction(self) -> str:
        """The column of a run's predictions. All rules agree on a single trial."""
        return f"{self.rule if self.trials > 1 else 'mean'}@{self.trials}"


@dataclass(frozen=True)
class Suite:
    """A family of benchmarks that the paper's tables can be measured on.

    Attributes:
        prefix: begins the names of the benchmarks that take the place of the paper's `in-*`.
        tokenizers: those that the table of tokenizers is about, with their architectures.
        variants: the suite's names of trainings that a table compares.
        stand_in_variant: the suite is a stand-in for ImageNet, with this one variant of each
            method in the place of the paper's model sizes.
        stand_in_trials: counts of trials that the suite takes in the place of the paper's.
    """

    prefix: str
    tokenizers: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    stand_in_variant: str | None = None
    stand_in_trials: Mapping[int, int] = field(default_factory=dict)

    @property
    def stand_in(self) -> bool:
        return self.stand_in_variant is not None

    def name(self, column: str) -> str:
        """The suite's name of a published column: `in-val` is `mini-val` in the mini suite."""
        return self.prefix + column.removeprefix("in-") if column.startswith("in-") else column

    def adapt(self, slot: Slot) -> Slot:
        """The slot of the paper's names in the suite's names."""
        return replace(
            slot,
            benchmark=self.name(slot.benchmark),
            variant=self.variants.get(slot.variant, self.stand_in_variant or slot.variant),
            trials=self.stand_in_trials.get(slot.trials, slot.trials),
        )


SUITES: Mapping[str, Suite] = {
    "imagenet": Suite(
        prefix="in-",
        tokenizers={"maskgit-vq16": "MaskGIT", "llamagen-vq16": "LlamaGen", "var-vqvae": "VAR"},
        variants={"l-noise": "l"},
    ),
    "mini": Suite(
        prefix="mini-",
        tokenizers={"mini-maskgit-vq": "MaskGIT", "mini-vq": "LlamaGen", "mini-var-vqvae": "VAR"},
        variants={"l-maskgit": "mini-maskgit", "l-noise": "mini-noise"},
        stand_in_variant="mini",
        stand_in_trials={DIFFUSION_TIMESTEPS: MINI_TIMESTEPS},
    ),
}


@dataclass(frozen=True)
class Layout:
    """One table of the paper.

    Attributes:
        title: what is compared, in a few words; `{val}` is the suite's validation benchmark.
        headings: headings of the columns that describe a row, one per leading CSV column.
        slot: the measurement of a cell, in the paper's names; None: shown as published only, or
            measured otherwise.
        of_tokenizers: the table is about tokenizers and not about runs of classifiers.
        compare: whether the best is sought down each column or along each row.
        block: the field whose value a comparison never crosses (model size, say).
        lower_is_better: the numbers are errors or distances.
        remarks: what to know about the measured half, by suite.
    """

    title: str
    headings: tuple[str, ...]
    slot: Callable[[Mapping[str, str], str], Slot] | None = None
    of_tokenizers: bool = False
    compare: Literal["column", "row"] = "column"
    block: str | None = None
    lower_is_better: bool = False
    remarks: Mapping[str, str] = field(default_factory=dict)


def _token_order(row: Mapping[str, str], column: str) -> Slot:
    method = {"raster": "randar-raster", "random": "randar"}[row["token_order"]]
    return Slot(method, "l", column, trials=int(row["K"]))


def _tokenizer(row: Mapping[str, str], column: str) -> Slot:
    variants = {
        "MaskGIT": "l-maskgit",
        "LlamaGen": "l-release",
        "LlamaGen + Noise aug.": "l-noise",
    }
    return Slot("randar", variants[row["tokenizer"]], column, trials=20)


def _likelihood_estimate(row: Mapping[str, str], column: str) -> Slot:
    rule = {"Lower bound": "mean", "Log-likelihood": "log-mean-exp"}[row["strategy"]]
    return Slot("randar", "xl", "in-val", rule, int(column.removeprefix("K=")))


def _noises_per_timestep(row: Mapping[str, str], column: str) -> Slot:
    if row["model"] == "RandAR-XL":
        return Slot("randar", "xl", column, trials=int(row["nfe"]))
    repeated = int(row["T"]) if int(row["N"]) > 1 else None
    return Slot("dit", "xl", column, trials=int(row["nfe"]), timesteps=repeated)


def _loss_weighting(row: Mapping[str, str], column: str) -> Slot:
    rules = {
        "Constant": "mean",
        "ELBO": "elbo",
        "SNR-1": "inverse-snr",
        "Min-SNR-5": "min-snr-5",
        "FM-OT": "fm-ot",
    }
    method = {"DiT-XL": "dit", "SiT-XL": "sit"}[row["model"]]
    return Slot(method, "xl", "in-val", rules[column], DIFFUSION_TIMESTEPS)


def _aligned_features(row: Mapping[str, str], column: str) -> Slot:
    if row["method"] == "RandAR-XL":
        return Slot("randar", "xl", column, trials=20)
    method = {
        "SiT-XL": "sit",
        "SiT-XL + REG": "sit-reg",
        "SiT-XL + REPA": "sit-repa",
        "SiT-XL + iREPA": "sit-irepa",
    }[row["method"]]
    return Slot(method, "xl", column, trials=DIFFUSION_TIMESTEPS)


LAYOUTS: Mapping[int, Layout] = {
    1: Layout(
        "RandAR in raster order and in K random orders, top-1 accuracy",
        headings=("Token order", "K"),
        slot=_token_order,
    ),
    2: Layout(
        "Families of classifiers under distribution shift, top-1 accuracy",
        headings=("Size", "Family", "Method"),
        block="size",
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
        slot=_tokenizer,
        remarks={
            "imagenet": "MaskGIT and LlamaGen are the releases of RandAR's authors, LlamaGen + "
            "Noise aug. is the paper's own training: they differ in more than the tokens."
        },
    ),
    5: Layout(
        "Two estimates of the likelihood from K orders, top-1 accuracy on {val}",
        headings=("Estimate",),
        slot=_likelihood_estimate,
    ),
    6: Layout(
        "Subpopulation and domain shifts, accuracy (wg: worst group)",
        headings=("Size", "Method"),
        block="size",
    ),
    7: Layout(
        "Timesteps T against noise samples N at equal cost, top-1 accuracy",
        headings=("Model", "NFE", "T", "N"),
        slot=_noises_per_timestep,
    ),
    8: Layout(
        "Loss weightings of diffusion classifiers, top-1 accuracy on {val}",
        headings=("Model",),
        slot=_loss_weighting,
        compare="row",
    ),
    9: Layout("ResNets beside RandAR, top-1 accuracy", headings=("Method",)),
    10: Layout(
        "Diffusion models with aligned features, top-1 accuracy",
        headings=("Method",),
        slot=_aligned_features,
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


def known_tables(source: str = "paper") -> tuple[int, ...]:
    """Table numbers that can be built from `source`: all, or those with measured cells."""
    return tuple(
        n
        for n, layout in LAYOUTS.items()
        if source == "paper" or layout.slot or layout.of_tokenizers
    )
