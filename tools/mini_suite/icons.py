"""Icons of openly licensed sets, drawn on black as Fashion-MNIST's garments are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gcbench.errors import GcbenchError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]

SIDE = 64
OBJECT_SIDE = 56  # leaves 6 % of the side free all around
DRAWING_SIDE = 512
VISIBLE = 0.06  # what is darker than this fraction of white is lost on black

OPEN_LICENCES = {
    "Apache-2.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "OFL-1.1",
}


@dataclass(frozen=True)
class Icon:
    """One line of ``icons.csv``: an icon chosen for a benchmark, and what it shows."""

    benchmark: str
    set: str
    name: str
    label: str

    @property
    def id(self) -> str:
        return f"{self.set}/{self.name}"


@dataclass(frozen=True)
class IconSet:
    """One set as its package ships it; `drawings` maps an icon's name to its RGBA image."""

    name: str
    package: str
    version: str
    licence: str
    licence_url: str
    author: str
    author_url: str
    drawings: Mapping[str, Callable[[], Image]]

    def __post_init__(self) -> None:
        if self.licence not in OPEN_LICENCES:
            raise GcbenchError(
                f"{self.package} has licence {self.licence!r}",
                hint=f"only sets under {', '.join(sorted(OPEN_LICENCES))} may be embedded",
            )

    def draw(self, name: str) -> Image:
        """The icon with its transparency, longest side about `DRAWING_SIDE`, white if monochrome.

        Raises:
            GcbenchError: the set has no such icon.
        """
        if name not in self.drawings:
            raise GcbenchError(
                f"{self.package} {self.version} has no icon {name!r}",
                hint="check the line in tools/mini_suite/icons.csv and the pinned version",
            )
        return self.drawings[name]()


