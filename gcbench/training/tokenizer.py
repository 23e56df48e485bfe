"""Task ``tokenizer``: a VQ autoencoder, LlamaGen's or MaskGIT's, trained by reconstruction alone.

The perceptual and adversarial terms of the published ones are left out: they need networks that are
not at hand for 32 px grey images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from gcbench.errors import unknown_name
from gcbench.nets.llamagen_vq import VQModel
from gcbench.nets.maskgit_vq import MaskGITVQ
from gcbench.training import codebook
from gcbench.training.codebook import CodebookTask
from gcbench.training.data import Split, as_rgb
from gcbench.training.recipe import Recipe, from_table


@dataclass(frozen=True)
class Options(codebook.Options):
    """As every tokenizer's, and which it is.

    Attributes:
        family: ``llamagen`` or ``maskgit``.
    """

    family: str = "llamagen"


FAMILIES: dict[str, type[VQModel] | type[MaskGITVQ]] = {"llamagen": VQModel, "maskgit": MaskGITVQ}


def tokenizer_of(recipe: Recipe) -> VQModel | MaskGITVQ:
    """The untrained network of a recipe of this task. Raises GcbenchError for an unknown family."""
    family = from_table(Options, recipe.options, f"[options] of {recipe.name}").family
    if family not in FAMILIES:
        raise unknown_name(f"family in recipe {recipe.name}", family, FAMILIES)
    kind: Callable[..., VQModel | MaskGITVQ] = FAMILIES[family]
    return recipe.network(kind)


def released_tokenizer(card: Mapping[str, Any]) -> VQModel | MaskGITVQ:
    """The network of a published tokenizer. Raises GcbenchError for weights of something else."""
    family = card.get("tokenizer", "none")
    if family not in FAMILIES:
        raise unknown_name("family of published tokenizer", family, FAMILIES)
    return FAMILIES[family]()


class Tokenizer(CodebookTask[VQModel | MaskGITVQ]):
    """Mean squared reconstruction error, codebook and commitment terms."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        super().__init__(recipe, options, tokenizer_of(recipe), train, held_out)

    def losses(self, grey: Tensor) -> dict[str, Tensor]:
        images = as_rgb(grey)
        features = self._features(images)  # [B, e, h, w]
        if not self.wrapped.quantising:
            loss = F.mse_loss(self._decoded(features), images)
            return {"loss": loss, "reconstruction": loss}
        tokens = self.vq.quantize(features)  # [B, h*w]
        self.count(tokens)
        codes = self.vq.quantize.lookup(tokens)
        passed = features + (codes - features).detach()
        reconstruction = F.mse_loss(self._decoded(passed), images)
        codebook_term = F.mse_loss(codes, features.detach())
        commitment = F.mse_loss(features, codes.detach())
        loss = reconstruction + codebook_term + self.options.commitment * commitment
        return {"loss": loss, "reconstruction": reconstruction}

    def quantised_vectors(self, images: Tensor) -> Tensor:
        """The features at every position."""
        return self._features(images).flatten(2).transpose(1, 2).flatten(0, 1)

    def _features(self, images: Tensor) -> Tensor:
        latent = self.vq.encode_latent(self.vq.pixels(images)).float()
        unit = isinstance(self.vq, VQModel) and self.vq.quantize.l2_norm
        return F.normalize(latent, dim=1) if unit else latent

    def _decoded(self, features: Tensor) -> Tensor:
        return self.vq.images(self.vq.decode_latent(features).float())
