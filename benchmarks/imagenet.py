"""ImageNet and its shifted sets: validation, R(enditions), Sketch, A(dversarial), C(orruptions)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gcbench.bench import (
    Benchmark,
    BenchmarkFamily,
    LabelSpace,
    Sample,
    content_digest,
    ordered_classes,
)
from gcbench.corruptions import SEVERITIES, gaussian_noise, jpeg_compression
from gcbench.errors import GcbenchError, unknown_name
from gcbench.images import decode
from gcbench.sources.download import fetch_data_set
from gcbench.sources.hub import cached_snapshot, is_hub_folder, open_rows
from gcbench.sources.places import find, refuse_to_copy

from ._imagenet_files import (
    Entry,
    class_list,
    corruption_folder,
    from_class_folders,
    from_hub,
    read_entries,
    readable_labels,
)

if TYPE_CHECKING:
    from PIL.Image import Image

# The tars of ImageNet-C hold these; "extra" was kept apart for validation by its authors.
CORRUPTIONS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
GROUP_OF = {corruption: group for group, members in CORRUPTIONS.items() for corruption in members}
SHORT = {"in-c-gauss": ("gaussian_noise", 3), "in-c-jpeg": ("jpeg_compression", 3)}
COMPUTED = ":computed"
TRAINING = "in-train"  # learned from, and no benchmark
CROPPED_SIDE = 224  # of every image of ImageNet-C


@dataclass(frozen=True)
class ImageSet:
    """One published set.

    Attributes:
        classes: name of its class list.
        stems: paths below a data root where it may lie, without the suffix of an archive.
        hub: its repository on the Hugging Face hub; a run looks for it in the local cache only.
        splits: the split of such a repository, the best name first.
        expected: how many images the complete set has; None where sources disagree.
        source: how to get it.
    """

    classes: str
    stems: tuple[str, ...]
    hub: str | None
    splits: tuple[str, ...]
    expected: int | None
    source: str


SETS = {
    "in-val": ImageSet(
        "imagenet",
        (
            *("imagenet/val", "ILSVRC2012/val", "ILSVRC/Data/CLS-LOC/val", "imagenet-val"),
            *("ILSVRC2012_img_val", "imagenet/ILSVRC2012_img_val", "imagenet-1k"),
        ),
        "ILSVRC/imagenet-1k",
        ("validation", "val"),
        50_000,
        "ILSVRC2012_img_val.tar and the devkit from image-net.org (free registration), or the hub "
        "data set ILSVRC/imagenet-1k (gated: accept its terms there first)",
    ),
    TRAINING: ImageSet(
        "imagenet",
        (
            *("imagenet/train", "ILSVRC2012/train", "ILSVRC/Data/CLS-LOC/train", "imagenet-train"),
            *("ILSVRC2012_img_train", "imagenet/ILSVRC2012_img_train", "imagenet-1k"),
        ),
        "ILSVRC/imagenet-1k",
        ("train",),
        1_281_167,
        "ILSVRC2012_img_train.tar from image-net.org (free registration; unpack the tar of every "
        "class into a folder of its name), or the hub data set ILSVRC/imagenet-1k (gated: accept "
        "its terms there first)",
    ),
    "in-r": ImageSet(
        "imagenet_r",
        ("imagenet-r", "imagenet_r", "ImageNet-R"),
        "axiong/imagenet-r",
        ("test", "validation", "train"),
        30_000,
        "imagenet-r.tar, linked from github.com/hendrycks/imagenet-r, or the hub data set "
        "axiong/imagenet-r",
    ),
    "in-s": ImageSet(
        "imagenet",
        ("imagenet-sketch", "imagenet_sketch", "ImageNet-Sketch", "sketch"),
        "songweig/imagenet_sketch",
        ("test", "validation", "train"),
        None,
        "ImageNet-Sketch.zip, linked from github.com/HaohanWang/ImageNet-Sketch",
    ),
    "in-a": ImageSet(
        "imagenet_a",
        ("imagenet-a", "imagenet_a", "ImageNet-A"),
        "barkermrl/imagenet-a",
        ("test", "validation", "train"),
        None,
        "imagenet-a.tar, linked from github.com/hendrycks/natural-adv-examples, or the hub data "
        "set barkermrl/imagenet-a",
    ),
    "in-c": ImageSet(
        "imagenet",
        ("imagenet-c", "imagenet_c", "ImageNet-C"),
        None,
        (),
        50_000,
        "noise.tar, blur.tar, weather.tar, digital.tar, extra.tar from zenodo.org/records/2235448",
    ),
}
# One repository per corruption and severity; who made them from what, they do not say.
CORRUPTED_HUB = "Tsomaros/ImageNet-C-{}-severity_{}"


def _canonical(name: str) -> str:
    """One name for the same files: ImageNet-C's short names stand for full ones."""
    return "in-c:{}:{}".format(*SHORT[name]) if name in SHORT else name


