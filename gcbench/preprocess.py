"""Crops and transforms that turn a raw RGB image into a network's input.

Sources: the ADM crops (openai/guided-diffusion ``image_datasets.py``) as used for RandAR, LlamaGen
and DiT by yandex-research/ar-classifier; the validation transform of FoundationVision/VAR.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


def luminance(image: Image) -> Image:
    """ITU-R 601 luminance as RGB with three equal channels; grey images keep their values."""
    return image.convert("L").convert("RGB")


def to_tensor(image: Image) -> torch.Tensor:
    """RGB image to float32 ``[3, H, W]`` in [-1, 1]."""
    import numpy as np
    import torch

    pixels = torch.from_numpy(np.array(image.convert("RGB")))  # [H, W, 3]
    return pixels.permute(2, 0, 1).float() / 127.5 - 1.0


def resize_short_side(image: Image, size: int) -> Image:
    """ADM resizing: halve with a box filter while twice too large, then bicubic to ``size``."""
    from PIL.Image import Resampling

    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Resampling.BOX)
    scale = size / min(image.size)
    return image.resize(
        (round(image.width * scale), round(image.height * scale)), Resampling.BICUBIC
    )


def centre_crop(image: Image, size: int) -> Image:
    """ADM centre crop: short side to ``size``, then the central ``size x size`` square."""
    return _central_square(resize_short_side(image, size), size)


def random_crop(
    image: Image, size: int, generator: torch.Generator, max_short_side: int | None = None
) -> Image:
    """The published training crop: a random short side, then a random ``size x size`` square.

    Draws, in this order: the short side uniformly from ``size .. max_short_side`` (published:
    ``ceil(size / 0.8)``, the default), the top row, the left column.
    """
    longest = math.ceil(size / 0.8) if max_short_side is None else max_short_side
    image = resize_short_side(image, _draw(size, longest, generator))
    top = _draw(0, image.height - size, generator)
    left = _draw(0, image.width - size, generator)
    return image.crop((left, top, left + size, top + size))


def _draw(lowest: int, highest: int, generator: torch.Generator) -> int:
    """An integer of ``lowest..highest``, both included."""
    import torch

    return int(torch.randint(lowest, highest + 1, (1,), generator=generator).item())


def var_validation_transform(image: Image, size: int) -> torch.Tensor:
    """VAR's and A-VARC's: short side to ``round(1.125 * size)`` by Lanczos, central square.

    An image marked as cropped already is scaled as a whole: it would lose its border a second time.

    Returns:
        float32 ``[3, size, size]`` in [-1, 1].
    """
    from PIL.Image import Resampling

    if image.info.get("precropped"):
        return to_tensor(image.resize((size, size), Resampling.LANCZOS))
    short = round(1.125 * size)
    if image.width <= image.height:
        resized = (short, int(short * image.height / image.width))
    else:
        resized = (int(short * image.width / image.height), short)
    return to_tensor(_central_square(image.resize(resized, Resampling.LANCZOS), size, rounded=True))


def _central_square(image: Image, size: int, rounded: bool = False) -> Image:
    # ADM floors half a pixel, torchvision's centre crop rounds it (to even).
    height, width = image.height - size, image.width - size
    top, left = (round(height / 2), round(width / 2)) if rounded else (height // 2, width // 2)
    return image.crop((left, top, left + size, top + size))
