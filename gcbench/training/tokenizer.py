"""Task ``tokenizer``: a VQ autoencoder, LlamaGen's or MaskGIT's, trained by reconstruction alone.

The perceptual and adversarial terms of the published ones are left out: they need networks that are
not at hand for 32 px grey images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.errors import unknown_name
from gcbench.nets.llamagen_vq import VQModel
from gcbench.nets.maskgit_vq import MaskGITVQ
from gcbench.training.data import Split, as_rgb, centre_view, random_view
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch


@dataclass(frozen=True)
class Options:
    """How the tokenizer learns.

    Attributes:
        family: ``llamagen`` or ``maskgit``.
        image_size: side in pixels.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        commitment: weight of the encoder's pull towards its code (LlamaGen: 0.25).
        free_steps: steps without quantisation, after which features become the codebook.
        restart_every: steps between restarts of codes that no feature chose since the last one.
        restart_until: share of all steps after which codes are left alone.
    """

    family: str = "llamagen"
    image_size: int = 32
    max_short_side: int = 40
    commitment: float = 0.25
    free_steps: int = 150
    restart_every: int = 50
    restart_until: float = 0.7


FAMILIES: dict[str, type[VQModel] | type[MaskGITVQ]] = {"llamagen": VQModel, "maskgit": MaskGITVQ}


def tokenizer_of(recipe: Recipe) -> VQModel | MaskGITVQ:
    """The untrained network of a recipe of this task. Raises GcbenchError for an unknown family."""
    family = from_table(Options, recipe.options, f"[options] of {recipe.name}").family
    if family not in FAMILIES:
        raise unknown_name(f"family in recipe {recipe.name}", family, FAMILIES)
    return FAMILIES[family](**recipe.model)


class _WithUsage(nn.Module):
    """The network and the state of its training that a checkpoint must hold."""

    usage: Tensor
    quantising: Tensor

    def __init__(self, vq: VQModel | MaskGITVQ) -> None:
        super().__init__()
        self.vq = vq
        codes = vq.quantize.embedding.num_embeddings
        self.register_buffer("usage", torch.zeros(codes, dtype=torch.int64))  # [V]
        self.register_buffer("quantising", torch.zeros((), dtype=torch.bool))


class Tokenizer:
    """Mean squared reconstruction error, codebook and commitment terms."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        self.options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        self.restart_until = int(self.options.restart_until * recipe.steps)
        self.vq = tokenizer_of(recipe)
        self.wrapped = _WithUsage(self.vq)
        self.module: nn.Module = self.wrapped
        self.train = train
        views = [centre_view(image, self.options.image_size) for image in held_out.images]
        self.held_out = torch.stack([torch.from_numpy(view.copy()) for view in views])

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        size, longest = self.options.image_size, self.options.max_short_side
        views = [random_view(self.train.images[i], size, longest, generator) for i in rows.tolist()]
        return (torch.stack([torch.from_numpy(view.copy()) for view in views]),)  # [B, H, W]

    def losses(self, grey: Tensor) -> dict[str, Tensor]:
        images = as_rgb(grey)
        features = self._features(images)  # [B, e, h, w]
        if not self.wrapped.quantising:
            loss = F.mse_loss(self._decoded(features), images)
            return {"loss": loss, "reconstruction": loss}
        tokens = self.vq.quantize(features)  # [B, h*w]
        self.wrapped.usage += torch.bincount(tokens.flatten(), minlength=len(self.wrapped.usage))
        codes = self.vq.quantize.lookup(tokens)
        passed = features + (codes - features).detach()
        reconstruction = F.mse_loss(self._decoded(passed), images)
        codebook = F.mse_loss(codes, features.detach())
        commitment = F.mse_loss(features, codes.detach())
        loss = reconstruction + codebook + self.options.commitment * commitment
        return {"loss": loss, "reconstruction": reconstruction}

    def _features(self, images: Tensor) -> Tensor:
        latent = self.vq.encode_latent(self.vq.pixels(images)).float()
        unit = isinstance(self.vq, VQModel) and self.vq.quantize.l2_norm
        return F.normalize(latent, dim=1) if unit else latent

    def _decoded(self, features: Tensor) -> Tensor:
        return self.vq.images(self.vq.decode_latent(features).float())

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        done = step + 1
        first = done == self.options.free_steps
        due = done % self.options.restart_every == 0 and done <= self.restart_until
        if first or (self.wrapped.quantising and due):
            unused = torch.arange(len(self.wrapped.usage))
            if not first:
                unused = unused[self.wrapped.usage.cpu() == 0]
            self._restart(unused, batch[0], generator)
            self.wrapped.usage.zero_()
        self.wrapped.quantising.fill_(done >= self.options.free_steps)

    @torch.no_grad()
    def _restart(self, codes: Tensor, grey: Tensor, generator: torch.Generator) -> None:
        """Move these codes onto features of the batch, drawn without replacement."""
        weight = self.vq.quantize.embedding.weight
        features = self._features(as_rgb(grey.to(weight.device)))
        pool = features.flatten(2).transpose(1, 2).flatten(0, 1)  # [B*h*w, e]
        drawn = torch.randperm(len(pool), generator=generator)[: len(codes)]
        weight[codes[: len(drawn)].to(weight.device)] = pool[drawn.to(weight.device)]

    def evaluate(self, last: bool) -> dict[str, float]:
        error, counts = 0.0, torch.zeros(len(self.wrapped.usage))
        for grey in self.held_out.split(250):
            images = as_rgb(grey.to(self.wrapped.usage.device))
            tokens = self.vq.encode(self.vq.pixels(images))
            rebuilt = self.vq.images(self.vq.decode_tokens(tokens).float()).clamp(-1, 1)
            error += float((rebuilt - images).square().mean(dim=(1, 2, 3)).sum())
            counts += torch.bincount(tokens.flatten().cpu(), minlength=len(counts))
        share = counts / counts.sum()
        perplexity = torch.exp(-torch.special.xlogy(share, share).sum())
        mean_error = torch.tensor(error / len(self.held_out))
        return {
            "psnr_db": float(10 * torch.log10(4 / mean_error)),
            "codes_used": float((counts > 0).sum()),
            "code_perplexity": float(perplexity),
        }

    def network(self) -> nn.Module:
        return self.vq

    def notes(self) -> dict[str, Any]:
        return {}
