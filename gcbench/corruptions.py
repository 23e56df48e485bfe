"""ImageNet-C's gaussian noise and JPEG compression, one random stream per image.

Severities as in Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (ICLR 2019), `make_imagenet_c.py`.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from gcbench.errors import GcbenchError
from gcbench.streams import stream_seed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

SEVERITIES = (1, 2, 3, 4, 5)
GAUSSIAN_SIGMA = (0.08, 0.12, 0.18, 0.26, 0.38)  # on intensities in [0, 1]
JPEG_QUALITY = (25, 18, 15, 10, 7)


def gaussian_noise(image: Pixels, severity: int, sample_id: str) -> Pixels:
    """Adds gaussian noise, clips, and truncates to 8 bits as ImageNet-C does.

    The noise depends on nothing but the severity and `sample_id`, so it is the same whichever
    other images are corrupted before.

    Args:
        image: uint8, [H, W] or [H, W, 3].
        severity: 1 to 5.
        sample_id: names the image's random stream.

    Returns:
        uint8 of the same shape.

    Raises:
        GcbenchError: the severity is not 1 to 5.
    """
    import numpy as np

    sigma = GAUSSIAN_SIGMA[_index(severity)]
    rng = np.random.Generator(np.random.PCG64(stream_seed("gcbench", "gauss", severity, sample_id)))
    noisy = image / 255 + rng.normal(scale=sigma, size=image.shape)
    return (noisy.clip(0, 1) * 255).astype(np.uint8)


def jpeg_compression(image: Pixels, severity: int) -> Pixels:
    """Compresses as JPEG with Pillow and decodes again.

    Args:
        image: uint8, [H, W] or [H, W, 3].
        severity: 1 to 5.

    Returns:
        uint8 of the same shape.

    Raises:
        GcbenchError: the severity is not 1 to 5.
    """
    import numpy as np
    from PIL import Image

    quality = JPEG_QUALITY[_index(severity)]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _index(severity: int) -> int:
    if severity not in SEVERITIES:
        raise GcbenchError(f"severity {severity} is unknown", hint="use 1, 2, 3, 4 or 5")
    return severity - 1
