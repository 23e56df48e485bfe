"""What the convolutional tokenizers share: the blocks of VQGAN and the nearest-code search.

Parameter names are those of LlamaGen and VAR, which both build on VQGAN (Esser et al. 2021).
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class PixelRange:
    """What a tokenizer reads and draws; neither kind complains about the other's images."""

    reads: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def pixels(self, images: Tensor) -> Tensor:
        """RGB in [-1, 1] to the range that the tokenizer reads."""
        low, high = self.reads
        return images if (low, high) == (-1.0, 1.0) else low + (images + 1) / 2 * (high - low)

    def images(self, pixels: Tensor) -> Tensor:
        """What the tokenizer draws to RGB in [-1, 1], unclamped."""
        low, high = self.reads
        return pixels if (low, high) == (-1.0, 1.0) else (pixels - low) / (high - low) * 2 - 1


def noised(latent: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
    """Latents before quantisation, perturbed: ``(1 - t) z + t eps`` (paper section 6.4).

    Args:
        latent: z ``[B, e, h, w]``.
        strength: t in [0, 1], ``[B]``.
        noise: eps, standard normal, ``[B, e, h, w]``.
    """
    t = strength[:, None, None, None]
    return (1 - t) * latent + t * noise


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups, epsilon 1e-6; ``channels`` must be a multiple of 32."""
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Norm, swish, 3x3 convolution, twice; a 1x1 shortcut where the width changes."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1 = group_norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = group_norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        y: Tensor = self.nin_shortcut(x) + h
        return y


class Downsample(nn.Module):
    """Halve the resolution: pad right and bottom by one, 3x3 convolution with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return y


class Upsample(nn.Module):
    """Double the resolution: nearest neighbour, then 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


def nearest_code(features: Tensor, codes: Tensor) -> Tensor:
    """Index of the row of ``codes`` nearest to each feature; ties go to the lowest index.

    Args:
        features: ``[B, n, e]``.
        codes: ``[V, e]``.

    Returns:
        int64 ``[B, n]``, found in float32 by squared Euclidean distance.
    """
    features, codes = features.float(), codes.float()
    distance = (
        features.square().sum(2, keepdim=True) + codes.square().sum(1) - 2 * (features @ codes.T)
    )  # [B, n, V]
    return distance.argmin(dim=2)
