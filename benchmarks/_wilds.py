"""What the WILDS data sets have in common: a table that names the images, in a versioned folder.

The files are read as they lie on disk (folder, tar or zip), or as rows of a Hugging Face data set;
the `wilds` package is not needed. Its definitions (github.com/p-lambda/wilds, version 2.0) are
those of splits, labels and groups here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gcbench.bench import Benchmark, LabelSpace, Metric, Sample, content_digest, ordered_classes
from gcbench.errors import GcbenchError
from gcbench.images import decode
from gcbench.sources import Source, descend, open_source
from gcbench.sources.download import fetch_data_set
from gcbench.sources.files import joined
from gcbench.sources.hub import HubRows, cached_snapshot, is_hub_folder, open_rows
from gcbench.sources.places import find, refuse_to_copy

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
    """Where a data set lies: `name` in the wilds package, its released `version`, its table.

    `hub` is a copy on the Hugging Face hub that says enough of each image, where there is one.
    """

    name: str
    version: str
    table: str
    hub: str | None = None

    @property
    def how_to_get(self) -> str:
        hub = "" if self.hub is None else f", or take the hub data set {self.hub}"
        return (
            f"download it with the wilds package (wilds.get_dataset('{self.name}', download=True)) "
            f"or from worksheets.codalab.org, and unpack the .tar.gz{hub}"
        )

    def place(self, data_root: Path | None, name: str) -> Path:
        """The set's folder, tar or zip, for what `gcbench fetch` calls `name`.

        Raises:
            GcbenchError: it is nowhere; names the places looked at.
        """
        stems = [f"{self.name}_v{self.version}", f"wilds/{self.name}_v{self.version}", self.name]
        if self.hub is not None:
            stems.append(self.hub.partition("/")[2])
        try:
            fetch = "" if self.hub is None else f"gcbench fetch {name}, or "
            return find(self.name.lower(), stems, data_root, hint=fetch + self.how_to_get)
        except GcbenchError:
            snapshot = None if self.hub is None else cached_snapshot(self.hub)
            if snapshot is None:
                raise
            return snapshot

    def rows(self, data_root: Path | None, name: str, splits: Sequence[str]) -> HubRows | None:
        """The rows of the first of `splits`; None when the set lies in its own format."""
        place = self.place(data_root, name)
        if self.hub is None or (place / self.table).is_file() or not is_hub_folder(place):
            return None
        return open_rows(place, splits)

    def fetch(
        self,
        name: str,
        data_root: Path,
        source: Path | None,
        splits: Sequence[str],
        echo: Callable[[str], object],
    ) -> Path:
        """Downloads a split of the copy on the hub, for the benchmark `name`.

        Raises:
            GcbenchError: there is no copy, or a folder `source` is given.
        """
        refuse_to_copy(name, self.name.lower(), source)
        if self.hub is None:
            raise GcbenchError(f"{self.name} cannot be fetched", hint=self.how_to_get)
        return fetch_data_set(self.hub, splits, data_root / self.hub.partition("/")[2], echo)

    def open(self, data_root: Path | None, name: str) -> tuple[Source, str]:
        """The set's files, and the folder among them that holds the table."""
        place = self.place(data_root, name)
        source = open_source(place)
        root = descend(source, lambda s, path: s.size(joined(path, self.table)) is not None)
        if root is None and is_hub_folder(place):
            raise GcbenchError(
                f"{place} is in Hugging Face's format, in which no copy of {self.name} is known "
                "that names the groups",
                hint=self.how_to_get,
            )
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
    samples = [
        Sample(r.path, r.label, partial(_decoded, source, joined(root, r.path)), r.groups)
        for r in chosen
    ]
    return _assembled(name, samples, sizes, label_space, metric)


def benchmark_of_rows(
    name: str,
    rows: HubRows,
    chosen: Mapping[int, tuple[int, Mapping[str, str]]],
    path_of: Callable[[str], str | None],
    label_space: LabelSpace,
    metric: Metric,
) -> Benchmark:
    """The benchmark of some rows of a Hugging Face data set, in row order.

    Args:
        chosen: label and groups of each row that belongs to the benchmark.
        path_of: the path in the set's folder of an image whose file name a row records, None for
            a name of another form. It is the id, so that results agree with those of the folder;
            where a row has none, ids are row numbers.

    Raises:
        GcbenchError: no row was chosen.
    """
    if not chosen:
        raise GcbenchError(
            f"{name}: {rows.location} holds no image of this split",
            hint="fetch the split that the benchmark is about",
        )
    files = rows.file_names()
    ids = [None if files[row] is None else path_of(files[row] or "") for row in chosen]
    if None in ids or len(set(ids)) < len(ids):
        ids = [f"row-{row:08d}" for row in chosen]
    samples = [
        Sample(id or "", label, partial(_decoded_row, rows, row), groups)
        for id, (row, (label, groups)) in zip(ids, chosen.items(), strict=True)
    ]
    return _assembled(name, samples, [None] * len(samples), label_space, metric)


def numbers(rows: HubRows, columns: Sequence[str], among: Sequence[int]) -> list[int]:
    """A column's values, the column being the first of `columns` that is there.

    Integers of a column with class names stand for these names, which must be numbers then.

    Raises:
        GcbenchError: no such column, or a row holds something that is not among `among`.
    """
    column = next((c for c in columns if c in rows.columns), None)
    if column is None:
        raise GcbenchError(
            f"{rows.location} has no column {' or '.join(map(repr, columns))}; it has "
            f"{', '.join(rows.columns)}",
            hint="give the set as the wilds package unpacks it",
        )
    names = rows.class_names(column)
    found = []
    for row, value in enumerate(rows.column(column)):
        text = str(int(value)) if isinstance(value, int | float) else str(value)
        if names is not None:
            text = names[int(text)] if text.isdigit() and int(text) < len(names) else text
        if text not in map(str, among):
            raise GcbenchError(
                f"{rows.location}, row {row}, column {column!r}: got {text!r}, expected one of "
                f"{', '.join(map(str, among))}",
                hint="give the set as the wilds package unpacks it",
            )
        found.append(int(text))
    return found


def _assembled(
    name: str,
    samples: Sequence[Sample],
    sizes: Sequence[int | None],
    label_space: LabelSpace,
    metric: Metric,
) -> Benchmark:
    files = [(s.id, s.label, size) for s, size in zip(samples, sizes, strict=True)]
    return Benchmark(
        name=name,
        suite=SUITE,
        label_space=label_space,
        classes=ordered_classes([s.label for s in samples]),
        samples=tuple(samples),
        digest=content_digest(name, files),
        metric=metric,
    )


def _decoded(source: Source, path: str) -> Image:
    return decode(source.read(path), source.shown(path))


def _decoded_row(rows: HubRows, row: int) -> Image:
    return decode(rows.image(row), f"{rows.location}, row {row}")
