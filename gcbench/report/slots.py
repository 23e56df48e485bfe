"""Which measurement fills a cell of a table: from (row, column), in the paper's names, to a slot.

Where the paper leaves open which weights or settings a row stands for, the choice is made and said
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

# Of a diffusion classifier: the paper's (section 5), of the mini suite, of its corrupted sets.
DIFFUSION_TIMESTEPS = 250
MINI_TIMESTEPS = 100
MINI_COARSE_TIMESTEPS = 20
# Token orders of RandAR (section 5).
ORDERS = 20
# Noise draws of A-VARC, which the paper does not name: those of its authors' example.
SMOOTHING_DRAWS = 3
# Of a diffusion classifier's losses, in the order of Table 8: the paper's name and the rule.
WEIGHTINGS: Mapping[str, str] = {
    "Constant": "mean",
    "ELBO": "elbo",
    "SNR-1": "inverse-snr",
    "Min-SNR-5": "min-snr-5",
    "FM-OT": "fm-ot",
}
# Trainings that the discriminative baselines of Table 6 are averaged over (section 6.6).
TRAININGS = 3

Described = Mapping[str, str]


@dataclass(frozen=True)
class Slot:
    """The measurement a cell asks for: a method on a benchmark, `trials` combined by `rule`.

    Attributes:
        timesteps: those that the trials go through several times; None: a trial is not repeated.
        worst_group: only the images of the benchmark's worst group count.
        trainings: how many of the same method, under other seeds, the cell is the mean of.
    """

    method: str
    variant: str
    benchmark: str
    rule: str = "mean"
    trials: int = 1
    timesteps: int | None = None
    worst_group: bool = False
    trainings: int = 1

    @property
    def members(self) -> tuple[Slot, ...]:
        """The measurements that the cell is the mean of: itself, or one for each seed."""
        if self.trainings == 1:
            return (self,)
        seeds = range(1, self.trainings + 1)
        return tuple(
            replace(self, variant=f"{self.variant}-seed{seed}", trainings=1) for seed in seeds
        )

    @property
    def prediction(self) -> str:
        """The column of a run's predictions. All rules agree on a single trial."""
        return f"{self.rule if self.trials > 1 else 'mean'}@{self.trials}"


@dataclass(frozen=True)
class Gap:
    """A cell that no run can fill, and what there would have to be: "no method for ERM"."""

    reason: str


def token_order(row: Described, column: str) -> Slot:
    """Table 1."""
    method = {"raster": "randar-raster", "random": "randar"}[row["token_order"]]
    return Slot(method, "l", column, trials=int(row["K"]))


# Method, variant and trials of the rows of Table 2. VAR's authors publish no "VAR-L" and "VAR-XL":
# depths 16 and 20 are nearest in size to the other models, with 310 M and 601 M parameters.
_MODELS: Mapping[tuple[str, str], tuple[str, str, int]] = {
    ("L/16", "ViT"): ("vit", "l", 1),
    ("L/16", "DINOv2"): ("dinov2", "l", 1),
    ("L/16", "DAT"): ("dat", "convnext-l", 1),
    ("L/16", "DiT"): ("dit", "l-paper", DIFFUSION_TIMESTEPS),
    ("L/16", "LlamaGen"): ("llamagen", "l", 1),
    ("L/16", "VAR"): ("var", "d16", 1),
    ("L/16", "A-VARC"): ("avarc", "d16", SMOOTHING_DRAWS),
    ("L/16", "RandAR raster"): ("randar-raster", "l", 1),
    ("L/16", "RandAR"): ("randar", "l", ORDERS),
    ("XL/16", "DINOv2"): ("dinov2", "xl", 1),
    ("XL/16", "SiT"): ("sit", "xl", DIFFUSION_TIMESTEPS),
    ("XL/16", "SiT + REPA"): ("sit-repa", "xl", DIFFUSION_TIMESTEPS),
    ("XL/16", "DiT"): ("dit", "xl-paper", DIFFUSION_TIMESTEPS),
    ("XL/16", "LlamaGen"): ("llamagen", "xl", 1),
    ("XL/16", "VAR"): ("var", "d20", 1),
    ("XL/16", "A-VARC"): ("avarc", "d20", SMOOTHING_DRAWS),
    ("XL/16", "RandAR"): ("randar", "xl", ORDERS),
}


