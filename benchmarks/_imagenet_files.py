"""The layouts in which ImageNet and its shifted sets lie on disk, all giving the same entries.

An entry's id is `<wnid>/<file name>` whatever holds the file, so results agree between a folder, a
tar, a zip and (where the hub kept the file names) a Hugging Face data set.
"""

from __future__ import annotations

import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path

from gcbench.errors import GcbenchError
from gcbench.sources import Source, descend, open_source
from gcbench.sources.files import joined
from gcbench.sources.hub import HubRows, is_hub_folder, open_rows
from gcbench.sources.tables import read_rows

WNID = re.compile(r"n\d{8}")
FLAT_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
DEVKIT = "ILSVRC2012_devkit_t12"
KAGGLE_LABELS = "LOC_val_solution.csv"


@dataclass(frozen=True)
class Entry:
    """An image file of a class. `shown` is its full name for people; `size` is in bytes."""

    id: str
    wnid: str
    size: int | None
    shown: str
    read: Callable[[], bytes]


@lru_cache
def class_list(name: str) -> tuple[str, ...]:
    """The wnids of a set, sorted: "imagenet" (1,000), "imagenet_r" or "imagenet_a" (200 each).

    Read from the lists that timm ships, without importing timm. Position in the list of 1,000 is
    the label of every model trained on ImageNet-1K.
    """
    return tuple(_timm_list(f"{name}_synsets.txt"))


@lru_cache
def readable_labels() -> tuple[str, ...]:
    """A readable name for each of the 1,000 classes; a name of two classes gets its wnid."""
    lemmas = dict(line.split("\t", 1) for line in _timm_list("imagenet_synset_to_lemma.txt"))
    names = [lemmas[wnid] for wnid in class_list("imagenet")]
    return tuple(
        f"{name} ({wnid})" if names.count(name) > 1 else name
        for name, wnid in zip(names, class_list("imagenet"), strict=True)
    )


def read_entries(
    location: Path, wnids: Sequence[str], splits: Sequence[str], name: str
) -> list[Entry]:
    """The images of a set, ordered by id, from any layout that it is published in.

    Args:
        location: class folders or the flat validation images, in a folder, tar or zip; or a
            folder in one of Hugging Face's formats.
        wnids: the classes that must be there, all of them and no others.
        splits: which split of a Hugging Face data set to take, the best first.
        name: of the benchmark, for messages.

    Raises:
        GcbenchError: another layout, or missing, extra or renamed class folders.
    """
    if location.is_dir() and not _has_classes(source := open_source(location), ""):
        if is_hub_folder(location):
            return from_hub(open_rows(location, splits), wnids, name)
    else:
        source = open_source(location)
    root = descend(source, lambda s, path: _has_classes(s, path) or _is_flat(s, path))
    if root is None:
        raise GcbenchError(
            f"{name}: {location} holds no class folders (as {wnids[0]})",
            hint="give the folder (or tar, or zip) whose folders are named by WordNet id",
        )
    if _has_classes(source, root):
        return from_class_folders(source, root, wnids, name)
    return from_flat(source, root, validation_labels(location))


def from_class_folders(source: Source, root: str, wnids: Sequence[str], name: str) -> list[Entry]:
    """The images of `<root>/<wnid>/`. Raises GcbenchError when the folders are not `wnids`."""
    _check_classes(source.folders(root), wnids, f"{name}: {source.shown(root)}", "class folder")
    return [
        Entry(f"{wnid}/{file}", wnid, size, source.shown(path), partial(source.read, path))
        for wnid in wnids
        for file, size in source.images(joined(root, wnid)).items()
        for path in [joined(root, f"{wnid}/{file}")]
    ]


