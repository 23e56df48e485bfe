"""A small convolutional classifier for 32 px images: the reference model behind ``mini-a``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MiniCNN(nn.Module):
    """Three 3x3 convolutions with batch norm and pooling, then a linear layer.

    Args:
        width: channels of the first convolution; doubled by each of the next two.
        num_classes: C.
        in_channels: image channels.
    """

    def __init__(self, width: int = 32, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        widths = (in_channels, width, 2 * width, 4 * width)
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, bias=False) for i in range(3)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:])
        self.head = nn.Linear(4 * width, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """RGB in [-1, 1] ``[B, in, 32, 32]`` to what the last layer reads, ``[B, 4 * width]``."""
        x = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return x.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """RGB in [-1, 1] ``[B, in, 32, 32]`` to logits ``[B, C]``."""
        y: Tensor = self.head(self.features(images))
        return y
