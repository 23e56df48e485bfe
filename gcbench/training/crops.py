"""What the views of a training image show of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling
from torchvision.transforms import v2

from gcbench.training.data import centre_view, random_view


@dataclass(frozen=True)
class Crops:
    """Squares of an image: the centre, as evaluations see it, and random ones.

    Attributes:
        image_size: side in pixels.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        flips: whether half of the random crops are mirrored.
        resized: crops of random area and aspect instead, and a centre crop of an image whose short
            side is longer by 8 / 7, both bicubic: DINOv2's linear evaluation (facebookresearch/
            dinov2 ``data/transforms.py``).
    """

    image_size: int
    max_short_side: int
    flips: bool = False
    resized: bool = False

    def of(self, image: NDArray[np.uint8], generator: torch.Generator | None) -> NDArray[np.uint8]:
        """The centre crop, or a random one where there is a generator, uint8.

        Args:
            image: ``[H, W]``, or ``[H, W, 3]`` in colour; so is the crop.
        """
        size = self.image_size
        if generator is None:
            return resized_centre(image, size) if self.resized else centre_view(image, size)
        if self.resized:
            crop = random_resized(image, size, generator)
        else:
            crop = random_view(image, size, self.max_short_side, generator)
        mirrored = self.flips and bool(torch.rand((), generator=generator) < 0.5)
        return crop[:, ::-1] if mirrored else crop


def resized_centre(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Short side to 8 / 7 of ``size``, then the central square."""
    whole = v2.Resize(size * 8 // 7, v2.InterpolationMode.BICUBIC)(Image.fromarray(image))
    return np.asarray(v2.CenterCrop(size)(whole))


def random_resized(
    image: NDArray[np.uint8], size: int, generator: torch.Generator
) -> NDArray[np.uint8]:
    """A box of 8 to 100 % of the area, sides 3 : 4 to 4 : 3, resized to a square.

    As torchvision's ``RandomResizedCrop``, but a box that would stick out is cut where that draws
    another.
    """
    draws = torch.rand(4, generator=generator).tolist()
    box = random_box(image.shape[1], image.shape[0], (0.08, 1.0), draws)
    return np.asarray(Image.fromarray(image).resize((size, size), Resampling.BICUBIC, box=box))


def random_box(
    width: int, height: int, scale: tuple[float, float], draws: Sequence[float]
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a part of an image, sides 3 : 4 to 4 : 3.

    Args:
        scale: least and largest share of the image's area.
        draws: from 0 to 1, for area, aspect, left and top.
    """
    area, aspect, left, top = draws
    covered = (scale[0] + (scale[1] - scale[0]) * area) * width * height
    ratio = math.exp((2 * aspect - 1) * math.log(4 / 3))
    w = min(float(width), math.sqrt(covered * ratio))
    h = min(float(height), math.sqrt(covered / ratio))
    x, y = left * (width - w), top * (height - h)
    return x, y, x + w, y + h
