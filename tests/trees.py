"""Folders in the shape of the real data sets, with a few tiny images: what the readers expect."""

import csv
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from gcbench._plugins.benchmarks._imagenet_files import class_list

TINY = 8


def jpeg(*key, side=TINY):
    """A small JPEG whose pixels, and with them its size, depend on the key."""
    seed = [ord(c) for c in "/".join(map(str, key))]
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_classes(root: Path, wnids, names, filled=None, side=TINY) -> None:
    """`root/<wnid>/<name>` for all `wnids`; images only in those of `filled` (all if None)."""
    for wnid in wnids:
        (root / wnid).mkdir(parents=True, exist_ok=True)
        if filled is None or wnid in filled:
            for name in names:
                (root / wnid / name).write_bytes(jpeg(root.name, wnid, name, side=side))


def write_imagenet(root: Path, filled=4) -> None:
    """All five sets below `root`, as published; the first `filled` classes of each have images."""
    val = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in (3, 17, 293)]
    sets = {
        "imagenet/val": ("imagenet", val, TINY),
        "imagenet/train": ("imagenet", ["n01440764_18.JPEG", "n01440764_36.JPEG"], TINY),
        "imagenet-r": ("imagenet_r", ["art_0.jpg", "art_1.jpg", "toy_5.jpg"], TINY),
        "imagenet-a": ("imagenet_a", ["0.01_bee _ bee_0.9.jpg", "0.2_fly _ bee_0.4.jpg"], TINY),
        "imagenet-sketch/sketch": ("imagenet", ["sketch_0.JPEG", "sketch_11.JPEG"], TINY),
        "imagenet-c/noise/gaussian_noise/3": ("imagenet", val, 224),
        "imagenet-c/jpeg_compression/3": ("imagenet", val, 224),
    }
    for folder, (classes, names, side) in sets.items():
        wnids = class_list(classes)
        write_classes(root / folder, wnids, names, wnids[:filled], side)
    write(root / "imagenet-a/README.txt", "about these images")


def pack(folder: Path, archive: Path, wrapped: str = "") -> Path:
    """The folder as a tar or zip, below the folder `wrapped` inside it."""
    paths = sorted(folder.rglob("*"))
    if archive.suffix == ".tar":
        with tarfile.open(archive, "w") as packed:
            for path in paths:
                packed.add(path, Path(wrapped, path.relative_to(folder)), recursive=False)
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in paths:
                packed.write(path, Path(wrapped, path.relative_to(folder)))
    return archive


def write_table(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def png(*key, side=TINY):
    """A small PNG whose pixels depend on the key."""
    seed = [ord(c) for c in "/".join(map(str, key))]
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


# (patient, node, x, y, tumor, slide, center, split), in the order of the table's columns.
CAMELYON17_ROWS = (
    ("004", 4, 3328, 21792, 1, 0, 0, 0),
    ("004", 4, 3200, 22272, 0, 0, 0, 1),  # id_val
    ("010", 2, 11, 12, 1, 1, 3, 1),  # id_val
    ("021", 0, 13, 14, 1, 9, 1, 1),  # OOD validation: its center decides
    ("040", 3, 15, 16, 1, 20, 2, 0),  # test
    ("042", 3, 17, 18, 0, 23, 2, 1),  # test: its center decides
)


def write_camelyon17(root: Path) -> Path:
    folder = root / "camelyon17_v1.0"
    columns = ("patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split")
    rows = [
        {"": i, **dict(zip(columns, row, strict=True))} for i, row in enumerate(CAMELYON17_ROWS)
    ]
    write_table(folder / "metadata.csv", rows)
    for patient, node, x, y, *_ in CAMELYON17_ROWS:
        case = f"patient_{patient}_node_{node}"
        write(folder / f"patches/{case}/patch_{case}_x_{x}_y_{y}.png", png(case, x, y))
    return folder


# (image, Blond_Hair, Male, partition)
CELEBA_ROWS = (
    ("000001.jpg", -1, -1, 0),
    ("000002.jpg", 1, -1, 2),
    ("000003.jpg", -1, 1, 2),
    ("000004.jpg", 1, 1, 1),
    ("000005.jpg", 1, 1, 2),
    ("000006.jpg", -1, -1, 2),
)


def write_celeba(root: Path) -> Path:
    folder = root / "celebA_v1.0"
    attributes = [
        {"image_id": image, "Bald": -1, "Blond_Hair": blond, "Male": male, "Young": 1}
        for image, blond, male, _ in CELEBA_ROWS
    ]
    write_table(folder / "list_attr_celeba.csv", attributes)
    partition = [{"image_id": row[0], "partition": row[3]} for row in CELEBA_ROWS]
    write_table(folder / "list_eval_partition.csv", partition[::-1])
    for image, *_ in CELEBA_ROWS:
        write(folder / "img_align_celeba" / image, jpeg(image))
    return folder


# (split, timestamp, country, category)
FMOW_ROWS = (
    ("train", "2010-05-01T10:00:00Z", "USA", "airport"),
    ("seq", "2017-05-01T10:00:00Z", "USA", "airport"),
    ("test", "2012-12-31T23:59:59Z", "FRA", "zoo"),  # id_test
    ("test", "2013-01-01T00:00:00Z", "FRA", "zoo"),  # in no split
    ("val", "2014-05-01T10:00:00Z", "FRA", "dam"),  # OOD validation
    ("test", "2016-01-01T00:00:00Z", "KEN", "dam"),  # test
    ("test", "2015-12-31T23:30:00-01:00", "ATA", "port"),  # test: 2016 in UTC; no region
    ("test", "2016-01-01T00:30:00+01:00", "USA", "port"),  # in no split: 2015 in UTC
    ("test", "2017-06-01T12:00:00.5Z", "???", "tower"),  # test; country not in the mapping
    ("val", "2011-06-01T12:00:00Z", "USA", "zoo"),  # id_val
)


def write_fmow(root: Path) -> Path:
    folder = root / "fmow_v1.1"
    columns = ("split", "timestamp", "country_code", "category")
    rows = [{"cloud": 3, **dict(zip(columns, row, strict=True))} for row in FMOW_ROWS]
    write_table(folder / "rgb_metadata.csv", rows)
    regions = {"USA": "Americas", "FRA": "Europe", "KEN": "Africa", "ATA": ""}
    mapping = [{"name": c, "alpha-3": c, "region": region} for c, region in regions.items()]
    write_table(folder / "country_code_mapping.csv", mapping)
    for number, row in enumerate(FMOW_ROWS):
        if row[0] != "seq":
            write(folder / f"images/rgb_img_{number}.png", png(number))
    return folder
