"""timm's ResNet with the stem that small images need."""

from __future__ import annotations

from collections.abc import Sequence

from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.resnet import ResNet as TimmResNet
from torch import nn

BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class SmallResNet(TimmResNet):
    """A ResNet for images of 32 px: one 3x3 convolution at full resolution, no pooling behind it.

    He et al. 2016 (section 4.2) begin so on CIFAR-10; the four stages are those of ImageNet.

    Args:
        layers: blocks of each of the four stages; (2, 2, 2, 2) makes 18 layers.
        channels: widths of the stages, a quarter of the output's of a ``bottleneck``.
        block: ``basic`` or ``bottleneck``.
        num_classes: C.
    """

    def __init__(
        self,
        layers: Sequence[int],
        channels: Sequence[int],
        block: str = "basic",
        num_classes: int = 10,
    ) -> None:
        super().__init__(
            BLOCKS[block],  # type: ignore[arg-type]
            tuple(layers),
            num_classes=num_classes,
            channels=tuple(channels),
            stem_width=64,
        )
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)  # type: ignore[assignment]
        self.maxpool = nn.Identity()  # type: ignore[assignment]
