"""Decodes image files to RGB, and refuses what is no image with an error that names the file."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow's own limit, a quarter of a gigabyte of RGB; Pillow warns there and fails at twice as much.
MAX_PIXELS = 1024**3 // 4 // 3


def decode(data: bytes, name: str) -> Image:
    """The RGB image of an encoded file, as Pillow's ``convert("RGB")`` gives it.

    That is also what torchvision's ``ImageFolder`` and the published evaluation scripts read: CMYK
    is converted, a palette is looked up, transparency is dropped (not composited), and an EXIF
    orientation is not applied. One exception: 16-bit grey is scaled to 8 bits (its low byte is
    dropped), where Pillow would clip nearly all of it to white.

    Args:
        data: the file's bytes.
        name: the file's path, for messages.

    Raises:
        OSError: the bytes are not a whole image of a format that Pillow knows, or the image has
            more than `MAX_PIXELS` pixels (a decompression bomb).
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(
                    f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}"
                )
            image.load()
            return _rgb(image)
    # What Pillow's parsers raise on damaged files goes well beyond OSError.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        TypeError,
        IndexError,
        KeyError,
        OverflowError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not an image of a known format"
        raise OSError(f"{name} cannot be decoded: {reason}") from error


def _rgb(image: Image) -> Image:
    if image.mode.startswith("I"):
        return _grey_16_bit(image).convert("RGB")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        # The same colours by a detour on which Pillow does not warn about the transparency.
        image = image.convert("RGBA")
    return image.convert("RGB")


def _grey_16_bit(image: Image) -> Image:
    import numpy as np
    from PIL import Image as pil

    values = np.asarray(image)  # [H, W]
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(f"grey values {values.min()}..{values.max()} do not fit 16 bits")
    return pil.fromarray((values >> 8).astype(np.uint8))
