"""Two pictures side by side as one: a many-class problem made from a few-class one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Labels = npt.NDArray[np.int64]


def side_by_side(left: Pixels, right: Pixels, size: int = 32) -> Pixels:
    """A grey ``[size, size]`` picture whose halves are `left` and `right`, both grey ``[H, W]``.

    Each is scaled to half the width and the full height (bicubic, widened when shrinking so that
    nothing aliases). Pillow does so in integers, hence alike on every machine.
    """
    import numpy as np
    from PIL import Image

    half = (size // 2, size)
    halves = [Image.fromarray(p).resize(half, Image.Resampling.BICUBIC) for p in (left, right)]
    return np.concatenate([np.asarray(image) for image in halves], axis=1)


def pair_class(left: Labels, right: Labels, count: int) -> Labels:
    """Classes [n] of pairs whose halves are of `count` classes each: ``count * left + right``."""
    return count * left + right
