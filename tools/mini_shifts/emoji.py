"""Emoji of ten categories, four vendors and two spans of years."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gcbench._plugins.benchmarks.mini_shifts import EMOJI_10, GroupedSet
from gcbench.errors import GcbenchError
from tools.mini_suite.files import Source
from tools.mini_suite.icons import IconSet, read_iconify, rendition
from tools.mini_suite.packages import read_pins, unpack

SIDE = 28
VENDORS = ("noto", "twemoji", "openmoji", "fluent")
FIRST_LATER_VERSION = 11.0  # of Unicode's emoji list: 2018; the version before it, 5.0, is of 2017
LATEST_VERSION = 15.1  # what all vendors have drawn
LIT, LEAST_LIT = 64, 0.12  # a picture with fewer pixels above LIT does not show on black
# Of each category's earlier code points, ranked by a hash.
ID_SHARE, VAL_SHARE = 0.2, 0.1

SUBGROUPS: Mapping[str, tuple[str, ...]] = {
    "face": ("face-*", "cat-face", "monkey-face"),
    "hand": ("hand-*", "hands"),
    "person": ("person", "person-*", "family"),
    "animal": ("animal-*",),
    "plant or fruit": ("plant-*", "food-fruit", "food-vegetable"),
    "food": ("food-prepared", "food-asian", "food-sweet", "food-marine", "drink", "dishware"),
    "place": ("place-*", "hotel"),
    "vehicle": ("transport-ground", "transport-water", "transport-air"),
    "clothing": ("clothing",),
    "tool": ("tool", "household", "office", "science", "medical", "lock", "writing"),
}


@dataclass(frozen=True)
class Emoji:
    """One code point: hexadecimal in lower case, its class and the version that brought it."""

    code: str
    label: int
    version: float

    @property
    def rank(self) -> str:
        """Decides the split, so that a code point is in one split for all vendors."""
        return hashlib.sha256(f"mini-fmow\0{self.code}".encode()).hexdigest()


def emoji_sets(cache: Path) -> tuple[dict[str, GroupedSet], dict[str, IconSet]]:
    """The four splits, and the vendors' sets by name."""
    pins = read_pins(Path(__file__).with_name("packages.toml"))
    folders = {name: unpack(pins[name], cache) for name in pins}
    vendors = {name: read_iconify(folders[name]) for name in VENDORS}
    names = {name: icon_names(folders[name]) for name in VENDORS}
    drawn: dict[str, list[npt.NDArray[np.uint8]]] = {}
    listed = []
    for emoji in read_list(folders["list"] / "data" / "openmoji.json"):
        if all(emoji.code in names[vendor] for vendor in VENDORS):
            pictures = [picture(vendors[v], names[v][emoji.code]) for v in VENDORS]
            if min((p > LIT).mean() for p in pictures) >= LEAST_LIT:
                drawn[emoji.code] = pictures
                listed.append(emoji)
    parts = split(distinct(listed, drawn))
    return {name: _assembled(part, drawn) for name, part in parts.items()}, vendors


def read_list(path: Path) -> list[Emoji]:
    """The emoji of one code point without skin tone that belong to a category, in list order."""
    found = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        code = entry["hexcode"].lower().removesuffix("-fe0f")
        label = category(entry["subgroups"])
        single = "-" not in code and not entry["skintone"]
        if single and label is not None and not entry["group"].startswith("extras"):
            version = float(entry["unicode"])
            if version <= LATEST_VERSION:
                found.append(Emoji(code, label, version))
    return found


def category(subgroup: str) -> int | None:
    """The class of one of Unicode's subgroups; None where it belongs to no category."""
    for label, name in enumerate(EMOJI_10.labels):
        for pattern in SUBGROUPS[name]:
            if subgroup == pattern or (
                pattern.endswith("*") and subgroup.startswith(pattern.removesuffix("*"))
            ):
                return label
    return None


def icon_names(folder: Path) -> dict[str, str]:
    """An Iconify package's icon names by code point, without the variation selector."""
    characters = json.loads((folder / "chars.json").read_text(encoding="utf-8"))
    return {code.removesuffix("-fe0f"): name for code, name in characters.items()}


def picture(vendor: IconSet, name: str) -> npt.NDArray[np.uint8]:
    """The emoji in grey on black, uint8 [28, 28]; black where nothing of it would show."""
    from PIL import Image

    try:
        colour = rendition(vendor.draw(name))
    except GcbenchError:  # black ink: nothing to see
        return np.zeros((SIDE, SIDE), dtype=np.uint8)
    grey = Image.fromarray(colour).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def distinct(listed: list[Emoji], drawn: Mapping[str, list[npt.NDArray[np.uint8]]]) -> list[Emoji]:
    """Without the emoji that any vendor draws as it draws one before: splits share no picture."""
    kept = []
    seen: set[bytes] = set()
    for emoji in listed:
        pictures = {image.tobytes() for image in drawn[emoji.code]}
        if not pictures & seen:
            kept.append(emoji)
            seen |= pictures
    return kept


def split(listed: list[Emoji]) -> dict[str, list[Emoji]]:
    """Later code points are `ood`; of each category's others some are `id` and some `val`."""
    parts: dict[str, list[Emoji]] = {
        f"mini-fmow-{name}": [] for name in ("train", "val", "id", "ood")
    }
    parts["mini-fmow-ood"] = [e for e in listed if e.version >= FIRST_LATER_VERSION]
    for label in range(len(EMOJI_10)):
        members = sorted(
            (e for e in listed if e.label == label and e.version < FIRST_LATER_VERSION),
            key=lambda e: e.rank,
        )
        held_out = round(ID_SHARE * len(members))
        seen = held_out + round(VAL_SHARE * len(members))
        parts["mini-fmow-id"] += members[:held_out]
        parts["mini-fmow-val"] += members[held_out:seen]
        parts["mini-fmow-train"] += members[seen:]
    return parts


def vendor_sources(content: GroupedSet, vendors: Mapping[str, IconSet]) -> Iterator[Source]:
    """One entry per vendor with the number of its images."""
    for name, vendor in vendors.items():
        yield {
            "name": name,
            "package": vendor.package,
            "version": vendor.version,
            "licence": vendor.licence,
            "licence_url": vendor.licence_url,
            "author": vendor.author,
            "author_url": vendor.author_url,
            "count": content.groups["region"].count(name),
        }


def _assembled(part: list[Emoji], drawn: Mapping[str, list[npt.NDArray[np.uint8]]]) -> GroupedSet:
    """All vendors' pictures of some code points, by class and code point."""
    ordered = sorted(part, key=lambda e: (e.label, e.code))
    count = len(ordered)
    return GroupedSet(
        images=np.concatenate([np.stack(drawn[e.code]) for e in ordered]),
        labels=np.repeat([e.label for e in ordered], len(VENDORS)).astype(np.int64),
        ids=tuple(f"{vendor}/{e.code}" for e in ordered for vendor in VENDORS),
        groups={
            "region": VENDORS * count,
            "version": tuple(f"{e.version:.1f}" for e in ordered for _ in VENDORS),
        },
    )
