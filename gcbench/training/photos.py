"""Training images of full-size sets: listed at once, decoded when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcbench.bench import Benchmark, Sample
from gcbench.errors import GcbenchError, unknown_name
from gcbench.registry import Registry
from gcbench.training.data import DATA, Split
from gcbench.training.recipe import Recipe


@dataclass(frozen=True)
class Photos:
    """Images in the place of an array of them: ``photos[row]`` is uint8 RGB ``[H, W, 3]``."""

    samples: Sequence[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        try:
            return np.asarray(self.samples[row].load())
        except OSError as error:
            raise GcbenchError(str(error), hint="replace the file, or remove it") from error


@dataclass(frozen=True)
class PhotoSplit(Split):
    """Labelled images that are not in memory.

    Attributes:
        images: of other sizes each.
        listing: sha256 over the list of the images, which stands for their pixels.
    """

    images: Photos  # type: ignore[assignment]
    listing: str = ""

    def digest(self) -> str:
        """sha256 over the list of images: ids, labels and file sizes."""
        return self.listing

    def cut(self, start: int, stop: int) -> PhotoSplit:
        """The images ``start .. stop - 1``."""
        return replace(
            self,
            images=Photos(self.images.samples[start:stop]),
            labels=self.labels[start:stop],
            groups=None if self.groups is None else self.groups[start:stop],
            listing=f"{self.listing}[{start}:{stop}]",
        )

    def followed_by(self, other: Split) -> PhotoSplit:
        """Both splits as one, without groups."""
        assert isinstance(other, PhotoSplit)
        lists = f"{self.listing}\n{other.listing}"
        return PhotoSplit(
            Photos([*self.images.samples, *other.images.samples]),
            np.concatenate([self.labels, other.labels]),
            listing=hashlib.sha256(lists.encode()).hexdigest(),
        )


def photo_splits(recipe: Recipe, data_root: Path) -> tuple[PhotoSplit, PhotoSplit]:
    """What a full-size recipe learns from, and the images that it is only evaluated on.

    These are the set's own in-domain validation images. ImageNet's are a benchmark, so some of its
    training images are held out instead: as many of each class, chosen by a hash of their names.
    Held-out images are in the order of such a hash, so that the first ones stand for all.

    Raises:
        GcbenchError: unknown or missing data, or too few held-out images for all classes.
    """
    registry = Registry()
    if recipe.data not in registry.training_sets:
        known = (*DATA, *registry.training_sets)
        raise unknown_name(f"data in recipe {recipe.name}", recipe.data, known)
    train, validation = registry.training(recipe.data, data_root)
    if validation is not None:
        return photo_split(train), photo_split(_shuffled(validation))
    each = recipe.held_out // len(train.classes)
    if each < 1:
        raise GcbenchError(
            f"recipe {recipe.name}: held_out is {recipe.held_out}, {recipe.data} has "
            f"{len(train.classes)} classes",
            hint="hold out at least one image of each",
        )
    held_out = train.choose(f"random-{each}")
    chosen = {sample.id for sample in held_out.samples}
    rest = tuple(sample for sample in train.samples if sample.id not in chosen)
    left = replace(train, samples=rest, subset=f"without {held_out.subset}")
    return photo_split(left), photo_split(_shuffled(held_out))


def _shuffled(part: Benchmark) -> Benchmark:
    def rank(sample: Sample) -> str:
        return hashlib.sha256(sample.id.encode()).hexdigest()

    return replace(part, samples=tuple(sorted(part.samples, key=rank)))


def photo_split(part: Benchmark) -> PhotoSplit:
    """The images of a training set with labels, and groups where its worst group is sought."""
    groups = None
    if part.metric.fields:
        values = [tuple(s.groups[field] for field in part.metric.fields) for s in part.samples]
        number = {value: i for i, value in enumerate(sorted(set(values)))}
        groups = np.array([number[value] for value in values], np.int64)
    labels = np.array([sample.label for sample in part.samples], np.int64)
    listing = f"{part.digest} {part.subset}"
    return PhotoSplit(
        Photos(part.samples), labels, groups, hashlib.sha256(listing.encode()).hexdigest()
    )
