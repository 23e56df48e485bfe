"""Rebuilds the mini suite from the original packages: ``python -m tools.mini_suite --cache DIR``.

Run it in the root of a checkout, with the extra ``mini-suite`` installed and npm on the path.
Without ``--update`` it builds every set, compares digests with the committed manifests and writes
nothing when one differs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import numpy.typing as npt

from gcbench._plugins.benchmarks._fashion_mnist import find_fashion_mnist
from gcbench._plugins.benchmarks.mini import FASHION_10, ImageSet, read_manifest
from gcbench.checkpoint import Shipped
from gcbench.errors import GcbenchError
from tools.mini_suite.fashion import REFERENCE, fashion_sets
from tools.mini_suite.files import (
    FASHION_MNIST,
    ROLES,
    Source,
    attribution,
    icon_sources,
    manifest,
    to_toml,
    write_npz,
)
from tools.mini_suite.icons import read_icons, read_set, rendition, sketch
from tools.mini_suite.packages import read_pins, unpack
from tools.mini_suite.sheets import contact_sheet

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ICON_SETS = {"mini-r": rendition, "mini-s": sketch}
SHEET_IMAGES_PER_CLASS = 12  # of the sets of photographs

Built = tuple[ImageSet, list[Source]]
Content = TypeVar("Content", bound=ImageSet)


@click.command()
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where packages are downloaded to; tarballs that are there already are used.",
)
@click.option(
    "--fashion-mnist",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder with the four IDX files; by default they are looked for, then downloaded.",
)
@click.option("--only", multiple=True, type=click.Choice(list(ROLES)), help="Repeatable.")
@click.option("--update", is_flag=True, help="Write new manifests instead of checking them.")
def main(cache: Path, fashion_mnist: Path | None, only: tuple[str, ...], update: bool) -> None:
    """Rebuild the embedded image sets and check them against their manifests."""
    cache.mkdir(parents=True, exist_ok=True)
    chosen = only or tuple(ROLES)
    rebuild(lambda: build(chosen, cache.resolve(), fashion_mnist), manifest, write, update=update)


def rebuild(
    build: Callable[[], Mapping[str, tuple[Content, list[Source]]]],
    manifest: Callable[[str, Content, list[Source]], dict[str, Any]],
    write: Callable[[Any, dict[str, dict[str, Any]]], None],
    *,
    update: bool,
) -> None:
    """Builds sets, compares them with the committed manifests unless they are to be updated, and
    writes them. Exits with a line when something is missing or, without `update`, differs.
    """
    try:
        built = build()
        manifests = {name: manifest(name, *parts) for name, parts in built.items()}
        differing = [] if update else report(manifests)
    except GcbenchError as error:
        sys.exit(f"error: {error}")
    if differing:
        sys.exit(f"error: {', '.join(differing)} differ from the manifests; nothing was written")
    write(built, manifests)


def write_set(
    name: str, arrays: Mapping[str, npt.NDArray[Any]], manifest: Mapping[str, Any]
) -> None:
    """Writes data and manifest of a set."""
    folder = ROOT / "benchmarks"
    for kind in ("data", "manifests"):
        (folder / kind).mkdir(exist_ok=True)
    write_npz(folder / "data" / f"{name}.npz", arrays)
    text = to_toml(manifest)
    (folder / "manifests" / f"{name}.toml").write_text(text, encoding="utf-8")


def build(names: tuple[str, ...], cache: Path, fashion_mnist: Path | None) -> dict[str, Built]:
    """The named sets with the sources of their images."""
    built = {name: icon_set(name, cache) for name in names if name in ICON_SETS}
    from_fashion = [name for name in names if name not in ICON_SETS]
    if from_fashion:
        sets = fashion_sets(find_fashion_mnist(fashion_mnist, cache))
        for name in from_fashion:
            source: Source = {**FASHION_MNIST, "count": len(sets[name].ids)}
            if name == "mini-a":
                source["reference_sha256"] = Shipped(REFERENCE).locate()[1]
            built[name] = sets[name], [source]
    return built


def icon_set(name: str, cache: Path) -> Built:
    """mini-r or mini-s: the icons that ``icons.csv`` chooses, in its order."""
    pins = read_pins(HERE / "packages.toml")
    icons = [icon for icon in read_icons(HERE / "icons.csv") if icon.benchmark == name]
    sets = {key: read_set(key, unpack(pins[key], cache)) for key in {icon.set for icon in icons}}
    images = np.stack([ICON_SETS[name](sets[icon.set].draw(icon.name)) for icon in icons])
    labels = np.array([FASHION_10.labels.index(icon.label) for icon in icons], dtype=np.int64)
    ids = tuple(icon.id for icon in icons)
    return ImageSet(images, labels, ids), icon_sources(sets, (icon.set for icon in icons))


def report(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Prints a line per set; returns the names of those that differ from their manifest."""
    differing = []
    for name, new in manifests.items():
        committed = read_manifest(name)
        keys = [key for key in new if new[key] != committed.get(key)]
        verdict = f"DIFFERS from its manifest in {', '.join(keys)}" if keys else "as committed"
        click.echo(f"{name}: {new['count']} images, digest {new['digest'][:12]}..., {verdict}")
        if keys:
            differing.append(name)
    return differing


def write(built: Mapping[str, Built], manifests: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes data, manifests, contact sheets, and the attribution over all committed sets."""
    for name, (content, _) in built.items():
        arrays: dict[str, npt.NDArray[Any]] = {
            "images": content.images,
            "labels": content.labels,
            "ids": np.array(content.ids),
        }
        if name in ICON_SETS:
            arrays["sources"] = np.array([id.split("/")[0] for id in content.ids])
        write_set(name, arrays, manifests[name])
        contact_sheet(
            f"{name}: {len(content.ids)} images",
            content,
            ROOT / "docs" / f"contact-{name}.png",
            limit=None if name in ICON_SETS else SHEET_IMAGES_PER_CLASS,
        )
    everything = {name: manifests.get(name) or read_manifest(name) for name in ICON_SETS}
    (ROOT / "benchmarks" / "ATTRIBUTION.md").write_text(attribution(everything), encoding="utf-8")


if __name__ == "__main__":
    main()
