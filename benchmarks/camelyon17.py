"""Camelyon17-WILDS: tumour in patches of lymph nodes, shifted to a hospital not trained on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from gcbench.bench import Benchmark, BenchmarkFamily, LabelSpace, Metric
from gcbench.sources import Source
from gcbench.sources.files import joined
from gcbench.sources.hub import HubRows
from gcbench.sources.tables import read_rows

from ._wilds import SUITE, Record, WildsSet, benchmark, benchmark_of_rows, numbers

CAMELYON17 = LabelSpace("camelyon17", ("normal", "tumor"))
FILES = WildsSet("camelyon17", "1.0", "metadata.csv", hub="wltjr1007/Camelyon17-WILDS")
FILE_NAME = re.compile(r"patch_(patient_\d+_node_\d+)_x_\d+_y_\d+\.png")
COLUMNS = ("patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split")
HUB_SPLITS = {"train": ("train",), "id": ("validation", "val"), "ood": ("test",)}
ID_VALIDATION = 1  # in the table's column `split`; 0 is training
VALIDATION_CENTER, TEST_CENTER = 1, 2
CENTERS = (0, 1, 2, 3, 4)


class Camelyon17(BenchmarkFamily):
    """Patches of 96 px; the headline is the plain accuracy, with groups by hospital and slide."""

    suite: ClassVar[str] = SUITE
    names: ClassVar[Mapping[str, str]] = {
        "camelyon17-id": "Camelyon17-WILDS, held-out patches of the training hospitals (id_val)",
        "camelyon17-ood": "Camelyon17-WILDS, patches of another hospital (test)",
    }
    data_sets: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (*names, "camelyon17-train"), FILES.how_to_get
    )
    training_sets: ClassVar[tuple[str, ...]] = ("camelyon17",)

    def locate(self, name: str, data_root: Path | None = None) -> str:
        return str(FILES.place(data_root, name))

    def fetch(
        self,
        name: str,
        data_root: Path,
        source: Path | None = None,
        echo: Callable[[str], object] = print,
    ) -> Path:
        """Downloads the copy on the hub, of which one split is needed; two to learn from."""
        if name == "camelyon17-train":
            FILES.fetch(name, data_root, source, HUB_SPLITS["id"], echo)
        return FILES.fetch(name, data_root, source, HUB_SPLITS[_part(name)], echo)

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        return self._load(name, _part(name), data_root)

    def load_training(
        self, name: str, data_root: Path | None = None
    ) -> tuple[Benchmark, Benchmark]:
        """Patches of three hospitals, and others of the same hospitals (id_val)."""
        return (
            self._load(f"{name}-train", "train", data_root),
            self._load(f"{name}-val", "id", data_root),
        )

    def _load(self, name: str, part: str, data_root: Path | None) -> Benchmark:
        metric = Metric()
        rows = FILES.rows(data_root, name, HUB_SPLITS[part])
        if rows is not None:
            chosen = _chosen(rows, test=part == "ood")
            return benchmark_of_rows(name, rows, chosen, _path, CAMELYON17, metric)
        source, root = FILES.open(data_root, name)
        return benchmark(name, source, root, _records(source, root, part), CAMELYON17, metric)


def _part(name: str) -> str:
    return name.rpartition("-")[2]


def _chosen(rows: HubRows, *, test: bool) -> dict[int, tuple[int, dict[str, str]]]:
    """Label and groups of the rows of a benchmark.

    The copy's validation split holds both of WILDS's, so that centers decide here too.
    """
    centers = numbers(rows, ("center", "hospital"), CENTERS)
    labels = numbers(rows, ("label", "tumor", "y"), (0, 1))
    slides = rows.column("slide") if "slide" in rows.columns else None
    held_out = (TEST_CENTER, VALIDATION_CENTER)
    return {
        row: (
            label,
            {"hospital": str(center), **({} if slides is None else {"slide": str(slides[row])})},
        )
        for row, (center, label) in enumerate(zip(centers, labels, strict=True))
        if (center == TEST_CENTER if test else center not in held_out)
    }


def _path(file: str) -> str | None:
    match = FILE_NAME.fullmatch(file)
    return None if match is None else f"patches/{match[1]}/{file}"


def _records(source: Source, root: str, part: str) -> Iterator[Record]:
    for row in read_rows(source, joined(root, FILES.table), COLUMNS):
        split = row.integer("split", among=(0, 1))
        center = row.integer("center", among=CENTERS)
        label = row.integer("tumor", among=(0, 1))
        # The centers held out belong to their own splits, whatever the column `split` says.
        known = center not in (TEST_CENTER, VALIDATION_CENTER)
        found = ("id" if split == ID_VALIDATION else "train") if known else ""
        if center == TEST_CENTER:
            found = "ood"
        if found == part:
            # Patients are text: their leading zeros are part of the file names.
            case = f"patient_{row.text('patient')}_node_{row.integer('node')}"
            where = f"x_{row.integer('x_coord')}_y_{row.integer('y_coord')}"
            yield Record(
                f"patches/{case}/patch_{case}_{where}.png",
                label,
                {"hospital": str(center), "slide": str(row.integer("slide"))},
            )
