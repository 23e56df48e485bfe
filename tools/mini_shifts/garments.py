"""T-shirts and dresses of Fashion-MNIST by the brightness of the garment.

The groups of the training images have about the shares of CelebA's (44, 41, 14 and 1 %, Sagawa et
al. 2020, "Distributionally Robust Neural Networks"), with dark dresses where blond men are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gcbench._plugins.benchmarks.mini_shifts import GroupedSet
from gcbench.training.data import Split, read_split

FASHION_LABELS = (0, 3)  # T-shirt/top, Dress
GROUND = 25  # brighter pixels belong to the garment
BRIGHT = 170  # about the median over the training images of the two classes
# Images per group (bright, dress).
TRAIN = {(0, 0): 820, (1, 0): 880, (0, 1): 20, (1, 1): 280}
VAL = {(0, 0): 82, (1, 0): 88, (0, 1): 2, (1, 1): 28}
TEST = dict.fromkeys(TRAIN, 200)

Groups = dict[tuple[int, int], int]


def garment_sets(folder: Path) -> dict[str, GroupedSet]:
    """The three splits, from the folder of Fashion-MNIST's four IDX files."""
    train, test = read_split(folder, "train"), read_split(folder, "test")
    first = dict.fromkeys(TRAIN, 0)
    return {
        "mini-celeba-train": grouped(train, take(train, TRAIN, start=first), "train"),
        "mini-celeba-val": grouped(train, take(train, VAL, start=TRAIN), "train"),
        "mini-celeba": grouped(test, take(test, TEST, start=first), "t10k"),
    }


def take(split: Split, counts: Groups, start: Groups) -> npt.NDArray[np.int64]:
    """Rows, ascending: of each group the images `start .. start + count - 1` in file order."""
    bright = brightness(split.images) >= BRIGHT
    rows = [
        np.flatnonzero((split.labels == FASHION_LABELS[y]) & (bright == bool(light)))[
            start[light, y] : start[light, y] + count
        ]
        for (light, y), count in counts.items()
    ]
    return np.sort(np.concatenate(rows))


def grouped(split: Split, rows: npt.NDArray[np.int64], prefix: str) -> GroupedSet:
    """The images of some rows with their two groups."""
    images = split.images[rows]
    labels = (split.labels[rows] == FASHION_LABELS[1]).astype(np.int64)
    bright = (brightness(images) >= BRIGHT).astype(int)
    return GroupedSet(
        images=images,
        labels=labels,
        ids=tuple(f"{prefix}-{row:05d}" for row in rows.tolist()),
        groups={
            "bright": tuple(map(str, bright.tolist())),
            "y": tuple(map(str, labels.tolist())),
        },
    )


def brightness(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean value, 0..255, of the pixels of the garment in each image [N, H, W]: [N]."""
    garment = images > GROUND
    total = np.where(garment, images, 0).sum(axis=(1, 2), dtype=np.int64)
    mean: npt.NDArray[np.float64] = total / garment.sum(axis=(1, 2))
    return mean