def from_flat(source: Source, root: str, labels: Mapping[int, str]) -> list[Entry]:
    """The 50,000 validation images in one folder, `labels` their wnids by image number.

    Raises:
        GcbenchError: an image's number has no label.
    """
    entries = []
    for file, size in source.images(root).items():
        match = FLAT_NAME.fullmatch(file)
        if match is None:
            continue
        if int(match[1]) not in labels:
            raise GcbenchError(
                f"{source.shown(joined(root, file))} has no label: {len(labels)} images have one",
                hint="give the images and their labels of the same release",
            )
        wnid, path = labels[int(match[1])], joined(root, file)
        read = partial(source.read, path)
        entries.append(Entry(f"{wnid}/{file}", wnid, size, source.shown(path), read))
    return sorted(entries, key=lambda e: e.id)


def validation_labels(images: Path) -> dict[int, str]:
    """The wnid of each validation image by number, from what lies beside or above the images.

    That is the devkit, whose ground truth holds ILSVRC ids, the labels of no model, and whose
    `meta.mat` says which wnid each one is; or Kaggle's table, which names wnids. Kaggle keeps it
    four folders above the images.

    Raises:
        GcbenchError: there is neither, or it is damaged.
    """
    places = [images, *images.absolute().parents[:4]]
    for place in places:
        for kit in (place / DEVKIT, place / f"{DEVKIT}.tar.gz"):
            if kit.exists():
                return _devkit_labels(kit)
        if (place / KAGGLE_LABELS).is_file():
            return _kaggle_labels(place)
    raise GcbenchError(
        f"{images} holds validation images without class folders, and neither {DEVKIT} (folder or "
        f".tar.gz) nor {KAGGLE_LABELS} lies there or up to four folders above",
        hint=f"put {DEVKIT}.tar.gz beside the images; it says which class each one is",
    )


def from_hub(rows: HubRows, wnids: Sequence[str], name: str) -> list[Entry]:
    """The rows of a Hugging Face data set, labelled by a column of wnids or by class names.

    Integers are trusted only together with names that say what they mean: wnids, or the 1,000
    names of ImageNet-1K, whose order is that of the sorted wnids.

    Raises:
        GcbenchError: the columns do not say which class a row is, or classes are missing or extra.
    """
    found = _hub_wnids(rows, name)
    _check_classes(set(found), wnids, f"{name}: {rows.location}", "class")
    files = rows.file_names()
    # The hub's ImageNet archives end each name with the wnid; the original names do not.
    names = [
        None if file is None else file.replace(f"_{wnid}.", ".")
        for file, wnid in zip(files, found, strict=True)
    ]
    ids = [f"{wnid}/{file}" for wnid, file in zip(found, names, strict=True)]
    if None in names or len(set(ids)) < len(ids):
        ids = [f"{wnid}/row-{row:08d}" for row, wnid in enumerate(found)]
    entries = [
        Entry(id, wnid, None, f"{rows.location}, row {row}", partial(rows.image, row))
        for row, (id, wnid) in enumerate(zip(ids, found, strict=True))
    ]
    return sorted(entries, key=lambda e: e.id)


def corruption_folder(
    location: Path, group: str, corruption: str, severity: int
) -> tuple[Source, str]:
    """Source and folder of one corruption of ImageNet-C, published with or without its group.

    `location` holds the corruptions' folders, the groups' folders, or a tar or zip of either per
    group or corruption; or is such an archive.

    Raises:
        GcbenchError: the corruption is not there.
    """
    inside = (f"{corruption}/{severity}", f"{group}/{corruption}/{severity}")
    archives = [
        location / f"{stem}{end}" for stem in (group, corruption) for end in (".tar", ".zip")
    ]
    for place in (location, *(a for a in archives if a.is_file())):
        source = open_source(place)
        root = descend(source, lambda s, path: any(s.has_folder(joined(path, i)) for i in inside))
        if root is not None:
            return source, next(p for i in inside if source.has_folder(p := joined(root, i)))
    raise GcbenchError(
        f"{location} holds no {inside[0]} (nor {inside[1]}, nor {group}.tar)",
        hint=f"fetch {group}.tar of ImageNet-C from zenodo.org/records/2235448",
    )