def _set_of(name: str) -> str:
    if name.endswith(COMPUTED):
        return "in-val"
    return name if name in SETS else "in-c"


def _image_set(name: str) -> ImageSet:
    """What a benchmark reads: for ImageNet-C the whole set, or the corruption's own hub set.

    Raises:
        GcbenchError: no such corruption or severity.
    """
    key = _set_of(name)
    if key != "in-c" or name == key:
        return SETS[key]
    hub = CORRUPTED_HUB.format(*_corruption(name))
    stems = (*SETS[key].stems, hub.partition("/")[2])
    source = f"{SETS[key].source}, or the hub data set {hub} (of unknown provenance)"
    return replace(SETS[key], stems=stems, hub=hub, splits=("validation", "val"), source=source)


NAMES = {
    "in-val": "ImageNet validation",
    "in-r": "ImageNet-R: renditions of 200 classes",
    "in-s": "ImageNet-Sketch",
    "in-a": "ImageNet-A: natural adversarial examples of 200 classes",
    "in-c-gauss": "ImageNet-C gaussian noise, severity 3 (all: in-c:CORRUPTION:1..5)",
    "in-c-jpeg": "ImageNet-C JPEG compression, severity 3 (own copy: in-c-jpeg:computed)",
}


class ImageNet(BenchmarkFamily):
    """The sets of the paper's ImageNet tables, labelled by the 1,000 classes of ImageNet-1K."""

    suite: ClassVar[str] = "imagenet"
    names: ClassVar[Mapping[str, str]] = NAMES
    data_sets: ClassVar[Mapping[str, str]] = {
        name: SETS[_set_of(name)].source for name in (*NAMES, "in-c", TRAINING)
    }
    training_sets: ClassVar[tuple[str, ...]] = ("imagenet",)

    def fetch(
        self,
        name: str,
        data_root: Path,
        source: Path | None = None,
        echo: Callable[[str], object] = print,
    ) -> Path:
        """Downloads a set from the Hugging Face hub, where it is on the hub."""
        key, wanted = _set_of(name), _image_set(name)
        refuse_to_copy(name, key, source)
        if wanted.hub is None:
            raise GcbenchError(
                f"{name} as a whole is not on the hub",
                hint=f"get {wanted.source}; or fetch one corruption, as in-c:fog:3",
            )
        target = data_root / wanted.hub.partition("/")[2]
        return fetch_data_set(wanted.hub, wanted.splits, target, echo)

    def accepts(self, name: str) -> bool:
        return (
            name in self.names or name.startswith("in-c:") or name.removesuffix(COMPUTED) in SHORT
        )

    def locate(self, name: str, data_root: Path | None = None) -> str:
        return str(_place(name, data_root))

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        """The benchmark `name`, its candidate classes being those that have images.

        Names beside those listed: `in-c:fog:3` for any of ImageNet-C's 19 corruptions and 5
        severities; `in-c-gauss:computed` and `in-c-jpeg:computed`, which corrupt the validation
        images here instead of reading the published files (those were compressed once more when
        they were saved, so results are not the same and the name says so).

        Raises:
            GcbenchError: the data are missing, or their classes are not those of the set.
        """
        wanted = _image_set(name)
        place = _place(name, data_root)
        entries, load = self._entries(name, wanted, place)
        if not entries:
            raise GcbenchError(f"{name}: {place} holds no images", hint=wanted.source)
        position = {wnid: label for label, wnid in enumerate(class_list("imagenet"))}
        rows = [(e.id, position[e.wnid], e.size) for e in entries]
        return Benchmark(
            name=name,
            suite=self.suite,
            label_space=LabelSpace("imagenet-1k", readable_labels()),
            classes=ordered_classes([position[e.wnid] for e in entries]),
            samples=tuple(Sample(e.id, position[e.wnid], partial(load, e)) for e in entries),
            digest=content_digest(_canonical(name), rows),
            shortfall=_shortfall(wanted, len(entries), len({e.wnid for e in entries})),
        )

    def load_training(
        self, name: str, data_root: Path | None = None
    ) -> tuple[Benchmark, Benchmark | None]:
        """The 1.28 million training images; its validation images are a benchmark."""
        return self.load(TRAINING, data_root), None

    def _entries(
        self, name: str, wanted: ImageSet, place: Path
    ) -> tuple[Sequence[Entry], Callable[[Entry], Image]]:
        """The files of a benchmark, and how an image is made of one."""
        wnids = class_list(wanted.classes)
        if _set_of(name) != "in-c":
            entries = read_entries(place, wnids, wanted.splits, name)
            if not name.endswith(COMPUTED):
                return entries, decoded
            corruption, severity = SHORT[name.removesuffix(COMPUTED)]
            return entries, partial(corrupted, corruption, severity)
        if is_hub_folder(place):
            return from_hub(open_rows(place, wanted.splits), wnids, name), published_crop
        corruption, severity = _corruption(name)
        source, root = corruption_folder(place, GROUP_OF[corruption], corruption, severity)
        return from_class_folders(source, root, wnids, name), published_crop


