"""Which discrete tokenizers there are, published ones and those that ship, by name."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcbench.checkpoint import (
    Shipped,
    catalogue,
    fetched,
    load_into,
    read_state_dict,
    sha256_of,
)
from gcbench.errors import GcbenchError, unknown_name
from gcbench.resources import resource

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from gcbench.nets.llamagen_vq import VQModel
    from gcbench.nets.maskgit_vq import MaskGITVQ
    from gcbench.nets.var_vqvae import VQVAE

    Network = VQModel | MaskGITVQ | VQVAE

# Which architecture the recipes of a training task have, unless they say so themselves.
FAMILY_OF_TASK = {"tokenizer": "llamagen", "multiscale": "var"}
PUBLISHED_SIZE, SHIPPED_SIZE = 256, 32


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer and its weights.

    Attributes:
        name: of its recipe, or of its entry among the published checkpoints.
        family: its architecture: `llamagen`, `maskgit` or `var`.
        shipped: it is of the embedded suite, so it was trained on luminance alone.
        image_size: side of its images in pixels.
        config: constructor arguments of its network.
    """

    name: str
    family: str
    shipped: bool
    image_size: int
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def preprocessing(self) -> str:
        """What `view` does, in a few words."""
        return f"{'grey, ' if self.shipped else ''}adm-centre-crop-{self.image_size}"

    def weights(self) -> str:
        """sha256 of its file. Raises GcbenchError when that is not on this machine."""
        file, expected = self._located()
        return expected or sha256_of(file)

    def load(self, device: str) -> Network:
        """Its network with these weights, in eval mode, without gradients.

        Raises:
            GcbenchError: the file is missing, damaged or does not fit.
        """
        file, expected = self._located()
        network = _network(self.family)(**self.config)
        load_into(network, read_state_dict(file, expected), file)
        return network.eval().requires_grad_(False).to(device)

    def _located(self) -> tuple[Path, str | None]:
        return Shipped(self.name).locate() if self.shipped else fetched(self.name)

    def view(self, image: Image) -> torch.Tensor:
        """What it is given of a raw RGB image: ADM's centre crop, uint8 [3, H, W]."""
        import numpy as np
        import torch

        from gcbench.preprocess import centre_crop, luminance

        crop = centre_crop(luminance(image) if self.shipped else image, self.image_size)
        return torch.from_numpy(np.array(crop.convert("RGB"))).permute(2, 0, 1)


def tokenizer_named(name: str) -> Tokenizer:
    """The tokenizer of that name.

    Raises:
        GcbenchError: it is unknown, or has a recipe and no weights yet.
    """
    if family := _published().get(name):
        return Tokenizer(name, family, False, PUBLISHED_SIZE)
    if recipe := _shipped().get(name):
        options = recipe["options"]
        family = options.get("family", FAMILY_OF_TASK[recipe["task"]])
        size = options.get("image_size", SHIPPED_SIZE)
        return Tokenizer(name, family, True, size, recipe["model"])
    recipe_file = resource("baselines/recipes") / f"{name}.toml"
    if recipe_file.is_file() and tomllib.loads(recipe_file.read_text())["task"] in FAMILY_OF_TASK:
        raise GcbenchError(f"tokenizer {name!r} has no weights yet", hint=f"gcbench train {name}")
    raise unknown_name("tokenizer", name, tokenizer_names())


def tokenizer_names() -> list[str]:
    """Every tokenizer: those that ship first, then the published ones."""
    return [*_shipped(), *_published()]


def _published() -> dict[str, str]:
    return {n: card["tokenizer"] for n, card in catalogue().items() if "tokenizer" in card}


def _shipped() -> dict[str, dict[str, Any]]:
    cards = sorted(resource("baselines/weights").glob("*.json"))
    recipes = {file.stem: json.loads(file.read_text())["recipe"] for file in cards}
    return {name: recipe for name, recipe in recipes.items() if recipe["task"] in FAMILY_OF_TASK}


def _network(family: str) -> type[Network]:
    from gcbench.nets.llamagen_vq import VQModel
    from gcbench.nets.maskgit_vq import MaskGITVQ
    from gcbench.nets.var_vqvae import VQVAE

    families: dict[str, type[Network]] = {"llamagen": VQModel, "maskgit": MaskGITVQ, "var": VQVAE}
    return families[family]
