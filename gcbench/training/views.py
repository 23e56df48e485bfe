"""Training images encoded once: several augmented views of each, in shards on disk.

Training reads the shards, mapped into memory, and no image. A shard is written in one step and
kept; processes on any number of machines that see the folder share out those that are missing by
their locks, and one that dies loses at most the shard at hand.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gcbench.engine.devices import usable_cores
from gcbench.engine.locks import exclusive
from gcbench.errors import GcbenchError
from gcbench.store import atomic_path, write_json
from gcbench.streams import stream
from gcbench.training.crops import Crops
from gcbench.training.data import Split, as_rgb
from gcbench.training.tasks import Workplace, encoding_device

SHARD = 2048  # images
_POLL_SECONDS = 0.5
# Bounds what an encoder is given at once: 256 images of 32 px, 32 of 256 px.
_MOST_IMAGES, _MOST_PIXELS = 256, 2**21


class Encoded:
    """What images were encoded to: ``encoded[view, row]`` for tensors of views and rows ``[B]``."""

    def __init__(self, shards: list[list[Tensor]]) -> None:
        self._shards = shards  # of each view, in the order of the images, [m, ...]

    def __len__(self) -> int:
        """How many views there are of every image."""
        return len(self._shards)

    def __getitem__(self, place: tuple[Tensor, Tensor]) -> Tensor:
        view, row = (index.tolist() for index in place)
        pairs = zip(view, row, strict=True)
        return torch.stack([self._shards[v][r // SHARD][r % SHARD] for v, r in pairs])

    def view(self, index: int) -> Tensor:
        """All of one view, ``[n, ...]``."""
        return torch.cat(self._shards[index])


def joined(parts: Iterable[Encoded]) -> Encoded:
    """The views of all parts, of equally many images each."""
    return Encoded([shards for part in parts for shards in part._shards])


@dataclass(frozen=True)
class Views:
    """Encodes views; files are kept under a digest of all that made them.

    Attributes:
        kind: what they are encoded to, such as ``tokens``: the beginning of the folder's name.
        encode: RGB in [-1, 1] ``[B, 3, H, W]`` to what is kept, ``[B, ...]``.
        encoder: name and sha256 of the encoder's weights.
        crops: what the views show of an image.
        seed: of the random crops.
        place: the folder that holds them, and what is told of every shard that is encoded here.
        threads: that decode and crop images; by default one per core.
    """

    kind: str
    encode: Callable[[Tensor], Tensor]
    encoder: dict[str, str]
    crops: Crops
    seed: int
    place: Workplace
    threads: int = field(default_factory=lambda: len(usable_cores()))

    def of(self, split: Split, count: int, first: int | None = None) -> Encoded:
        """``count`` views of each image, the first its centre crop, the others drawn.

        The draws of a view are named by (seed, view, row of the image), so neither shards nor
        processes can change them.

        Args:
            first: encode only so many images, the first ones.

        Raises:
            GcbenchError: an image cannot be decoded, or the folder cannot be written.
        """
        size = len(split.labels) if first is None else min(first, len(split.labels))
        made_of: dict[str, Any] = {
            "images": split.digest(),
            "first": size,
            "encoder": self.encoder,
            "crops": asdict(self.crops),
            "seed": self.seed,
            "shard": SHARD,
        }
        name = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
        folder = self.place.work / f"{self.kind}-{name}"
        pieces = range(0, size, SHARD)
        files = [
            [folder / f"view-{view:02d}-{start // SHARD:05d}.safetensors" for start in pieces]
            for view in range(count)
        ]
        wanted = {
            file: partial(self._encoded, split, view, range(start, min(start + SHARD, size)))
            for view, of_view in enumerate(files)
            for file, start in zip(of_view, pieces, strict=True)
        }
        if not all(file.exists() for file in wanted):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "manifest.json", made_of)
            self._write(wanted)
        return Encoded([[_mapped(file) for file in of_view] for of_view in files])

    def _write(self, wanted: Mapping[Path, Callable[[], Tensor]]) -> None:
        """Write the files that are missing, until this and other processes have written all."""
        number = {file: n for n, file in enumerate(wanted, start=1)}
        left = [file for file in wanted if not file.exists()]
        while left:
            busy = []
            for file in left:
                if file.exists():
                    continue
                with exclusive(file.with_suffix(".lock"), wait=False) as mine:
                    if not mine:
                        busy.append(file)
                        continue
                    if not file.exists():
                        self.place.echo(f"{self.kind}: shard {number[file]} of {len(wanted)}")
                        values = wanted[file]()
                        with atomic_path(file) as temporary:
                            save_file({"values": values}, temporary)
                    file.with_suffix(".lock").unlink(missing_ok=True)
            if busy:
                time.sleep(_POLL_SECONDS)
            left = [file for file in busy if not file.exists()]

    def _encoded(self, split: Split, view: int, rows: range) -> Tensor:
        """A view of the images of a shard, ``[m, ...]``."""
        device = encoding_device()
        at_once = max(1, min(_MOST_IMAGES, _MOST_PIXELS // self.crops.image_size**2))
        parts = []
        with ThreadPoolExecutor(self.threads) as pool:
            crops = pool.map(partial(self._crop, split, view), rows)
            try:
                for images in _batched(crops, at_once):
                    with torch.inference_mode():
                        found = self.encode(as_rgb(torch.from_numpy(images).to(device)))
                    parts.append(found.cpu())
            finally:
                pool.shutdown(cancel_futures=True)  # what an error or Ctrl-C leaves to be cropped
        return torch.cat(parts).contiguous()

    def _crop(self, split: Split, view: int, row: int) -> NDArray[np.uint8]:
        generator = stream("view", self.seed, view, row) if view else None
        return self.crops.of(split.images[row], generator)


def _mapped(file: Path) -> Tensor:
    try:
        return load_file(file)["values"]
    except (SafetensorError, KeyError, OSError) as error:
        raise GcbenchError(
            f"{file} is damaged ({error})",
            hint="delete it and run gcbench extract again: only it is made anew",
        ) from error


def _batched(crops: Iterator[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    while batch := list(islice(crops, size)):
        yield np.stack(batch)  # [B, H, W] or [B, H, W, 3]
