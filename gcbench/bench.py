"""What is classified: label spaces, samples, benchmarks and the rules that choose a subset."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gcbench.errors import GcbenchError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class LabelSpace:
    """The classes that a model was trained on, in the order of its class embedding."""

    name: str
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Sample:
    """One image to classify.

    `label` indexes the benchmark's label space. `load` returns the raw RGB image, undistorted:
    resizing and cropping belong to the method. `groups` names the sample's subpopulations
    (field -> value) for worst-group metrics.
    """

    id: str
    label: int
    load: Callable[[], Image]
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A named set of samples with the candidate classes to tell apart.

    `classes` are indices into `label_space`, ascending: those present in the set, so a 200-class
    set is a 200-way problem whatever the label space's size. `digest` identifies the content
    (pixels and labels, or file list) and `subset` the rule that chose the samples.
    """

    name: str
    suite: str
    label_space: LabelSpace
    classes: tuple[int, ...]
    samples: tuple[Sample, ...]
    digest: str
    subset: str = "full"

    def __post_init__(self) -> None:
        candidates = set(self.classes)
        for sample in self.samples:
            if sample.label not in candidates:
                raise GcbenchError(
                    f"{self.name}: sample {sample.id!r} has label {sample.label}, "
                    f"which is not among the {len(candidates)} candidate classes",
                    hint="the manifest and the data disagree: rebuild or fetch the set again",
                )

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def samples_digest(self) -> str:
        """sha256 over the ids and labels of the chosen samples, in order."""
        text = "\n".join(f"{s.id}\t{s.label}" for s in self.samples)
        return hashlib.sha256(text.encode()).hexdigest()

    def choose(self, subset: str) -> Benchmark:
        """The same benchmark restricted by a subset rule: `full`, `first-N` or `random-N`.

        N counts samples per class. `first-N` takes them in the benchmark's own order (for the
        published 2K protocol N = 2); `random-N` ranks a class's samples by a hash of their id,
        so the choice depends on neither order nor machine.

        Raises:
            GcbenchError: the rule is unknown or N is not positive.
        """
        if subset == self.subset or subset == "full":
            return self
        match = re.fullmatch(r"(first|random)-(\d+)", subset)
        if not match or int(match[2]) < 1:
            raise GcbenchError(
                f"unknown subset {subset!r}",
                hint="use full, first-N or random-N with N >= 1 samples per class",
            )
        rank = _hash_rank if match[1] == "random" else None
        chosen = set()
        for members in self.by_class().values():
            ordered = sorted(members, key=rank) if rank else members
            chosen.update(s.id for s in ordered[: int(match[2])])
        kept = tuple(s for s in self.samples if s.id in chosen)
        return replace(self, samples=kept, subset=subset)

    def by_class(self) -> dict[int, list[Sample]]:
        """Samples grouped by label, classes ascending, benchmark order inside a class."""
        groups: dict[int, list[Sample]] = {c: [] for c in self.classes}
        for sample in self.samples:
            groups[sample.label].append(sample)
        return groups


def _hash_rank(sample: Sample) -> str:
    return hashlib.sha256(f"subset\0{sample.id}".encode()).hexdigest()


class BenchmarkFamily(ABC):
    """A plugin: one file in `benchmarks/`, one subclass, one or more benchmark names.

    `names` are what `gcbench list` shows, in order, with a one-line description each. A family may
    accept further names (severities, say) in `load`. Modules of plugins import nothing heavy at
    the top: listing must stay instant.
    """

    suite: ClassVar[str]
    names: ClassVar[Mapping[str, str]]

    def accepts(self, name: str) -> bool:
        """Whether `load` knows this benchmark name."""
        return name in self.names

    @abstractmethod
    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        """The benchmark with all of its samples, images still unread.

        Raises:
            GcbenchError: the data is missing, incomplete or does not match its manifest.
        """


def ordered_classes(labels: Sequence[int]) -> tuple[int, ...]:
    """The candidate classes of a set: those present, ascending."""
    return tuple(sorted(set(labels)))
