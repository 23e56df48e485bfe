"""Task ``diffusion``: a diffusion transformer on the latents of encoded training images.

The autoencoder is run once, over several augmented views of every image; training then reads the
moments of their latents, draws a latent from them, a step and the noise, afresh for every sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gcbench.diffusion import DDPM, STEPS, LinearFlow, Process, timestep_grid
from gcbench.errors import unknown_name
from gcbench.nets.dit import DiT
from gcbench.nets.sit import SiT
from gcbench.nets.vae import VAE
from gcbench.streams import stream
from gcbench.training.accuracy import accuracies
from gcbench.training.crops import Crops
from gcbench.training.data import Split
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch, Workplace, frozen
from gcbench.training.views import Views


@dataclass(frozen=True)
class Options:
    """How the transformer learns.

    Attributes:
        family: ``dit`` (predicts the noise) or ``sit`` (predicts the velocity).
        autoencoder: a published one by its name in the catalogue, or the recipe of one, a name or
            a path; its weights are looked for in the output folder, then among the shipped ones.
        latent_scale: what latents are multiplied by; those of mini-vae need it not.
        image_size: side in pixels.
        views: views per image; the first is the centre crop, the others are random crops.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        flips: whether half of the random crops are mirrored.
        class_dropout: share of samples whose class is replaced by the unconditional one.
        evaluated_images: held-out images that an evaluation classifies, the first ones.
        evaluated_steps: timesteps per image in the last evaluation; the others take ten.
    """

    family: str = "dit"
    autoencoder: str = "mini-vae"
    latent_scale: float = 1.0
    image_size: int = 32
    views: int = 4
    max_short_side: int = 40
    flips: bool = False
    class_dropout: float = 0.0
    evaluated_images: int = 500
    evaluated_steps: int = 50


# What each recipe's network is, and how its family noises.
FAMILIES: dict[str, tuple[type[DiT], Process]] = {
    "dit": (DiT, DDPM()),
    "sit": (SiT, LinearFlow(data_at=1)),
}


class DiffusionTask:
    """Mean squared error of the noise or the velocity, steps uniform and stratified in a batch."""

    options_type: ClassVar[type[Options]] = Options
    families: ClassVar[Mapping[str, tuple[type[DiT], Process]]] = FAMILIES

    def __init__(self, recipe: Recipe, train: Split, held_out: Split, place: Workplace) -> None:
        self.recipe = recipe
        where = f"[options] of {recipe.name}"
        self.options = options = from_table(self.options_type, recipe.options, where)
        if options.family not in self.families:
            raise unknown_name(f"family in recipe {recipe.name}", options.family, self.families)
        network, self.process = self.families[options.family]
        self.model = recipe.network(network)
        self.module: nn.Module = self.model
        vae, self.autoencoder = frozen(
            options.autoencoder, place.out, lambda r: r.network(VAE), lambda card: VAE()
        )
        views = Views(
            kind="moments",
            encode=lambda images: torch.stack(vae.moments(images), dim=1).half(),
            encoder=self.autoencoder,
            crops=Crops(options.image_size, options.max_short_side, options.flips),
            seed=recipe.seed,
            place=place,
        )
        self.moments = views.of(train, options.views)  # [2, C, h, w] of each view and image
        self.labels = torch.from_numpy(train.labels)
        moments = views.of(held_out, 1, first=options.evaluated_images).view(0)
        self.held_out = options.latent_scale * moments[:, 0].float()  # [m, C, h, w]
        self.held_out_labels = torch.from_numpy(held_out.labels)
        self.held_out_split = held_out

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        return self.noised(self.view_of(rows, generator), rows, generator)

    def view_of(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Which view of each image is seen, ``[B]``."""
        return torch.randint(len(self.moments), rows.shape, generator=generator)

    def noised(self, view: Tensor, rows: Tensor, generator: torch.Generator) -> Batch:
        """Noisy latents ``[B, C, h, w]``, times, classes ``[B]``, targets ``[B, C, h, w]``."""
        count = len(rows)
        moments = self.options.latent_scale * self.moments[view, rows].float()
        mean, std = moments.unbind(1)  # [B, C, h, w] each
        latent = mean + std * torch.randn(mean.shape, generator=generator)
        dropped = torch.rand(count, generator=generator) < self.options.class_dropout
        classes = torch.where(dropped, self.model.num_classes, self.labels[rows])
        noise = torch.randn(mean.shape, generator=generator)
        spread = (torch.arange(count) + torch.rand(count, generator=generator)) / count  # [B]
        steps = spread.double().numpy() * STEPS
        alpha, sigma = _coefficients(self.process, steps)
        time = torch.from_numpy(self.process.network_time(steps))
        target = self.process.target(latent, noise)
        return alpha * latent + sigma * noise, time, classes, target

    def losses(
        self, noisy: Tensor, time: Tensor, classes: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        tokens, condition = self.model.embed(noisy), self.model.condition(time, classes)
        return {"loss": F.mse_loss(self.model.prediction(tokens, condition), target)}

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        pass

    def evaluate(self, last: bool) -> dict[str, float]:
        """Accuracy by the mean squared error of the noise over a grid of steps, one draw each."""
        steps = timestep_grid(self.options.evaluated_steps if last else 10)
        alpha, sigma = _coefficients(self.process, steps)  # [T, 1, 1, 1] each
        time = torch.from_numpy(self.process.network_time(steps))
        device = self.model.pos_embed.device
        generator = stream(self.recipe.name, "evaluation", self.recipe.seed)
        candidates = torch.arange(self.model.num_classes)
        classes = candidates.repeat_interleave(len(steps)).to(device)  # [classes * T]
        times = time.repeat(len(candidates)).to(device)
        errors = []
        for index, latent in enumerate(self.held_out):
            noise = torch.randn(len(steps), *latent.shape, generator=generator)
            noisy = alpha * latent + sigma * noise  # [T, C, h, w]
            tokens = self.embed_held_out(index, noisy, alpha, sigma, generator)
            tokens = tokens.repeat(len(candidates), 1, 1)
            condition = self.model.condition(times, classes)
            output = self.model.prediction(tokens, condition).cpu().unflatten(0, (-1, len(steps)))
            found = self.process.noise(noisy, output, alpha)  # [classes, T, C, h, w]
            errors.append((found - noise).square().mean(dim=(1, 2, 3, 4)))
        table = torch.stack(errors)  # [m, classes]
        labels = self.held_out_labels[: len(table)]
        own = table.gather(1, labels[:, None]).mean()
        shares = accuracies(table.argmin(1).numpy(), self.held_out_split)
        return {**shares, "noise_error": float(own)}

    def embed_held_out(
        self,
        index: int,
        noisy: Tensor,
        alpha: Tensor,
        sigma: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Tokens ``[T, N, D]`` of one held-out image's noisy latents ``[T, C, h, w]``.

        Args:
            index: of the image.
            alpha, sigma: coefficients of data and noise, ``[T, 1, 1, 1]`` each.
        """
        return self.model.embed(noisy.to(self.model.pos_embed.device))

    def network(self) -> nn.Module:
        return self.model

    def notes(self) -> dict[str, Any]:
        return {"autoencoder": self.autoencoder}


def _coefficients(process: Process, steps: NDArray[np.generic]) -> tuple[Tensor, Tensor]:
    """Coefficients of data and noise, float32 ``[T, 1, 1, 1]`` each."""
    alpha, sigma = process.alpha_sigma(steps)
    return (
        torch.from_numpy(alpha).float()[:, None, None, None],
        torch.from_numpy(sigma).float()[:, None, None, None],
    )
