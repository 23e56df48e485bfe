"""The sets that are cut from Fashion-MNIST's test split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gcbench._plugins.benchmarks.mini import FASHION_10, ImageSet, corrupt
from gcbench.training.data import Split, as_rgb, centre_view, read_split

VAL_PER_CLASS = 200
HARD_PER_CLASS = 50
REFERENCE = "mini-reference"


def fashion_sets(folder: Path) -> dict[str, ImageSet]:
    """mini-val, mini-a and the two corrupted sets, from the folder of the four IDX files."""
    test = read_split(folder, "test")
    everything = np.arange(len(test.labels))
    val = _take(test, first_per_class(everything, test.labels, VAL_PER_CLASS))
    wrong = everything[reference_predictions(test) != test.labels]
    return {
        "mini-val": val,
        "mini-a": _take(test, first_per_class(wrong, test.labels, HARD_PER_CLASS)),
        "mini-c-gauss": corrupt(val, "gauss", 3),
        "mini-c-jpeg": corrupt(val, "jpeg", 3),
    }


def first_per_class(
    rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], count: int
) -> list[int]:
    """The first `count` of `rows` in each class, all there are where a class has fewer, in order.

    Args:
        rows: ascending indices into `labels`.
        labels: [N].
        count: images per class.
    """
    kept: list[int] = []
    seen = [0] * len(FASHION_10)
    for row in rows.tolist():
        if seen[labels[row]] < count:
            seen[labels[row]] += 1
            kept.append(row)
    return kept


def reference_predictions(split: Split) -> npt.NDArray[np.int64]:
    """What the shipped reference CNN answers for every image, [N], in fp32 on the CPU."""
    import torch

    from gcbench.checkpoint import Shipped, load_into, read_state_dict
    from gcbench.nets.mini_cnn import MiniCNN
    from gcbench.training.classifier import Options

    file, sha256 = Shipped(REFERENCE).locate()
    card = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    network = MiniCNN(**card["recipe"]["model"])
    load_into(network, read_state_dict(file, sha256), file)
    network.float().eval()
    size = Options(**card["recipe"]["options"]).image_size
    views = np.stack([centre_view(image, size) for image in split.images])  # [N, size, size]
    with torch.inference_mode():
        answers = [network(as_rgb(part)).argmax(1) for part in torch.from_numpy(views).split(500)]
    predictions: npt.NDArray[np.int64] = torch.cat(answers).numpy()
    return predictions


def _take(split: Split, rows: list[int]) -> ImageSet:
    return ImageSet(
        split.images[rows], split.labels[rows], tuple(f"t10k-{row:05d}" for row in rows)
    )
