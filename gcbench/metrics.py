"""Accuracies of predictions, per class and per group, and errors of images. Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import GcbenchError

Labels = NDArray[np.integer]


def accuracy(predictions: Labels, labels: Labels) -> float:
    """Share of samples whose prediction [N] equals the label [N].

    Raises:
        GcbenchError: the two differ in shape, or there are no samples.
    """
    return float(_correct(predictions, labels).mean())


def top_k_accuracy(scores: NDArray[np.floating], classes: Labels, labels: Labels, k: int) -> float:
    """Share of samples whose label is among the k best-scored classes.

    Args:
        scores: [N, C], higher is better; ties go to the class that comes first, as in argmax.
        classes: [C] the label-space index that each column stands for.
        labels: [N] label-space indices.

    Raises:
        GcbenchError: shapes do not fit, there are no samples, or k is not in 1..C.
    """
    if scores.shape != (len(labels), len(classes)):
        raise GcbenchError(
            f"scores have shape {scores.shape}, expected [{len(labels)}, {len(classes)}]"
        )
    if not 1 <= k <= len(classes):
        raise GcbenchError(f"asked for top-{k} of {len(classes)} classes")
    if len(labels) == 0:
        raise GcbenchError("an accuracy needs at least one sample")
    best = np.asarray(classes)[np.argsort(-scores, axis=1, kind="stable")[:, :k]]  # [N, k]
    return float((best == np.asarray(labels)[:, None]).any(axis=1).mean())


def per_class_accuracy(predictions: Labels, labels: Labels) -> dict[int, float]:
    """Accuracy (recall) of every class that occurs among the labels, ascending."""
    correct = _correct(predictions, labels)
    return {int(c): float(correct[labels == c].mean()) for c in np.unique(labels)}


def class_balanced_accuracy(predictions: Labels, labels: Labels) -> float:
    """Mean of the per-class accuracies: every class counts alike, however many samples it has."""
    return float(np.mean(list(per_class_accuracy(predictions, labels).values())))


def group_accuracy(
    predictions: Labels, labels: Labels, groups: Mapping[str, NDArray[np.generic]]
) -> dict[tuple[object, ...], float]:
    """Accuracy of every group that has samples.

    Args:
        groups: field -> [N] value per sample. A group is a combination of one value per field
            (male x label, say); combinations without samples do not occur in the result.

    Raises:
        GcbenchError: no field is given, or a field does not have one value per sample.
    """
    correct = _correct(predictions, labels)
    if not groups:
        raise GcbenchError("group accuracy needs at least one field")
    for field, values in groups.items():
        if len(values) != len(correct):
            raise GcbenchError(
                f"group field {field!r} has {len(values)} values, expected {len(correct)}"
            )
    members: dict[tuple[object, ...], list[bool]] = {}
    for hit, *key in zip(correct.tolist(), *(v.tolist() for v in groups.values()), strict=True):
        members.setdefault(tuple(key), []).append(hit)
    return {key: float(np.mean(hits)) for key, hits in members.items()}


def worst_group_accuracy(
    predictions: Labels,
    labels: Labels,
    groups: Mapping[str, NDArray[np.generic]],
    ignore: Collection[object] = (),
) -> float:
    """The lowest group accuracy, over groups that have samples.

    Matches the WILDS evaluation: CelebA takes the worst of attribute x label; FMoW the worst year,
    or the worst region without "Other".

    Args:
        groups: field -> [N] value per sample, combined as in `group_accuracy`.
        ignore: groups with any of these values do not count.

    Raises:
        GcbenchError: no group is left, or the arguments do not fit (see `group_accuracy`).
    """
    found = group_accuracy(predictions, labels, groups)
    kept = [value for key, value in found.items() if not set(key) & set(ignore)]
    if not kept:
        raise GcbenchError(f"no group has samples once {sorted(map(str, ignore))} are ignored")
    return min(kept)


def psnr_db(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error on pixels in [0, 1]."""
    return -10 * math.log10(error) if error > 0 else math.inf


def _correct(predictions: Labels, labels: Labels) -> NDArray[np.bool_]:
    if predictions.shape != labels.shape or labels.ndim != 1:
        raise GcbenchError(
            f"predictions have shape {predictions.shape}, labels {labels.shape}: expected [N] twice"
        )
    if len(labels) == 0:
        raise GcbenchError("an accuracy needs at least one sample")
    return np.asarray(predictions == labels)
