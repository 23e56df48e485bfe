"""What is learned from: Fashion-MNIST's published files, or the parts of a mini shift.

Fashion-MNIST is Xiao et al. 2017, zalandoresearch/fashion-mnist (MIT licence): 60,000 training and
10,000 test images, grey, 28 x 28, ten balanced classes, in gzip-compressed IDX files. The mini
shifts are grey images of 28 x 28 pixels too; they ship with gcbench.
"""

from __future__ import annotations

import gzip
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gcbench._plugins.benchmarks import mini_shifts  # type: ignore[import-untyped]
from gcbench.errors import GcbenchError
from gcbench.pairs import pair_class, side_by_side
from gcbench.preprocess import centre_crop, random_crop
from gcbench.training.recipe import Recipe

FASHION_MNIST = "fashion-mnist"
DATA = (FASHION_MNIST, *mini_shifts.LABEL_SPACES)
FILES = {"train": "train", "test": "t10k"}
CLASSES = 10


@dataclass(frozen=True)
class Split:
    """Images and labels of one split in file order.

    Attributes:
        images: uint8 ``[n, H, W]``, grey.
        labels: int64 ``[n]``.
        groups: int64 ``[n]``, which of the groups that its benchmarks tell apart each image
            belongs to; None where they tell none apart.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    @property
    def classes(self) -> int:
        """How many classes there are, the last of them among the labels."""
        return int(self.labels.max()) + 1

    def digest(self) -> str:
        """sha256 over pixels, then labels as bytes."""
        sha = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        sha.update(self.labels.astype(np.uint8).tobytes())
        return sha.hexdigest()

    def cut(self, start: int, stop: int) -> Split:
        """The images ``start .. stop - 1``."""
        groups = None if self.groups is None else self.groups[start:stop]
        return Split(self.images[start:stop], self.labels[start:stop], groups)

    def followed_by(self, other: Split) -> Split:
        """Both splits as one, without groups."""
        return Split(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.labels, other.labels]),
        )


def training_splits(recipe: Recipe, data_root: Path) -> tuple[Split, Split]:
    """The images that a recipe learns from, and those held out that it is only evaluated on.

    Held out are the last training images of Fashion-MNIST, as many as the recipe says, and the
    validation part of a mini shift, which is as its training images are; of full-size sets see
    :func:`gcbench.training.photos.photo_splits`.

    Raises:
        GcbenchError: unknown data, missing or damaged files, fewer images than a batch needs, or
            more classes than the network has.
    """
    if recipe.data == FASHION_MNIST:
        full = read_split(data_root / FASHION_MNIST)
        kept = max(0, len(full.images) - recipe.held_out)
        train, held_out = full.cut(0, kept), full.cut(kept, len(full.images))
    elif recipe.data in DATA:
        train, held_out = (read_shift(recipe.data, part) for part in ("train", "val"))
    else:
        from gcbench.training.photos import photo_splits

        train, held_out = photo_splits(recipe, data_root)
    check_splits(recipe, train, held_out)
    return train, held_out


def check_splits(recipe: Recipe, train: Split, held_out: Split) -> None:
    """Raises GcbenchError for fewer images than a batch has, or more classes than the network."""
    if len(train.images) < recipe.batch_size:
        raise GcbenchError(
            f"recipe {recipe.name}: {len(train.images)} training images are left beside "
            f"{len(held_out.images)} held-out ones, a batch needs {recipe.batch_size}"
        )
    stated = recipe.model.get("num_classes", train.classes)
    if stated < train.classes:
        raise GcbenchError(
            f"recipe {recipe.name}: num_classes is {stated}, {recipe.data} has {train.classes}",
            hint=f"set num_classes = {train.classes} in [model]",
        )


def read_shift(name: str, part: str) -> Split:
    """The part ``train`` or ``val`` of a mini shift, grouped as the worst group of it is sought.

    Raises:
        GcbenchError: the embedded file is damaged.
    """
    content = mini_shifts.read_split(f"{name}-{part}")
    metrics = (metric for bench, metric in mini_shifts.METRICS.items() if bench.startswith(name))
    fields = next((metric.fields for metric in metrics if metric.fields), ())
    groups = None
    if fields:
        rows = list(zip(*(content.groups[field] for field in fields), strict=True))
        index = {group: i for i, group in enumerate(sorted(set(rows)))}
        groups = np.array([index[row] for row in rows], np.int64)
    return Split(content.images, content.labels, groups)


def read_split(folder: Path, split: str = "train") -> Split:
    """Read ``train`` or ``test`` from a folder with the four published IDX files.

    Raises:
        GcbenchError: a file is missing, truncated or of another format.
    """
    images = _read_idx(folder / f"{FILES[split]}-images-idx3-ubyte.gz", axes=3)
    labels = _read_idx(folder / f"{FILES[split]}-labels-idx1-ubyte.gz", axes=1)
    if len(images) != len(labels):
        raise GcbenchError(f"{folder}: {len(images)} {split} images but {len(labels)} labels")
    return Split(images, labels.astype(np.int64))


def _read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: magic ``0 0 8 axes``, big-endian lengths, then the values."""
    hint = "run `gcbench fetch fashion-mnist`"
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise GcbenchError(f"{path} is missing", hint=hint) from None
    except (OSError, EOFError) as error:
        raise GcbenchError(f"{path} is no complete gzip file: {error}", hint=hint) from None
    header = 4 + 4 * axes
    if raw[:4] != bytes((0, 0, 8, axes)):
        raise GcbenchError(f"{path} starts with {raw[:4].hex(' ')}, not an IDX file", hint=hint)
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, header, 4)]
    if len(raw) != header + math.prod(shape):
        raise GcbenchError(
            f"{path} has {len(raw) - header} values, its header says {shape}", hint=hint
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def paired(split: Split, size: int, generator: torch.Generator) -> Split:
    """Every image once as a left half, once as a right half: ``[n, size, size]``, 100 classes."""
    partner = torch.randperm(len(split.labels), generator=generator).numpy()
    halves = zip(split.images, split.images[partner], strict=True)
    return Split(
        np.stack([side_by_side(left, right, size) for left, right in halves]),
        pair_class(split.labels, split.labels[partner], CLASSES),
    )


def rows_of_uniform_classes(split: Split, count: int, generator: torch.Generator) -> torch.Tensor:
    """Rows ``[count]`` drawn with replacement, every class as likely as any other.

    Source: facebookresearch/BalancingGroups, method rwy (Idrissi et al. 2022).
    """
    sizes = np.bincount(split.labels)  # [C]
    weights = torch.from_numpy(1.0 / sizes[split.labels])  # [n]
    return torch.multinomial(weights, count, replacement=True, generator=generator)


def centre_view(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The ADM centre crop that is evaluated, uint8 ``[size, size]``, in colour with channels."""
    return np.asarray(centre_crop(Image.fromarray(image), size))


def random_view(
    image: NDArray[np.uint8], size: int, max_short_side: int, generator: torch.Generator
) -> NDArray[np.uint8]:
    """The published random crop, uint8 ``[size, size]``, in colour with channels."""
    return np.asarray(random_crop(Image.fromarray(image), size, generator, max_short_side))


def as_rgb(images: torch.Tensor) -> torch.Tensor:
    """uint8 grey ``[B, H, W]`` or RGB ``[B, H, W, 3]`` to float32 in [-1, 1], ``[B, 3, H, W]``."""
    scaled = images.float() / 127.5 - 1.0
    if images.ndim == 4:
        return scaled.permute(0, 3, 1, 2)
    return scaled[:, None].expand(-1, 3, -1, -1)
