"""What all figures share: panels of benchmarks, a layout that stays, vector and PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gcbench.store import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BENCHMARKS = {
    "in-val": "in-domain",
    "in-r": "renditions",
    "in-s": "sketches",
    "in-a": "hard images",
    "in-c-gauss": "gaussian noise",
    "in-c-jpeg": "JPEG",
}


def keep_layout(figure: Figure) -> Figure:
    """The figure with its layout found and kept: found at each saving, it would differ a little."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes `stem`.svg and `stem`.png, without dates, so that equal figures are equal files."""
    import matplotlib as mpl

    files = []
    with mpl.rc_context({"svg.hashsalt": "gcbench", "svg.fonttype": "path"}):
        for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            target = stem.with_name(f"{stem.name}.{suffix}")
            with atomic_path(target) as temporary:
                figure.savefig(temporary, format=suffix, dpi=160, metadata=metadata)
            files.append(target)
    return files
