"""What classifiers that learn under a shift share: their data sets, seeds and variants."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from gcbench.checkpoint import ByHand, Shipped
from gcbench.method import Variant

from ._classifier import Classifier

if TYPE_CHECKING:
    from torch import nn

# Of the WILDS sets: label space and number of classes.
WILDS: Mapping[str, tuple[str, int]] = {
    "camelyon17": ("camelyon17", 2),
    "celeba": ("celeba-blond", 2),
    "fmow": ("fmow-62", 62),
}
# Of the mini shifts that stand in for them.
MINI_SHIFTS: Mapping[str, str] = {
    "camelyon": "digit-parity",
    "celeba": "top-or-dress",
    "fmow": "emoji-10",
}
# The paper averages its discriminative baselines over three trainings.
SEEDS = (1, 2, 3)
SIZES: Mapping[str, Mapping[str, int]] = {
    "b": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "l": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
IMAGE_SIZE = 256


def vit_variants(method: str, sets: Collection[str] = WILDS) -> tuple[Variant, ...]:
    """ViT-B/16 and ViT-L/16 of every set and seed, and those of the mini shifts in their place.

    The paper names no image size for them: taken are the 256 pixels of its generative models.
    """
    full = (
        _wilds_variant(method, size, data_set, seed)
        for data_set in sets
        for size in SIZES
        for seed in SEEDS
    )
    stand_ins = [stem for stem in MINI_SHIFTS if any(name.startswith(stem) for name in sets)]
    mini = (_mini_variant(method, stem, seed) for stem in stand_ins for seed in SEEDS)
    return (*mini, *full)


def _wilds_variant(method: str, size: str, data_set: str, seed: int) -> Variant:
    label_space, classes = WILDS[data_set]
    model: dict[str, Any] = {**SIZES[size], "img_size": IMAGE_SIZE, "num_classes": classes}
    return Variant(
        name=f"{size}-{data_set}-seed{seed}",
        label_space=label_space,
        config={"model": model, "image": {"grey": False}},
        checkpoints={"model": ByHand(f"the paper's {method} classifiers are unreleased")},
        image_size=IMAGE_SIZE,
        note=f"ViT-{size.upper()}/16, to be trained",
    )


def _mini_variant(method: str, data_set: str, seed: int) -> Variant:
    return Variant(
        name=f"mini-{data_set}-seed{seed}",
        label_space=MINI_SHIFTS[data_set],
        config={"image": {"grey": True}},
        checkpoints={"model": Shipped(f"mini-{method}-{data_set}-seed{seed}")},
        image_size=32,
        note=f"trained on mini-{data_set}, seed {seed}",
    )


class ShiftViT(Classifier):
    """A vision transformer trained from scratch on one data set, as in the paper's section 6.6."""

    def build(self) -> nn.Module:
        from gcbench.nets.vit import ViT

        return ViT(**self.config("model"))
