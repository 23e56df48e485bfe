"""Finds or downloads Fashion-MNIST, whose training split is too large to ship."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from gcbench.errors import GcbenchError

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")

# sha256 of the uncompressed files: distributions compress the same bytes differently.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def find_fashion_mnist(folder: Path | None, dest: Path) -> Path:
    """Puts the four checked files of Fashion-MNIST into ``dest/fashion-mnist/`` as gzipped IDX.

    Sources, in this order: `folder` (searched with its subfolders, gzipped or plain) and nothing
    else when one is given; what an earlier call left in `dest`; an installed Debian package;
    Debian's package, downloaded and unpacked without root; torchvision's mirror.

    Returns:
        The folder ``dest/fashion-mnist``.

    Raises:
        GcbenchError: no source has all four files, or one of them is not what it should be.
    """
    target = dest / "fashion-mnist"
    places = [folder] if folder else [target, Path("/") / DEBIAN_FOLDER]
    if folder and not folder.is_dir():
        raise GcbenchError(f"no folder {folder}", hint="name the folder of the four IDX files")
    missing: list[str] = []
    for place in places:
        found = _search(place)
        missing = [name for name in SHA256 if name not in found]
        if not missing:
            return _copy(found, target)
    if folder:
        raise GcbenchError(
            f"{folder} holds no {missing[0]}[.gz]",
            hint="the folder must hold Fashion-MNIST's four IDX files, gzipped or plain",
        )
    with tempfile.TemporaryDirectory() as scratch:
        return _copy(_download(Path(scratch)), target)


def _search(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*-ubyte*")):
        name = path.name.removesuffix(".gz")
        if name in SHA256 and path.is_file():
            found.setdefault(name, path)
    return found


def _copy(found: dict[str, Path], target: Path) -> Path:
    """Checks the four files and writes them gzipped into `target`, each of them atomically."""
    target.mkdir(parents=True, exist_ok=True)
    for name, path in found.items():
        content = _checked_content(name, path)
        place = target / f"{name}.gz"
        if place.exists() and path.samefile(place):
            continue
        partial = place.with_suffix(f".{os.getpid()}.part")
        if path.suffix == ".gz":
            shutil.copyfile(path, partial)
        else:
            partial.write_bytes(gzip.compress(content, mtime=0))
        partial.replace(place)
    return target


def _checked_content(name: str, path: Path) -> bytes:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:  # a bad gzip header is an OSError, a cut one EOFError
        raise GcbenchError(f"{path} cannot be read: {error}", hint="fetch the file again") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise GcbenchError(
            f"{path} is not Fashion-MNIST's {name}: sha256 {digest[:12]}..., "
            f"expected {SHA256[name][:12]}...",
            hint="fetch the file again",
        )
    return content


def _download(scratch: Path) -> dict[str, Path]:
    reasons = []
    for source in (_from_debian, _from_torchvision):
        try:
            found = _search(source(scratch))
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or str(error)
            reasons.append(reason.strip().splitlines()[-1])
            continue
        if len(found) == len(SHA256):
            return found
        reasons.append(f"{source.__name__} gave {len(found)} of {len(SHA256)} files")
    raise GcbenchError(
        f"Fashion-MNIST could not be downloaded: {'; '.join(reasons)}",
        hint="fetch its four IDX files on another machine and name their folder",
    )


def _from_debian(scratch: Path) -> Path:
    """Debian's package, unpacked without root."""
    subprocess.run(
        ["apt-get", "download", DEBIAN_PACKAGE],
        cwd=scratch,
        check=True,
        capture_output=True,
        text=True,
    )
    for package in scratch.glob(f"{DEBIAN_PACKAGE}_*.deb"):
        subprocess.run(
            ["dpkg-deb", "-x", package, scratch], check=True, capture_output=True, text=True
        )
    return scratch / DEBIAN_FOLDER


def _from_torchvision(scratch: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    FashionMNIST(root=scratch, download=True)
    return scratch / "FashionMNIST" / "raw"