def read_icons(path: Path) -> list[Icon]:
    """Reads ``icons.csv``: columns benchmark, set, icon, label; one line per image."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Icon(row["benchmark"], row["set"], row["icon"], row["label"])
            for row in csv.DictReader(file)
        ]


def read_iconify(folder: Path) -> IconSet:
    """An unpacked ``@iconify-json`` package; licence and author as its info.json states them."""
    info = _read_json(folder / "info.json")
    icons = _read_json(folder / "icons.json")

    def drawing(icon: dict[str, Any]) -> Image:
        left, top, width, height = (
            icon.get(key, icons.get(key, default))
            for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        )
        return rasterise(_svg(icon["body"], f"{left} {top} {width} {height}"))

    return IconSet(
        name=icons["prefix"],
        **_package(folder),
        licence=info["license"].get("spdx", "unknown"),
        licence_url=info["license"].get("url") or info["author"].get("url", ""),
        author=info["author"]["name"],
        author_url=info["author"].get("url", ""),
        drawings={name: partial(drawing, icon) for name, icon in icons["icons"].items()},
    )


def read_openmoji_black(folder: Path) -> IconSet:
    """The line art of an unpacked ``openmoji`` package; icons are named by code point."""
    return IconSet(
        name="openmoji-black",
        **_package(folder),
        licence="CC-BY-SA-4.0",
        licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
        author="OpenMoji",
        author_url="https://openmoji.org",
        drawings={
            path.stem: partial(_rasterise_file, path)
            for path in (folder / "black" / "svg").glob("*.svg")
        },
    )


def read_noto_emoji_font(folder: Path) -> IconSet:
    """The monochrome Noto Emoji font, regular weight; icons are named by code point."""
    from fontTools.pens.svgPathPen import SVGPathPen
    from fontTools.ttLib import TTFont

    font = TTFont(folder / "files" / "noto-emoji-emoji-400-normal.woff")
    glyphs, em = font.getGlyphSet(), font["head"].unitsPerEm

    def drawing(name: str) -> Image:
        pen = SVGPathPen(glyphs)
        glyphs[name].draw(pen)
        path = f'<path transform="scale(1 -1)" fill="currentColor" d="{pen.getCommands()}"/>'
        return rasterise(_svg(path, f"{-em / 2} {-3 * em / 2} {2 * em} {2 * em}"))

    return IconSet(
        name="noto-emoji-font",
        **_package(folder),
        licence="OFL-1.1",
        licence_url="https://openfontlicense.org",
        author="Google Inc",
        author_url="https://github.com/googlefonts/noto-emoji",
        drawings={f"{code:X}": partial(drawing, name) for code, name in font.getBestCmap().items()},
    )


def read_fluent_3d(folder: Path) -> IconSet:
    """The rendered Fluent emoji of ``@lobehub/fluent-emoji-3d``; icons are named by code point."""
    return IconSet(
        name="fluent-emoji-3d",
        **_package(folder),
        licence="MIT",
        licence_url="https://github.com/microsoft/fluentui-emoji/blob/main/LICENSE",
        author="Microsoft Corporation",
        author_url="https://github.com/microsoft/fluentui-emoji",
        drawings={
            path.stem.upper(): partial(_open, path) for path in (folder / "assets").glob("*.webp")
        },
    )


READERS: dict[str, Callable[[Path], IconSet]] = {
    "openmoji-black": read_openmoji_black,
    "noto-emoji-font": read_noto_emoji_font,
    "fluent-emoji-3d": read_fluent_3d,
}


def read_set(name: str, folder: Path) -> IconSet:
    """The set of this name from its unpacked npm package.

    Raises:
        GcbenchError: its licence is not one of `OPEN_LICENCES`.
    """
    return READERS.get(name, read_iconify)(folder)


def rasterise(svg: str) -> Image:
    """Draws an SVG with its longest side at `DRAWING_SIDE` pixels, RGBA."""
    import resvg_py
    from PIL import Image

    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=DRAWING_SIDE, height=DRAWING_SIDE, skip_system_fonts=True
    )
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def rendition(drawing: Image) -> Pixels:
    """The drawing in its colours over black, uint8 [64, 64, 3]."""
    rgba = np.asarray(drawing, dtype=np.float32)  # [H, W, 4]
    return _fit(rgba[..., :3] * rgba[..., 3:] / np.float32(255**2))


def sketch(drawing: Image) -> Pixels:
    """The drawing's ink in white over black, whatever its colour was, uint8 [64, 64]."""
    rgba = np.asarray(drawing, dtype=np.float32)  # [H, W, 4]
    return _fit(rgba[..., 3:] / np.float32(255))[..., 0]


def _fit(channels: npt.NDArray[np.float32]) -> Pixels:
    """Crops [H, W, C] to what shows on black, shrinks by area averaging, centres: [64, 64, C]."""
    from PIL import Image

    visible = channels.max(axis=-1) > VISIBLE
    if not visible.any():
        raise GcbenchError("nothing of the icon shows on black", hint="drop it from icons.csv")
    rows, columns = (np.flatnonzero(visible.any(axis=axis)) for axis in (1, 0))
    channels = channels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = channels.shape[:2]
    scale = OBJECT_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shrunk = np.stack(
        [
            np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BOX))
            for channel in np.moveaxis(channels, -1, 0)
        ],
        axis=-1,
    )  # [h, w, C]
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    canvas = np.zeros((SIDE, SIDE, channels.shape[-1]), dtype=np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = np.rint(shrunk.clip(0, 1) * 255)
    return canvas


def _rasterise_file(path: Path) -> Image:
    return rasterise(path.read_text(encoding="utf-8"))


def _open(path: Path) -> Image:
    from PIL import Image

    return Image.open(path).convert("RGBA")


def _svg(body: str, view_box: str) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view_box}" color="#fff">{body}</svg>'
    )


def _package(folder: Path) -> dict[str, str]:
    package = _read_json(folder / "package.json")
    return {"package": package["name"], "version": package["version"]}


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
