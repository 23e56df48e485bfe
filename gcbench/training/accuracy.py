"""The accuracies that an evaluation in training reports."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gcbench.metrics import accuracy, class_balanced_accuracy, worst_group_accuracy
from gcbench.training.data import Split


def accuracies(predicted: NDArray[np.integer], held_out: Split) -> dict[str, float]:
    """``accuracy``, ``balanced_accuracy`` and, of data with groups, ``worst_group_accuracy``.

    Args:
        predicted: classes ``[m]`` of the first ``m`` held-out images.
    """
    seen = held_out.cut(0, len(predicted))
    found = {
        "accuracy": accuracy(predicted, seen.labels),
        "balanced_accuracy": class_balanced_accuracy(predicted, seen.labels),
    }
    if seen.groups is not None:
        groups = {"group": seen.groups}
        found["worst_group_accuracy"] = worst_group_accuracy(predicted, seen.labels, groups)
    return found
