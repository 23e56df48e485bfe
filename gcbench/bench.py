"""What is classified: label spaces, samples, benchmarks and the rules that choose a subset."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    resizing and cropping belong to the method. Where a set publishes images that are cropped to a
    square already, the image's `info["precropped"]` holds its side: a method scales such an image
    as a whole and never crops it again. `groups` names the sample's subpopulations (field ->
    value) for worst-group metrics.
    """

    id: str
    label: int
    load: Callable[[], Image]
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """What a benchmark's headline number is: the accuracy, or that of its worst group.

    With `fields`, a group is a combination of one value per field of `Sample.groups` (male x y,
    say) and the headline is the lowest accuracy of a group; groups that hold a value of `ignore`
    do not count.
    """

    fields: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`accuracy`, or the groups whose worst it is: `worst male x y`."""
        return f"worst {' x '.join(self.fields)}" if self.fields else "accuracy"


@dataclass(frozen=True)
class Benchmark:
    """A named set of samples with the candidate classes to tell apart.

    `classes` are indices into `label_space`, ascending: those present in the set, so a 200-class
    set is a 200-way problem whatever the label space's size. `digest` identifies the content
    (pixels and labels, or file list) and `subset` the rule that chose the samples. `shortfall`
    says what the data lack of the complete set, empty when they are whole as far as is known.
    """

    name: str
    suite: str
    label_space: LabelSpace
    classes: tuple[int, ...]
    samples: tuple[Sample, ...]
    digest: str
    subset: str = "full"
    metric: Metric = Metric()
    shortfall: str = ""

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

    @property
    def groups(self) -> dict[str, list[str]]:
        """The values of each group field, in the order of the samples."""
        fields = self.samples[0].groups if self.samples else ()
        return {field: [s.groups[field] for s in self.samples] for field in fields}

    def choose(self, subset: str) -> Benchmark:
        """The same benchmark restricted by a subset rule. N counts samples per class.

        `full`: all. `first-N`: in the benchmark's own order. `official-2k`: the first two of each
        class in the sorted order of ids, as the published evaluation takes them (2,000 images of
        1,000 classes). `random-N` and `random-N@SEED` (seed 0 when left out): a class's samples
        ranked by a hash of seed and id, so that the choice depends on neither order nor machine,
        and a smaller N chooses part of a larger one.

        Raises:
            GcbenchError: the rule is unknown or N is not positive.
        """
        if subset in ("full", self.subset):
            return self
        match = re.fullmatch(r"(first)-(\d+)|(random)-(\d+)(?:@(\d+))?|official-2k", subset)
        count = int(match[2] or match[4] or 2) if match else 0
        if match is None or count < 1:
            raise GcbenchError(
                f"unknown subset {subset!r}",
                hint="use full, first-N or random-N[@SEED] with N >= 1 samples per class, "
                "or official-2k",
            )
        chosen: set[str] = set()
        for members in self.by_class().values():
            if match[3]:
                members = sorted(members, key=_hash_rank(int(match[5] or 0)))
            elif not match[1]:
                members = sorted(members, key=lambda s: s.id)
            chosen.update(s.id for s in members[:count])
        kept = tuple(s for s in self.samples if s.id in chosen)
        return replace(self, samples=kept, subset=subset.removesuffix("@0"))

    def by_class(self) -> dict[int, list[Sample]]:
        """Samples grouped by label, classes ascending, benchmark order inside a class."""
        groups: dict[int, list[Sample]] = {c: [] for c in self.classes}
        for sample in self.samples:
            groups[sample.label].append(sample)
        return groups


def _hash_rank(seed: int) -> Callable[[Sample], str]:
    return lambda s: hashlib.sha256(f"subset\0{seed}\0{s.id}".encode()).hexdigest()


class BenchmarkFamily(ABC):
    """A plugin: one file in `benchmarks/`, one subclass, one or more benchmark names.

    `names` are what `gcbench list` shows, in order, with a one-line description each. A family may
    accept further names (severities, say) in `load`. Modules of plugins import nothing heavy at
    the top: listing must stay instant.
    """

    suite: ClassVar[str]
    names: ClassVar[Mapping[str, str]]
    data_sets: ClassVar[Mapping[str, str]] = {}
    training_sets: ClassVar[tuple[str, ...]] = ()

    def fetch(
        self,
        name: str,
        data_root: Path,
        source: Path | None = None,
        echo: Callable[[str], object] = print,
    ) -> Path:
        """Brings one of `data_sets` below `data_root`, from the folder `source` or the network.

        Args:
            echo: called with what is about to be fetched and how large it is.

        Raises:
            GcbenchError: it cannot be had, or is not what it should be.
        """
        raise GcbenchError(f"{name} cannot be fetched", hint=self.data_sets.get(name))

    def accepts(self, name: str) -> bool:
        """Whether `load` knows this benchmark name."""
        return name in self.names

    def locate(self, name: str, data_root: Path | None = None) -> str:
        """Where the benchmark's data lie on this machine, for people to read.

        Raises:
            GcbenchError: they are nowhere; the message names the places looked at.
        """
        return "ships with gcbench"

    @abstractmethod
    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        """The benchmark with all of its samples, images still unread.

        Raises:
            GcbenchError: the data is missing, incomplete or does not match its manifest.
        """

    def load_training(
        self, name: str, data_root: Path | None = None
    ) -> tuple[Benchmark, Benchmark | None]:
        """What one of `training_sets` gives to learn from, images still unread.

        Returns:
            The training images, and the images of the same kind that a checkpoint is chosen by;
            None where the set has no such part and some of the training images have to do.

        Raises:
            GcbenchError: the data is missing or incomplete.
        """
        raise GcbenchError(f"{name} has no training images")


def ordered_classes(labels: Sequence[int]) -> tuple[int, ...]:
    """The candidate classes of a set: those present, ascending."""
    return tuple(sorted(set(labels)))


def content_digest(what: str, rows: Iterable[tuple[str, int, int | None]]) -> str:
    """sha256 that identifies a set by its file list; no pixel is read, so it costs seconds.

    Hashes `what`, then a line per file, sorted: id, label and size in bytes, separated by tabs. The
    size is left empty where samples are rows of a table and not files.
    """
    lines = sorted(f"{id}\t{label}\t{'' if size is None else size}" for id, label, size in rows)
    return hashlib.sha256("\n".join([what, *lines]).encode()).hexdigest()
