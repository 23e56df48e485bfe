"""Training images encoded once: several augmented views of each, kept in the work folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcbench.streams import stream
from gcbench.training.data import Split, as_rgb, centre_view, random_view
from gcbench.training.tasks import Echo

_ENCODED_AT_ONCE = 256


@dataclass(frozen=True)
class Views:
    """Encodes views; files are kept under a digest of all that made them.

    Attributes:
        kind: what they are encoded to, such as ``tokens``: the beginning of the files' names.
        encode: RGB in [-1, 1] ``[B, 3, H, W]`` to what is kept, ``[B, ...]``.
        encoder: sha256 of the encoder's weights.
        image_size: side in pixels.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        seed: of the random crops.
        work: the folder.
        echo: told of every view that is encoded.
    """

    kind: str
    encode: Callable[[Tensor], Tensor]
    encoder: str
    image_size: int
    max_short_side: int
    seed: int
    work: Path
    echo: Echo

    def of(self, split: Split, count: int) -> NDArray[Any]:
        """``count`` views of each image, the first its centre crop, ``[count, n, ...]``."""
        made_of = (
            split.digest(), self.encoder, self.image_size, self.max_short_side, self.seed,
        )  # fmt: skip
        name = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
        return np.stack([self._view(split, f"{name}-{view}", view) for view in range(count)])

    def _view(self, split: Split, name: str, view: int) -> NDArray[Any]:
        file = self.work / f"{self.kind}-{name}.npy"
        if file.exists():
            loaded: NDArray[Any] = np.load(file, allow_pickle=False)
            return loaded
        self.echo(f"{self.kind} of view {view} of {len(split.images)} images")
        size, longest = self.image_size, self.max_short_side
        generator = stream("view", self.seed, view)
        parts = []
        for start in range(0, len(split.images), _ENCODED_AT_ONCE):
            images = split.images[start : start + _ENCODED_AT_ONCE]
            crops = [
                random_view(image, size, longest, generator) if view else centre_view(image, size)
                for image in images
            ]
            with torch.inference_mode():
                parts.append(self.encode(as_rgb(torch.from_numpy(np.stack(crops)))).numpy())
        encoded = np.concatenate(parts)  # [n, ...]
        self.work.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        with partial.open("wb") as stream_:
            np.save(stream_, encoded)
        partial.replace(file)
        return encoded
