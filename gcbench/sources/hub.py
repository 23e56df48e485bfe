"""Data sets in Hugging Face's formats, from this machine only: nothing here opens a socket.

Read through the optional package `datasets`: a folder written by `save_to_disk`, a folder of
parquet files, or the snapshot of a hub repository that is already in the local cache.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcbench.errors import GcbenchError

MARKERS = ("dataset_info.json", "dataset_dict.json", "state.json")
SPLITS = ("train", "validation", "val", "test")


def is_hub_folder(folder: Path) -> bool:
    """Whether a folder is in one of Hugging Face's formats, or holds only a loading script."""
    if not folder.is_dir():
        return False
    return (
        any((folder / marker).is_file() for marker in MARKERS)
        or bool(_parquet_files(folder))
        or bool(_scripts(folder))
    )


def cached_snapshot(repository: str) -> Path | None:
    """The local cache's copy of a data set on the hub; None when it holds no data of it."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(repository, repo_type="dataset", local_files_only=True)
    except OSError:
        return None
    return Path(found) if _parquet_files(Path(found)) else None


@dataclass(frozen=True)
class HubRows:
    """The rows of one split: encoded images and the columns beside them."""

    location: Path
    data: Any  # datasets.Dataset, its image column undecoded

    @property
    def columns(self) -> list[str]:
        return list(self.data.column_names)

    def column(self, name: str) -> list[Any]:
        """All values of a column other than the images."""
        return list(self.data[name])

    def class_names(self, name: str) -> tuple[str, ...] | None:
        """What the integers of a column stand for; None when the data set does not say."""
        names = getattr(self.data.features[name], "names", None)
        return None if names is None else tuple(names)

    def file_names(self) -> list[str | None]:
        """The name of each image's original file, where it is recorded."""
        paths = self.data.flatten().select_columns(["image.path"])["image.path"]
        return [None if path is None else Path(path).name for path in paths]

    def image(self, row: int) -> bytes:
        """The encoded image of a row. Raises OSError when the row has none."""
        content = self.data[row]["image"]
        if content is not None and content["bytes"]:
            return bytes(content["bytes"])
        if content is not None and content["path"]:
            return Path(content["path"]).read_bytes()
        raise OSError(f"{self.location}: row {row} holds no image")


def open_rows(folder: Path, splits: Sequence[str]) -> HubRows:
    """The first of `splits` that a folder has; the only split when its name is not known.

    Raises:
        GcbenchError: `datasets` is not installed, the folder holds a loading script and no data,
            none of the splits, or no column `image`.
    """
    try:
        import datasets
    except ImportError:
        raise GcbenchError(
            f"{folder} is in Hugging Face's format, which needs the package datasets",
            hint="pip install 'gcbench[hf]', or give the images as folders, tar or zip",
        ) from None
    try:
        data = _opened(folder, splits)
    except (OSError, ValueError, KeyError, TypeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GcbenchError(
            f"{folder} cannot be read as a Hugging Face data set ({reason})",
            hint="fetch it again, or give the images as class folders, tar or zip",
        ) from error
    if "image" not in data.column_names:
        raise GcbenchError(
            f"{folder} has no column 'image'; it has {', '.join(data.column_names)}",
            hint="give the images as class folders, tar or zip",
        )
    return HubRows(folder, data.cast_column("image", datasets.Image(decode=False)))


def _opened(folder: Path, splits: Sequence[str]) -> Any:
    import datasets

    parquet = _parquet_files(folder)
    if parquet:
        files = [str(f) for f in parquet[first_split(folder, list(parquet), splits)]]
        return datasets.load_dataset("parquet", data_files=files, split="train")
    if any((folder / marker).is_file() for marker in MARKERS):
        data = datasets.load_from_disk(str(folder))
        if isinstance(data, datasets.DatasetDict):
            return data[first_split(folder, list(data), splits)]
        return data
    raise GcbenchError(
        f"{folder} holds a loading script ({_scripts(folder)[0].name}) and no data; "
        "such scripts are not run",
        hint="give the images as class folders, tar or zip",
    )


def split_of(path: str) -> str:
    """The split that a parquet file's path speaks of; empty when it speaks of none."""
    words = re.split(r"[^a-z]+", path.lower())
    return next((split for split in SPLITS if split in words), "")


def first_split(where: object, present: Sequence[str], wanted: Sequence[str]) -> str:
    """The first of `wanted` that is present, or the only split when it has no known name.

    Raises:
        GcbenchError: there is none.
    """
    for split in wanted:
        if split in present:
            return split
    if len(present) == 1 and present[0] not in SPLITS:
        return present[0]
    raise GcbenchError(
        f"{where} has the splits {', '.join(present) or 'none'}, expected {' or '.join(wanted)}",
        hint="fetch the split that the benchmark is about",
    )


def _parquet_files(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for pattern in ("*.parquet", "*/*.parquet", "*/*/*.parquet"):
        for file in sorted(folder.glob(pattern)):
            split = split_of(str(file.relative_to(folder)))
            found.setdefault(split, []).append(file)
    return found


def _scripts(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob("*.py") if f.is_file())
