"""ResNets (paper Table 9; He et al. 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import Shipped, published
from gcbench.method import Variant

from ._classifier import Classifier, imagenet_variant, mini_variant

if TYPE_CHECKING:
    from torch import nn

DEPTHS = (18, 34, 50, 101, 152)
MINI_DEPTHS = (18, 34, 50)


def _variant(depth: int) -> Variant:
    """torchvision's first weights: ResNet-50 scores 0.000 on ImageNet-A in the paper, the mark of
    the model that this set was filtered with. What the paper calls 151 layers are 152.
    """
    return imagenet_variant(
        str(depth),
        {"model": {"model_name": f"resnet{depth}"}},
        {"model": published(f"resnet{depth}")},
        "torchvision's IMAGENET1K_V1, as the paper's 0.000 of ResNet-50 on ImageNet-A tells",
    )


class ResNet(Classifier):
    """timm's networks, which have torchvision's parameter names."""

    name = "resnet"
    summary = "convolutional classifier of 18 to 152 layers"
    variants: ClassVar[tuple[Variant, ...]] = (
        *(
            mini_variant(
                {"model": f"mini-resnet{depth}"}, f"{depth} layers, narrow", f"mini-{depth}"
            )
            for depth in MINI_DEPTHS
        ),
        *(_variant(depth) for depth in DEPTHS),
    )

    def build(self) -> nn.Module:
        import timm

        from gcbench.nets.resnet import SmallResNet

        config = self.config("model")
        own = isinstance(self.variant.checkpoints["model"], Shipped)
        network: nn.Module = SmallResNet(**config) if own else timm.create_model(**config)
        return network
