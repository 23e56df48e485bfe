"""Brings a data set from the Hugging Face hub: the bytes announced first, resumed, checked."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gcbench.errors import GcbenchError
from gcbench.sources.hub import first_split, split_of

ARCHIVES = (".zip", ".tar")


def fetch_data_set(
    repository: str, splits: Sequence[str], target: Path, echo: Callable[[str], object]
) -> Path:
    """Downloads one split of a hub data set; what is there already is not fetched again.

    Args:
        splits: the split to take, the best name first.
        target: the folder for the split's parquet files. A repository that holds no parquet but
            one archive gives that archive, beside this folder and named after it.
        echo: called with what is about to be fetched, and how large it is.

    Returns:
        The folder or archive, in a form that benchmarks read.

    Raises:
        GcbenchError: the hub cannot be reached, the set is gated, it holds no such split, or a
            file is not what the hub says it is.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        info = HfApi().dataset_info(repository, files_metadata=True)
        files = _wanted(repository, info.siblings or [], splits)
        suffix = Path(files[0].rfilename).suffix
        place = target.with_name(target.name + suffix) if suffix in ARCHIVES else target
        size = sum(file.size or 0 for file in files)
        echo(f"{repository}: {len(files)} files, {size / 1e9:.2f} GB, to {place}")
        if place.is_file():
            _check(place, files[0].lfs)
            return place
        # An archive comes by way of a folder that no benchmark looks into while it is incomplete.
        folder = target if place == target else target.with_name(f".{target.name}.part")
        snapshot_download(
            repository,
            repo_type="dataset",
            revision=info.sha,
            allow_patterns=[file.rfilename for file in files],
            local_dir=folder,
        )
    except GcbenchError:
        raise
    except Exception as error:
        # The exceptions of the transport below the hub's client differ between its versions.
        raise hub_error(repository, f"datasets/{repository}", error) from error
    for file in files:
        _check(folder / file.rfilename, file.lfs)
    if place != target:
        (folder / files[0].rfilename).replace(place)
        shutil.rmtree(folder)
    return place


def _wanted(repository: str, siblings: Sequence[Any], splits: Sequence[str]) -> list[Any]:
    parquet: dict[str, list[Any]] = {}
    for file in siblings:
        if file.rfilename.endswith(".parquet"):
            parquet.setdefault(split_of(file.rfilename), []).append(file)
    if parquet:
        return parquet[first_split(repository, list(parquet), splits)]
    archives = [file for file in siblings if file.rfilename.endswith(ARCHIVES)]
    if len(archives) != 1:
        raise GcbenchError(
            f"{repository} holds no parquet files and {len(archives)} archives, expected one",
            hint="get the set from its authors and give it as class folders, tar or zip",
        )
    return archives


def _check(file: Path, lfs: Any) -> None:
    """Compares a file with the sha256 that the hub keeps for large files."""
    if lfs is None:
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != lfs["sha256"]:
        file.unlink()
        raise GcbenchError(
            f"{file} has sha256 {found}, the hub says {lfs['sha256']}",
            hint="it was deleted: run the same command again",
        )


def hub_error(where: str, page: str, error: Exception) -> GcbenchError:
    """What an exception of the hub's client means; `page` is the path on huggingface.co."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    repository = page.removeprefix("datasets/")
    if isinstance(error, GatedRepoError):
        return GcbenchError(
            f"{repository} is gated",
            hint=f"accept its terms at huggingface.co/{page}, then `hf auth login`",
        )
    if isinstance(error, RepositoryNotFoundError):
        return GcbenchError(f"{where} does not exist or is private", hint="check its page")
    return unreachable(where, error)


def unreachable(where: str, error: Exception) -> GcbenchError:
    """The error for a download that broke off or never began."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return GcbenchError(
        f"{where} could not be fetched ({reason[:200]})",
        hint="run the same command again: a partial download is resumed",
    )
