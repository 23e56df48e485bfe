"""CelebA as in WILDS: blond hair or not, with few blond men to learn from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from gcbench.bench import Benchmark, BenchmarkFamily, LabelSpace, Metric
from gcbench.errors import GcbenchError
from gcbench.sources import Source
from gcbench.sources.files import joined
from gcbench.sources.hub import HubRows
from gcbench.sources.tables import read_rows

from ._wilds import SUITE, Record, WildsSet, benchmark, benchmark_of_rows, numbers

CELEBA_BLOND = LabelSpace("celeba-blond", ("not blond", "blond"))
FILES = WildsSet("celebA", "1.0", "list_attr_celeba.csv", hub="pietrolesci/celeba-wilds")
HUB_SPLITS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
FILE_NAME = re.compile(r"\d{6}\.jpg")
PARTITION = "list_eval_partition.csv"
PARTS = ("train", "val", "test")  # by their number in the partition


class CelebA(BenchmarkFamily):
    """Aligned faces; the headline is the worst accuracy of the four groups male x blond."""

    suite: ClassVar[str] = SUITE
    names: ClassVar[Mapping[str, str]] = {
        "celeba": "CelebA, blond hair on the test split, worst of four groups"
    }
    data_sets: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (*names, "celeba-train"), FILES.how_to_get
    )
    training_sets: ClassVar[tuple[str, ...]] = ("celeba",)

    def locate(self, name: str, data_root: Path | None = None) -> str:
        return str(FILES.place(data_root, name))

    def fetch(
        self,
        name: str,
        data_root: Path,
        source: Path | None = None,
        echo: Callable[[str], object] = print,
    ) -> Path:
        """Downloads the test split of the copy on the hub; the two others to learn from."""
        if name != "celeba-train":
            return FILES.fetch(name, data_root, source, HUB_SPLITS["test"], echo)
        FILES.fetch(name, data_root, source, HUB_SPLITS["train"], echo)
        return FILES.fetch(name, data_root, source, HUB_SPLITS["val"], echo)

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        return self._load(name, "test", data_root)

    def load_training(
        self, name: str, data_root: Path | None = None
    ) -> tuple[Benchmark, Benchmark]:
        """The training and the validation split."""
        return (
            self._load(f"{name}-train", "train", data_root),
            self._load(f"{name}-val", "val", data_root),
        )

    def _load(self, name: str, part: str, data_root: Path | None) -> Benchmark:
        metric = Metric(fields=("male", "y"))
        rows = FILES.rows(data_root, name, HUB_SPLITS[part])
        if rows is not None:
            return benchmark_of_rows(name, rows, _chosen(rows), _path, CELEBA_BLOND, metric)
        source, root = FILES.open(data_root, name)
        return benchmark(name, source, root, _records(source, root, part), CELEBA_BLOND, metric)


def _records(source: Source, root: str, part: str) -> Iterator[Record]:
    partition = {
        row.text("image_id"): row.integer("partition", among=range(len(PARTS)))
        for row in read_rows(source, joined(root, PARTITION), ("image_id", "partition"))
    }
    columns = ("image_id", "Blond_Hair", "Male")
    for row in read_rows(source, joined(root, FILES.table), columns):
        image = row.text("image_id")
        blond, male = (row.integer(column, among=(-1, 1)) == 1 for column in columns[1:])
        if image not in partition:
            raise GcbenchError(
                f"{row.table}, line {row.line}: image {image} has no row in {PARTITION}",
                hint="the two files are of different versions: fetch them again",
            )
        if PARTS[partition[image]] == part:
            groups = {"male": str(int(male)), "y": str(int(blond))}
            yield Record(f"img_align_celeba/{image}", int(blond), groups)


def _chosen(rows: HubRows) -> dict[int, tuple[int, dict[str, str]]]:
    """Label and groups of every row; attributes are 1 or -1, as published, or 1 or 0."""
    blond, male = (
        [int(value == 1) for value in numbers(rows, columns, (-1, 0, 1))]
        for columns in (("Blond_Hair", "y"), ("Male", "male"))
    )
    return {
        row: (y, {"male": str(m), "y": str(y)})
        for row, (y, m) in enumerate(zip(blond, male, strict=True))
    }


def _path(file: str) -> str | None:
    return f"img_align_celeba/{file}" if FILE_NAME.fullmatch(file) else None