def _timm_list(file: str) -> list[str]:
    spec = find_spec("timm")
    if spec is None or spec.submodule_search_locations is None:
        raise GcbenchError(
            "timm, whose class lists are needed, is not installed", hint="install it"
        )
    path = Path(spec.submodule_search_locations[0], "data", "_info", file)
    return path.read_text("utf-8").splitlines()


def _has_classes(source: Source, path: str) -> bool:
    return any(WNID.fullmatch(folder) for folder in source.folders(path))


def _is_flat(source: Source, path: str) -> bool:
    return any(FLAT_NAME.fullmatch(file) for file in source.images(path))


def _check_classes(found: Iterable[str], wnids: Sequence[str], where: str, what: str) -> None:
    missing = sorted(set(wnids) - set(found))
    extra = sorted(set(found) - set(wnids))
    if not missing and not extra:
        return
    parts = []
    if missing:
        parts.append(f"{what} {missing[0]} is missing (one of {len(missing)})")
    if extra:
        parts.append(f"{what} {extra[0]!r} does not belong there (one of {len(extra)})")
    hint = f"the set has {len(wnids)} classes, named by WordNet id"
    if missing and extra:
        hint += "; was a folder renamed?"
    raise GcbenchError(f"{where}: {'; '.join(parts)}", hint=hint)


def _devkit_labels(kit: Path) -> dict[int, str]:
    import numpy as np
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    files = ("data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat")
    try:
        if kit.is_dir():
            truth, meta = ((kit / file).read_bytes() for file in files)
        else:
            with tarfile.open(kit) as packed:
                members = [packed.extractfile(f"{DEVKIT}/{file}") for file in files]
                truth, meta = (b"" if member is None else member.read() for member in members)
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        ids = np.asarray(synsets["ILSVRC2012_ID"], int).tolist()
        wnid_of = dict(zip(ids, map(str, synsets["WNID"]), strict=True))
        return {
            number: wnid_of[int(line)]
            for number, line in enumerate(truth.decode().split(), start=1)
        }
    except (
        *(OSError, tarfile.TarError, EOFError, KeyError, ValueError, TypeError),
        *(MatReadError, zlib.error),
    ) as error:
        raise GcbenchError(
            f"{kit} cannot be read ({type(error).__name__}: {error})",
            hint=f"the devkit is damaged or incomplete: fetch {DEVKIT}.tar.gz again",
        ) from error


def _kaggle_labels(folder: Path) -> dict[int, str]:
    """A row names an image and lists its boxes, each led by the wnid, the same for all of them."""
    labels = {}
    for row in read_rows(open_source(folder), KAGGLE_LABELS, ("ImageId", "PredictionString")):
        name = FLAT_NAME.fullmatch(f"{row.text('ImageId')}.JPEG")
        if name is None:
            raise row.error("ImageId", "ILSVRC2012_val_ and eight digits")
        wnid = row.text("PredictionString").partition(" ")[0]
        if WNID.fullmatch(wnid) is None:
            raise row.error("PredictionString", "a WordNet id first, as n01440764")
        labels[int(name[1])] = wnid
    return labels


def _hub_wnids(rows: HubRows, name: str) -> list[str]:
    if "wnid" in rows.columns:
        return [str(wnid) for wnid in rows.column("wnid")]
    names = rows.class_names("label") if "label" in rows.columns else None
    if names and all(map(WNID.fullmatch, names)):
        order: Sequence[str] = names
    elif names and len(names) == len(class_list("imagenet")):
        order = class_list("imagenet")
    else:
        raise GcbenchError(
            f"{name}: {rows.location} does not say which class a row is; its columns are "
            f"{', '.join(rows.columns)}",
            hint="a column 'wnid' or a 'label' with class names is needed",
        )
    labels = rows.column("label")
    for row, label in enumerate(labels):
        if not 0 <= label < len(order):
            raise GcbenchError(f"{name}: {rows.location}, row {row}: no class has label {label}")
    return [order[label] for label in labels]
