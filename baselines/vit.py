"""The vision transformer trained with labels (paper Table 2; Dosovitskiy et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import published
from gcbench.method import Variant

from ._classifier import Classifier, imagenet_variant, mini_variant

if TYPE_CHECKING:
    from torch import nn


class ViT(Classifier):
    """The paper names lucidrains/vit-pytorch, which has no weights.

    Nearest to its 0.803 are torchvision's IMAGENET1K_V1, trained on ImageNet-1K alone as the
    paper's other models (0.797 on the whole validation set); timm's ViT-L/16 saw ImageNet-21K.
    """

    name = "vit"
    summary = "vision transformer trained with labels"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant({"model": "mini-vit"}, "4 blocks on patches of 4 x 4 pixels"),
        imagenet_variant(
            "l",
            {"model": {"embed_dim": 1024, "depth": 24, "num_heads": 16}},
            {"model": published("vit-l16")},
            "ViT-L/16, torchvision's IMAGENET1K_V1",
            resize=242,
        ),
    )

    def build(self) -> nn.Module:
        from gcbench.nets.vit import ViT as Network

        return Network(**self.config("model"))
