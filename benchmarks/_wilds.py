"""What the WILDS data sets have in common: a table that names the images, in a versioned folder.

The files are read as they lie on disk (folder, tar or zip); the `wilds` package is not needed. Its
definitions (github.com/p-lambda/wilds, version 2.0) are those of splits, labels and groups here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gcbench.bench import Benchmark, LabelSpace, Metric, Sample, content_digest, ordered_classes
from gcbench.errors import GcbenchError
from gcbench.images import decode
from gcbench.sources import Source, descend, open_source
from gcbench.sources.files import joined
from gcbench.sources.places import find

if TYPE_CHECKING:
    from PIL.Image import Image

SUITE = "wilds"


@dataclass(frozen=True)
class Record:
    """One image: its path in the set's folder, which is its id, and what the table says of it."""

    path: str
    label: int
    groups: Mapping[str, str]


@dataclass(frozen=True)
class WildsSet:
    """Where a data set lies: `name` in the wilds package, its released `version`, its table."""

    name: str
    version: str
    table: str

    @property
    def how_to_get(self) -> str:
        return (
            f"download it with the wilds package (wilds.get_dataset('{self.name}', download=True)) "
            "or from worksheets.codalab.org, and unpack the .tar.gz"
        )

    def place(self, data_root: Path | None) -> Path:
        """The set's folder, tar or zip. Raises GcbenchError naming the places looked at."""
        stems = [f"{self.name}_v{self.version}", f"wilds/{self.name}_v{self.version}", self.name]
        return find(self.name.lower(), stems, data_root, hint=self.how_to_get)

    def open(self, data_root: Path | None) -> tuple[Source, str]:
        """The set's files, and the folder among them that holds the table."""
        place = self.place(data_root)
        source = open_source(place)
        root = descend(source, lambda s, path: s.size(joined(path, self.table)) is not None)
        if root is None:
            raise GcbenchError(
                f"{place} holds no {self.table}",
                hint=f"give the unpacked folder {self.name}_v{self.version} of the wilds package",
            )
        return source, root


def benchmark(
    name: str,
    source: Source,
    root: str,
    records: Iterable[Record],
    label_space: LabelSpace,
    metric: Metric,
) -> Benchmark:
    """The benchmark of these records, in table order.

    Raises:
        GcbenchError: the table names no image of this benchmark, or one whose file is missing.
    """
    chosen = list(records)
    if not chosen:
        raise GcbenchError(
            f"{name}: the table in {source.shown(root)} names no image of this split",
            hint="the file is incomplete or of another version: fetch it again",
        )
    sizes = [source.size(joined(root, record.path)) for record in chosen]
    missing = [r.path for r, size in zip(chosen, sizes, strict=True) if size is None]
    if missing:
        raise GcbenchError(
            f"{name}: {source.shown(joined(root, missing[0]))} does not exist; the table names it "
            f"({len(missing)} of {len(chosen)} images are missing)",
            hint="unpack the whole archive, or fetch it again",
        )
    rows = [(r.path, r.label, size) for r, size in zip(chosen, sizes, strict=True)]
    return Benchmark(
        name=name,
        suite=SUITE,
        label_space=label_space,
        classes=ordered_classes([r.label for r in chosen]),
        samples=tuple(
            Sample(r.path, r.label, partial(_decoded, source, joined(root, r.path)), r.groups)
            for r in chosen
        ),
        digest=content_digest(name, rows),
        metric=metric,
    )


def _decoded(source: Source, path: str) -> Image:
    return decode(source.read(path), source.shown(path))
