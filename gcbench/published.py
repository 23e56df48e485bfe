"""The paper's evaluation script, reproduced where it differs from ours: its one random stream and
its accuracies over disjoint groups of trials.

Source: yandex-research/ar-classifier ``scripts/RandAR_classifier.py`` and ``calc_statistics``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import GcbenchError
from gcbench.scores import rule_named

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


def sequential_draws(
    images: Sequence[Image], trials: int, steps: int, size: int, seed: int = 42
) -> Iterator[tuple[Image, torch.Tensor]]:
    """Crop and token order of every trial when the script augments: images outer, trials inner.

    All draws come from one generator: the crop's three numbers, then the permutation. Hence what an
    image gets depends on the images before it.

    Args:
        images: RGB images in evaluation order.
        trials: trials per image.
        steps: tokens per image.
        size: side of the crops in pixels.
        seed: of the stream.

    Yields:
        the crop, and its order as int64 ``[steps]``.
    """
    import torch

    from gcbench.preprocess import random_crop

    generator = torch.Generator().manual_seed(seed)
    for image in images:
        for _ in range(trials):
            crop = random_crop(image, size, generator)
            yield crop, torch.randperm(steps, generator=generator)


def grouped_accuracies(
    scores: NDArray[np.floating],
    labels: NDArray[np.int64],
    classes: NDArray[np.int64],
    trials: int,
    rule: str,
) -> NDArray[np.float64]:
    """Accuracy of ``rule`` over each disjoint group of ``trials`` consecutive trials.

    Trials left over after the last full group are dropped, as published.

    Args:
        scores: ``[n, K, C]``.
        labels: ``[n]``, in the numbering of ``classes``.
        classes: ``[C]`` class of each column.
        trials: size of a group.
        rule: name of a rule of :mod:`gcbench.scores`.

    Returns:
        ``[K // trials]``.

    Raises:
        GcbenchError: a group would be empty or larger than K.
    """
    count = scores.shape[1]
    if not 1 <= trials <= count:
        raise GcbenchError(f"groups of {trials} trials asked of scores that hold {count}")
    groups = count // trials
    grouped = scores[:, : groups * trials].reshape(len(scores), groups, trials, -1)
    predicted = classes[rule_named(rule)(grouped).argmax(axis=-1)]  # [n, groups]
    return (predicted == labels[:, None]).mean(axis=0, dtype=np.float64)
