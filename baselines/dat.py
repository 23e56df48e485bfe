"""DAT, a joint model: the logits of an adversarially trained energy model (Yin et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import published
from gcbench.method import Variant

from ._classifier import Classifier, imagenet_variant, mini_variant

if TYPE_CHECKING:
    from torch import nn


class DAT(Classifier):
    """Scores are the logits, one evaluation per image."""

    name = "dat"
    family = "joint"
    summary = "joint energy model and classifier, trained adversarially"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant({"model": "mini-dat"}, "ConvNeXt, narrow", from_zero=True),
        imagenet_variant(
            "convnext-l",
            {"model": {}},
            {"model": published("dat-convnext-l")},
            "its authors' ConvNeXt-L for 256 px, chosen by them for its FID",
            size=256,
            resize=292,
            interpolation="bicubic",
            normalised=False,
        ),
    )

    def build(self) -> nn.Module:
        from gcbench.nets.dat import DAT as Network

        return Network(**self.config("model"))
