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