def model_family(row: Described, column: str) -> Slot:
    """Table 2."""
    method, variant, trials = _MODELS[row["size"], row["method"]]
    return Slot(method, variant, column, trials=trials)


def tokenizer(row: Described, column: str) -> Slot:
    """Table 4."""
    variants = {
        "MaskGIT": "l-maskgit",
        "LlamaGen": "l-release",
        "LlamaGen + Noise aug.": "l-noise",
    }
    return Slot("randar", variants[row["tokenizer"]], column, trials=ORDERS)


def likelihood_estimate(row: Described, column: str) -> Slot:
    """Table 5."""
    rule = {"Lower bound": "mean", "Log-likelihood": "log-mean-exp"}[row["strategy"]]
    return Slot("randar", "xl", "in-val", rule, int(column.removeprefix("K=")))


_WILDS_COLUMNS: Mapping[str, tuple[str, str, bool]] = {
    "camelyon17-id": ("camelyon17", "camelyon17-id", False),
    "camelyon17-ood": ("camelyon17", "camelyon17-ood", False),
    "celeba-id": ("celeba", "celeba", False),
    "celeba-id-wg": ("celeba", "celeba", True),
    "fmow-id": ("fmow", "fmow-id", False),
    "fmow-ood-wg": ("fmow", "fmow-ood", True),
}


def real_world_shift(row: Described, column: str) -> Slot | Gap:
    """Table 6; a method has variants per size and data set, and where it is averaged per seed."""
    data_set, benchmark, worst_group = _WILDS_COLUMNS[column]
    method, trials, trainings = {
        "ERM": ("erm", 1, TRAININGS),
        "RWY": ("rwy", 1, TRAININGS),
        "sigma-stitching": ("stitching", 1, TRAININGS),
        "DiT": ("dit", DIFFUSION_TIMESTEPS, 1),
        "RandAR": ("randar", ORDERS, 1),
    }[row["method"]]
    if (method, data_set) == ("stitching", "fmow"):
        return Gap("no sigma-stitching of more than two classes")
    variant = f"{row['size'].removesuffix('/16').lower()}-{data_set}"
    return Slot(
        method, variant, benchmark, trials=trials, worst_group=worst_group, trainings=trainings
    )


def noises_per_timestep(row: Described, column: str) -> Slot:
    """Table 7."""
    if row["model"] == "RandAR-XL":
        return Slot("randar", "xl", column, trials=int(row["nfe"]))
    repeated = int(row["T"]) if int(row["N"]) > 1 else None
    return Slot("dit", "xl", column, trials=int(row["nfe"]), timesteps=repeated)


def loss_weighting(row: Described, column: str) -> Slot:
    """Table 8."""
    method = {"DiT-XL": "dit", "SiT-XL": "sit"}[row["model"]]
    return Slot(method, "xl", "in-val", WEIGHTINGS[column], DIFFUSION_TIMESTEPS)


def residual_network(row: Described, column: str) -> Slot:
    """Table 9. What the paper calls 151 layers are 152."""
    name, _, size = row["method"].replace("-", " ").partition(" ")
    if name == "RandAR":
        return Slot("randar", size.removesuffix("/16").lower(), column, trials=ORDERS)
    return Slot("resnet", {"151": "152"}.get(size, size), column)


def aligned_features(row: Described, column: str) -> Slot:
    """Table 10."""
    if row["method"] == "RandAR-XL":
        return Slot("randar", "xl", column, trials=ORDERS)
    method = {
        "SiT-XL": "sit",
        "SiT-XL + REG": "sit-reg",
        "SiT-XL + REPA": "sit-repa",
        "SiT-XL + iREPA": "sit-irepa",
    }[row["method"]]
    return Slot(method, "xl", column, trials=DIFFUSION_TIMESTEPS)
