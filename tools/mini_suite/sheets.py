"""Contact sheets: every icon, and the first test images of each class, for a person to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcbench._plugins.benchmarks.mini import FASHION_10, ImageSet
from gcbench.bench import LabelSpace

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

COLUMNS = 12
THUMBNAIL = 84
CELL = 100, 112  # width, height
TITLE, HEADER = 40, 28
BACKGROUND, TEXT, FAINT = (70, 70, 70), (255, 255, 255), (200, 200, 200)


def contact_sheet(
    title: str,
    content: ImageSet,
    path: Path,
    limit: int | None = None,
    label_space: LabelSpace = FASHION_10,
) -> None:
    """Draws a set class by class, captioned by id; `limit` keeps the first images of each class."""
    from PIL import Image, ImageDraw

    rows = {
        name: np.flatnonzero(content.labels == index)
        for index, name in enumerate(label_space.labels)
        if (content.labels == index).any()
    }
    height = TITLE + sum(
        HEADER + CELL[1] * -(-min(len(members), limit or len(members)) // COLUMNS)
        for members in rows.values()
    )
    # A whole multiple shows the pixels as they are, and compresses well.
    whole = THUMBNAIL % content.images.shape[1] == 0
    resampling = Image.Resampling.NEAREST if whole else Image.Resampling.BICUBIC
    sheet = Image.new("RGB", (COLUMNS * CELL[0], height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((10, 8), title, TEXT, _font(20))
    y = TITLE
    for name, members in rows.items():
        shown = members[:limit]
        more = f", the first {len(shown)}" if len(shown) < len(members) else ""
        draw.text((10, y + 6), f"{name}: {len(members)} images{more}", TEXT, _font(16))
        y += HEADER
        for place, row in enumerate(shown.tolist()):
            left, top = place % COLUMNS * CELL[0], y + place // COLUMNS * CELL[1]
            picture = Image.fromarray(content.images[row]).convert("RGB")
            sheet.paste(picture.resize((THUMBNAIL, THUMBNAIL), resampling), (left + 8, top))
            for line, text in enumerate(content.ids[row].split("/", 1)):
                draw.text((left + 2, top + THUMBNAIL + 1 + 12 * line), text[:19], FAINT, _font(9))
        y += CELL[1] * -(-len(shown) // COLUMNS)
    is_grey = content.images.ndim == 3
    (sheet.convert("L") if is_grey else sheet).save(path, optimize=True)


def _font(size: int) -> FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size
    )
