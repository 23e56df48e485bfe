"""Task ``vae``: a KL autoencoder, trained by reconstruction as Stable Diffusion's but without its
perceptual and adversarial terms, which need networks that are not at hand for 32 px grey images.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.vae import VAE
from gcbench.training.data import Split, as_rgb, centre_view, random_view
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch


@dataclass(frozen=True)
class Options:
    """How the autoencoder learns.

    Attributes:
        image_size: side in pixels.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        kl_weight: of the mean divergence per latent value, in nats, beside the mean squared error.
    """

    image_size: int = 32
    max_short_side: int = 40
    kl_weight: float = 1e-4


class Autoencoder:
    """Mean squared reconstruction error of a drawn latent, and its divergence from the prior.

    The published network has latents of mean 0 and standard deviation 1 in every channel over the
    held-out images, so that it needs no scale of its own.
    """

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        self.options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        self.vae = recipe.network(VAE)
        self.module: nn.Module = self.vae
        self.train = train
        views = [centre_view(image, self.options.image_size) for image in held_out.images]
        self.held_out = torch.stack([torch.from_numpy(view.copy()) for view in views])
        side = self.options.image_size // 2 ** (len(recipe.model["block_out_channels"]) - 1)
        self.latent_shape = (self.vae.latent_channels, side, side)

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        size, longest = self.options.image_size, self.options.max_short_side
        views = [random_view(self.train.images[i], size, longest, generator) for i in rows.tolist()]
        grey = torch.stack([torch.from_numpy(view.copy()) for view in views])  # [B, H, W]
        return grey, torch.randn(len(rows), *self.latent_shape, generator=generator)

    def losses(self, grey: Tensor, noise: Tensor) -> dict[str, Tensor]:
        images = as_rgb(grey)
        mean, std = self.vae.moments(images)  # [B, C, h, w] each
        reconstruction = F.mse_loss(self.vae.decode(mean + std * noise).float(), images)
        divergence = 0.5 * (mean.square() + std.square() - 1.0 - 2.0 * std.log()).mean()
        loss = reconstruction + self.options.kl_weight * divergence
        return {"loss": loss, "reconstruction": reconstruction, "kl_nats": divergence}

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        pass

    def evaluate(self, last: bool) -> dict[str, float]:
        error = 0.0
        for grey in self.held_out.split(250):
            images = as_rgb(grey.to(self.vae.quant_conv.weight.device))
            rebuilt = self.vae.decode(self.vae.moments(images)[0]).float().clamp(-1, 1)
            error += float((rebuilt - images).square().mean(dim=(1, 2, 3)).sum())
        mean_error = torch.tensor(error / len(self.held_out))
        return {"psnr_db": float(10 * torch.log10(4 / mean_error))}

    @torch.no_grad()
    def network(self) -> nn.Module:
        vae = copy.deepcopy(self.vae).eval()
        device = vae.quant_conv.weight.device
        latents = torch.cat(
            [vae.moments(as_rgb(grey.to(device)))[0] for grey in self.held_out.split(250)]
        )  # [m, C, h, w]
        vae.standardise(latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)))
        return vae

    def notes(self) -> dict[str, Any]:
        return {}
