"""Pairs of garments: a 100-class problem from the embedded images, for strategies that need many.

No benchmark of the paper stands behind it, so it has a suite of its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from gcbench.bench import Benchmark, BenchmarkFamily, LabelSpace
from gcbench.pairs import pair_class, side_by_side

from .mini import FASHION_10, ImageSet, read_embedded

FASHION_PAIRS_100 = LabelSpace(
    "fashion-pairs-100",
    tuple(f"{left} | {right}" for left in FASHION_10.labels for right in FASHION_10.labels),
)


class MiniPairs(BenchmarkFamily):
    """The images of mini-val, each once as a left half and once as a right half."""

    suite: ClassVar[str] = "pairs"
    names: ClassVar[dict[str, str]] = {
        "mini-pairs": "two garments of mini-val side by side: 100 classes, 20 images per class",
    }

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        """The pairs; their halves ship with gcbench, so `data_root` is not read.

        Raises:
            GcbenchError: the embedded file is damaged.
        """
        pairs = paired(read_embedded("mini-val"))
        return pairs.benchmark(name, self.suite, FASHION_PAIRS_100)


def paired(singles: ImageSet) -> ImageSet:
    """Each image once on the left and once on the right, every pair of classes equally often.

    Within its class an image is ranked by a hash of its id. The left half of class (l, r)'s i-th
    pair is the image of rank ``10 i + r`` of l, its right half that of rank ``10 i + l`` of r, half
    a class further on, so that no image meets itself. Pairs come rank by rank: each hundred holds
    all classes.
    """
    import numpy as np

    count = len(FASHION_10)
    ranked = [_ranked(singles, label) for label in range(count)]
    size = len(ranked[0])
    rows = [
        (ranked[a][count * i + b], ranked[b][(count * i + a + size // 2) % size])
        for i in range(size // count)
        for a in range(count)
        for b in range(count)
    ]
    halves = np.array(rows)  # [N, 2]
    return ImageSet(
        images=np.stack([side_by_side(*singles.images[row]) for row in halves]),
        labels=pair_class(singles.labels[halves[:, 0]], singles.labels[halves[:, 1]], count),
        ids=tuple(f"{singles.ids[a]}+{singles.ids[b]}" for a, b in rows),
    )


def _ranked(singles: ImageSet, label: int) -> list[int]:
    """Rows of a class by the hash of their id."""

    def rank(row: int) -> str:
        return hashlib.sha256(f"pairs\0{singles.ids[row]}".encode()).hexdigest()

    return sorted((row for row, y in enumerate(singles.labels.tolist()) if y == label), key=rank)
