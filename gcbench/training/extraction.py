"""Everything that a recipe's task makes of its images before the first step, made once.

A folder then holds the encoded views in shards, and what training has to know of the images beside
them: labels, groups and digests. ``gcbench train RECIPE --features DIR`` reads that and no image.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from gcbench.errors import GcbenchError
from gcbench.store import atomic_path
from gcbench.training.data import Split, check_splits, training_splits
from gcbench.training.photos import Photos, PhotoSplit
from gcbench.training.recipe import ENCODED_TASKS, Recipe
from gcbench.training.tasks import Workplace, build_task

PARTS = ("train", "held_out")


@dataclass(frozen=True)
class Absent(Photos):
    """Images that were here when they were encoded."""

    count: int
    folder: Path

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        raise GcbenchError(
            f"{self.folder} does not hold all that this recipe reads",
            hint="run gcbench extract with the same recipe and folder to its end",
        )


@dataclass(frozen=True)
class Remembered(PhotoSplit):
    """Labels of images that are not here.

    Attributes:
        whole: digest of the training and the held-out images as one.
    """

    whole: str = ""

    def followed_by(self, other: Split) -> PhotoSplit:
        """Both splits as one, of which only the digest is known."""
        return replace(self, listing=self.whole)


def extract(
    recipe: Recipe, data_root: Path, out: Path, features: Path, echo: Callable[[str], None]
) -> Path:
    """Encode all images and views of a recipe, or what is still missing of them, into a folder.

    Several processes may do so at a time, on machines that share the folder: each takes shards that
    no other is at. Each uses the GPU of its ``LOCAL_RANK``, or the first.

    Args:
        out: searched for trained encoders before the shipped ones.
        features: the folder.

    Returns:
        The folder.

    Raises:
        GcbenchError: the recipe reads images in every step, data or an encoder are missing, an
            image is damaged, or the folder cannot be written.
    """
    if recipe.task not in ENCODED_TASKS:
        raise GcbenchError(
            f"recipe {recipe.name}: a {recipe.task} reads other crops in every step, so that there "
            "is nothing to extract",
            hint=f"gcbench train {recipe.name} reads the images themselves",
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    train, held_out = training_splits(recipe, data_root)
    features.mkdir(parents=True, exist_ok=True)
    remember(_file(features, recipe), train, held_out)
    build_task(recipe, train, held_out, Workplace(out, features, echo))
    return features


def _file(features: Path, recipe: Recipe) -> Path:
    return features / f"{recipe.data}-{recipe.held_out}.safetensors"


def remember(file: Path, train: Split, held_out: Split) -> None:
    """Write labels, groups and digests of both parts."""
    arrays = {}
    for part, split in zip(PARTS, (train, held_out), strict=True):
        arrays[f"{part}.labels"] = split.labels
        if split.groups is not None:
            arrays[f"{part}.groups"] = split.groups
    digests = {part: split.digest() for part, split in zip(PARTS, (train, held_out), strict=True)}
    digests["whole"] = train.followed_by(held_out).digest()
    with atomic_path(file) as temporary:
        save_file(arrays, temporary, metadata=digests)


def remembered(features: Path, recipe: Recipe) -> tuple[Split, Split]:
    """The training and the held-out part of a recipe whose images were extracted.

    Raises:
        GcbenchError: they were not, into this folder, or are fewer than the recipe needs.
    """
    file = _file(features, recipe)
    if not file.is_file():
        raise GcbenchError(
            f"{features} holds nothing of {recipe.data} with {recipe.held_out} images held out",
            hint=f"gcbench extract {recipe.name} --features {features}",
        )
    found = []
    with safe_open(file, framework="numpy") as stored:
        digests, names = stored.metadata(), set(stored.keys())
        for part in PARTS:
            labels = stored.get_tensor(f"{part}.labels")
            grouped = f"{part}.groups" in names
            groups = stored.get_tensor(f"{part}.groups") if grouped else None
            images = Absent((), len(labels), features)
            whole = digests["whole"]
            found.append(Remembered(images, labels, groups, digests[part], whole))
    train, held_out = found
    check_splits(recipe, train, held_out)
    return train, held_out
