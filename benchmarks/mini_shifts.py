"""Small real images with real shifts, in the roles of the WILDS sets.

Every set has splits: `train` to learn from, `val` to choose a checkpoint by, as the training images
are, and those that are benchmarks. All of them ship with gcbench, grey and 28 px wide.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from gcbench.bench import Benchmark, BenchmarkFamily, LabelSpace, Metric
from gcbench.resources import resource

from .mini import ImageSet, check_content, content_digest, read_arrays, read_manifest

DIGIT_PARITY = LabelSpace("digit-parity", ("even", "odd"))
TOP_OR_DRESS = LabelSpace("top-or-dress", ("T-shirt/top", "Dress"))
EMOJI_10 = LabelSpace(
    "emoji-10",
    (
        *("face", "hand", "person", "animal", "plant or fruit", "food", "place", "vehicle"),
        *("clothing", "tool"),
    ),
)
LABEL_SPACES = {
    "mini-camelyon": DIGIT_PARITY,
    "mini-celeba": TOP_OR_DRESS,
    "mini-fmow": EMOJI_10,
}
METRICS = {
    "mini-camelyon-id": Metric(),
    "mini-camelyon-ood": Metric(),
    "mini-celeba": Metric(fields=("bright", "y")),
    "mini-fmow-id": Metric(),
    "mini-fmow-ood": Metric(fields=("region",)),
}


@dataclass(frozen=True)
class GroupedSet(ImageSet):
    """Images that belong to groups: `groups` maps a field to one value per image."""

    groups: Mapping[str, tuple[str, ...]]

    def digest(self) -> str:
        """sha256 over the content digest, then a line per image: id and groups, tab-separated."""
        rows = zip(self.ids, *self.groups.values(), strict=True)
        lines = [content_digest(self.images, self.labels), *("\t".join(row) for row in rows)]
        return hashlib.sha256("\n".join(["\t".join(self.groups), *lines]).encode()).hexdigest()

    def benchmark(
        self, name: str, suite: str, label_space: LabelSpace, metric: Metric | None = None
    ) -> Benchmark:
        """The images with their groups as a benchmark; the classes present are the candidates."""
        plain = super().benchmark(name, suite, label_space)
        samples = tuple(
            replace(sample, groups=dict(zip(self.groups, values, strict=True)))
            for sample, values in zip(
                plain.samples, zip(*self.groups.values(), strict=True), strict=True
            )
        )
        return replace(plain, samples=samples, digest=self.digest(), metric=metric or plain.metric)


class MiniShifts(BenchmarkFamily):
    """Handwritten digits of two sources, garments by brightness, emoji by age and vendor."""

    suite: ClassVar[str] = "shifts"
    names: ClassVar[Mapping[str, str]] = {
        "mini-camelyon-id": "even or odd: MNIST digits, from the source of the training images",
        "mini-camelyon-ood": "even or odd: UCI digits, by other writers and another scanner",
        "mini-celeba": "T-shirt or dress with few dark dresses to learn from, worst of four groups",
        "mini-fmow-id": "what an emoji shows: code points of 2017 and before",
        "mini-fmow-ood": "what an emoji shows: code points of 2018 and later, worst vendor",
    }

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        """The benchmark `name`; its pixels ship with gcbench, so `data_root` is not read.

        Raises:
            GcbenchError: an embedded file is damaged.
        """
        content = read_split(name)
        return content.benchmark(name, self.suite, label_space_of(name), METRICS[name])


def label_space_of(name: str) -> LabelSpace:
    """The label space of a split: that of the set whose name it begins with."""
    return next(space for stem, space in LABEL_SPACES.items() if name.startswith(stem))


def read_split(name: str) -> GroupedSet:
    """An embedded split, such as `mini-camelyon-train`, checked against its manifest.

    Raises:
        GcbenchError: the file is damaged or not the one that the manifest describes.
    """
    return read_grouped_set(resource(f"benchmarks/data/{name}.npz"), read_manifest(name))


def read_grouped_set(path: Path, manifest: Mapping[str, Any]) -> GroupedSet:
    """Reads ``images``, ``labels``, ``ids`` and an array per group field of an npz file.

    Raises:
        GcbenchError: the file cannot be read, or its digest or counts are not those of the
            manifest.
    """
    hint = "the file is damaged: reinstall gcbench, or rebuild it with python -m tools.mini_shifts"
    fields = manifest["group_fields"]
    arrays = read_arrays(path, ("images", "labels", "ids", *fields), hint)
    images, labels, ids, *values = arrays
    groups = {field: tuple(array.tolist()) for field, array in zip(fields, values, strict=True)}
    content = GroupedSet(images, labels, tuple(ids.tolist()), groups)
    found = {"count": len(ids), "per_group": count_groups(content)}
    check_content(path, manifest, content.digest(), found, hint)
    return content


def count_groups(content: GroupedSet) -> dict[str, int]:
    """Images per value of every group field, ``field=value`` ascending."""
    pairs = [f"{field}={value}" for field, values in content.groups.items() for value in values]
    return dict(sorted(Counter(pairs).items()))