def decoded(entry: Entry) -> Image:
    """The image of a file. Raises OSError, naming it, when it cannot be read or decoded."""
    return decode(entry.read(), entry.shown)


def published_crop(entry: Entry) -> Image:
    """An image of ImageNet-C, marked as cropped already. Raises OSError when it is not."""
    image = decoded(entry)
    if image.size != (CROPPED_SIDE, CROPPED_SIDE):
        width, height = image.size
        raise OSError(
            f"{entry.shown} is {width} x {height}, expected {CROPPED_SIDE} x {CROPPED_SIDE}"
        )
    return _marked(image)


def corrupted(corruption: str, severity: int, entry: Entry) -> Image:
    """A clean image, cropped as ImageNet-C's authors did and corrupted here."""
    import numpy as np
    from PIL import Image as pil

    pixels = np.asarray(central_square(decoded(entry)))  # [224, 224, 3]
    if corruption == "gaussian_noise":
        return _marked(pil.fromarray(gaussian_noise(pixels, severity, entry.id)))
    return _marked(pil.fromarray(jpeg_compression(pixels, severity)))


def central_square(image: Image) -> Image:
    """Short side to 256 by bilinear filtering, then the central 224 x 224 square.

    Torchvision's `Resize(256)` and `CenterCrop(224)`, from which `make_imagenet_c.py` starts.
    """
    from PIL.Image import Resampling

    scale = 256 / min(image.size)
    width, height = (256 if side == min(image.size) else int(side * scale) for side in image.size)
    image = image.resize((width, height), Resampling.BILINEAR)
    left, top = round((width - CROPPED_SIDE) / 2), round((height - CROPPED_SIDE) / 2)
    return image.crop((left, top, left + CROPPED_SIDE, top + CROPPED_SIDE))


def _marked(image: Image) -> Image:
    image.info["precropped"] = CROPPED_SIDE
    return image


def _corruption(name: str) -> tuple[str, int]:
    if name in SHORT:
        return SHORT[name]
    _, corruption, severity, *rest = (*name.split(":"), "", "")
    if corruption not in GROUP_OF:
        raise unknown_name(f"corruption in {name}:", corruption, GROUP_OF)
    if severity not in map(str, SEVERITIES) or any(rest):
        raise GcbenchError(
            f"{name}: got severity {severity!r}, expected 1 to 5",
            hint=f"for example in-c:{corruption}:3",
        )
    return corruption, int(severity)


def _shortfall(wanted: ImageSet, images: int, classes: int) -> str:
    parts = []
    if classes < len(class_list(wanted.classes)):
        parts.append(f"{len(class_list(wanted.classes)):,} classes")
    if wanted.expected is not None and images != wanted.expected:
        parts.append(f"{wanted.expected:,} images")
    return f"the complete set has {' and '.join(parts)}" if parts else ""


def _place(name: str, data_root: Path | None) -> Path:
    wanted = _image_set(name)
    try:
        known = _set_of(name) if name.endswith(COMPUTED) else name
        fetch = "" if wanted.hub is None else f"gcbench fetch {known}, or "
        return find(_set_of(name), wanted.stems, data_root, hint=f"{fetch}get {wanted.source}")
    except GcbenchError:
        snapshot = None if wanted.hub is None else cached_snapshot(wanted.hub)
        if snapshot is None:
            raise
        return snapshot
