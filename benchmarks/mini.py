"""The mini suite: small real images that ship with gcbench, in the roles of the ImageNet sets."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gcbench.bench import Benchmark, BenchmarkFamily, LabelSpace, Sample, ordered_classes
from gcbench.corruptions import SEVERITIES, gaussian_noise, jpeg_compression
from gcbench.errors import GcbenchError
from gcbench.resources import resource

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    Pixels = npt.NDArray[np.uint8]
    Labels = npt.NDArray[np.int64]

FASHION_10 = LabelSpace(
    "fashion-10",
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)


@dataclass(frozen=True)
class ImageSet:
    """Images of one size with their labels and ids."""

    images: Pixels  # [N, H, W] grey or [N, H, W, 3]
    labels: Labels  # [N] indices into a label space
    ids: tuple[str, ...]

    def benchmark(self, name: str, suite: str, label_space: LabelSpace) -> Benchmark:
        """The images as a benchmark; the classes present are the candidates."""
        labels = self.labels.tolist()
        return Benchmark(
            name=name,
            suite=suite,
            label_space=label_space,
            classes=ordered_classes(labels),
            samples=tuple(
                Sample(id, label, partial(as_rgb, image))
                for id, label, image in zip(self.ids, labels, self.images, strict=True)
            ),
            digest=content_digest(self.images, self.labels),
        )


class Mini(BenchmarkFamily):
    """Fashion-MNIST test images, their corruptions, and icons of the same garments."""

    suite: ClassVar[str] = "mini"
    names: ClassVar[dict[str, str]] = {
        "mini-val": "Fashion-MNIST, the first 200 test images per class",
        "mini-r": "renditions: colour emoji and filled icons",
        "mini-s": "sketches: line-art icons",
        "mini-a": "Fashion-MNIST test images that a reference CNN gets wrong",
        "mini-c-gauss": "mini-val with gaussian noise, severity 3 (others: mini-c:gauss:1..5)",
        "mini-c-jpeg": "mini-val with JPEG compression, severity 3 (others: mini-c:jpeg:1..5)",
    }

    data_sets: ClassVar[dict[str, str]] = {
        "fashion-mnist": "60,000 training and 10,000 test images, 31 MB, MIT licence"
    }

    def fetch(
        self,
        name: str,
        data_root: Path,
        source: Path | None = None,
        echo: Callable[[str], object] = print,
    ) -> Path:
        """Brings Fashion-MNIST, on whose training split the mini models are trained."""
        from ._fashion_mnist import find_fashion_mnist

        return find_fashion_mnist(source, data_root)

    def accepts(self, name: str) -> bool:
        return name in self.names or _corruption(name) is not None

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        """The benchmark `name`; its pixels ship with gcbench, so `data_root` is not read.

        Raises:
            GcbenchError: an embedded file is damaged.
        """
        corruption = _corruption(name)
        chosen = corrupted(*corruption) if corruption else read_embedded(name)
        return chosen.benchmark(name, self.suite, FASHION_10)


def content_digest(images: Pixels, labels: Labels) -> str:
    """sha256 over a header of dtypes and shapes, then all pixels, then all labels (little-endian).

    Header, ASCII with a closing newline: ``images uint8 2000x28x28 labels int64 2000``.
    """
    shapes = ("x".join(map(str, array.shape)) for array in (images, labels))
    header = "images uint8 {} labels int64 {}\n".format(*shapes)
    digest = hashlib.sha256(header.encode("ascii"))
    digest.update(images.astype("u1", order="C").tobytes())
    digest.update(labels.astype("<i8", order="C").tobytes())
    return digest.hexdigest()


def read_manifest(name: str) -> dict[str, Any]:
    """Counts, digest, sources and licences of an embedded set."""
    with resource(f"benchmarks/manifests/{name}.toml").open("rb") as file:
        return tomllib.load(file)


def read_embedded(name: str) -> ImageSet:
    """An embedded set, checked against its manifest.

    Raises:
        GcbenchError: the file is damaged or not the one that the manifest describes.
    """
    return read_image_set(resource(f"benchmarks/data/{name}.npz"), read_manifest(name))


def read_image_set(path: Path, manifest: dict[str, Any]) -> ImageSet:
    """Reads ``images``, ``labels`` and ``ids`` of an npz file and checks them.

    Raises:
        GcbenchError: the file cannot be read, or its digest, count or classes are not those of
            the manifest.
    """
    hint = "the file is damaged: reinstall gcbench, or rebuild it with python -m tools.mini_suite"
    images, labels, ids = read_arrays(path, ("images", "labels", "ids"), hint)
    per_class = Counter(FASHION_10.labels[label] for label in labels.tolist())
    found = {"count": len(ids), "per_class": per_class}
    check_content(path, manifest, content_digest(images, labels), found, hint)
    return ImageSet(images, labels, tuple(ids.tolist()))


def check_content(
    path: Path, manifest: Mapping[str, Any], digest: str, counts: Mapping[str, object], hint: str
) -> None:
    """Raises GcbenchError when an embedded file is not what its manifest says.

    Args:
        counts: entries of the manifest, counted anew.
        hint: what to do then.
    """
    if digest != manifest["digest"]:
        raise GcbenchError(
            f"{path.name} has digest {digest[:12]}..., "
            f"its manifest says {manifest['digest'][:12]}...",
            hint=hint,
        )
    if any(manifest[key] != value for key, value in counts.items()):
        raise GcbenchError(f"{path.name} and its manifest count differently", hint=hint)


def read_arrays(path: Path, names: Sequence[str], hint: str) -> list[npt.NDArray[Any]]:
    """The named arrays of an npz file.

    Raises:
        GcbenchError: the file is damaged or lacks one of them; `hint` says what to do.
    """
    import zipfile
    import zlib

    import numpy as np

    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return [file[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise GcbenchError(f"{path.name} cannot be read: {error}", hint=hint) from None


def corrupted(kind: str, severity: int) -> ImageSet:
    """mini-val with a corruption ("gauss" or "jpeg") of severity 1 to 5, ids unchanged."""
    if severity == 3:
        return read_embedded(f"mini-c-{kind}")
    return corrupt(read_embedded("mini-val"), kind, severity)


def corrupt(clean: ImageSet, kind: str, severity: int) -> ImageSet:
    """The same set with every image corrupted."""
    import numpy as np

    images = [
        gaussian_noise(image, severity, id)
        if kind == "gauss"
        else jpeg_compression(image, severity)
        for image, id in zip(clean.images, clean.ids, strict=True)
    ]
    return ImageSet(np.stack(images), clean.labels, clean.ids)


def _corruption(name: str) -> tuple[str, int] | None:
    match = re.fullmatch(r"mini-c:(gauss|jpeg):(\d)", name)
    if match is None or int(match[2]) not in SEVERITIES:
        return None
    return match[1], int(match[2])


def as_rgb(image: Pixels) -> Image:
    """A grey or RGB picture as the raw RGB image that methods are given."""
    from PIL import Image

    return Image.fromarray(image).convert("RGB")
