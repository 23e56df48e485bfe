"""Tasks ``repa`` and ``reg``: SiT whose features are aligned to a self-supervised encoder's.

After a few blocks the tokens are projected and pulled towards what a frozen encoder says of the
same crop without noise: its normalised patch tokens, by the mean negative cosine similarity. The
encoder is run once over the views that training reads.

The published encoders are given images of a size that makes their grid of patches SiT's. Of an
encoder with a finer grid tokens are averaged over the square that a token of SiT covers.
Published trainings average weights and drop classes; these follow ``mini-sit``.

Sources: sihyun-yu/REPA ``loss.py`` and ``train.py`` (Yu et al. 2025); End2End-Diffusion/iREPA
``ldm/train.py`` (Singh et al. 2025); Martinser/REG (Wu et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gcbench.diffusion import LinearFlow, Process
from gcbench.errors import GcbenchError
from gcbench.nets.dinov2 import DINOv2
from gcbench.nets.dit import DiT
from gcbench.nets.sit import IREPA, REG, REPA
from gcbench.training import diffusion
from gcbench.training.crops import Crops
from gcbench.training.data import Split
from gcbench.training.diffusion import DiffusionTask
from gcbench.training.recipe import Recipe
from gcbench.training.tasks import Batch, Workplace, frozen
from gcbench.training.views import Views

# Added to the deviation that a standardised channel is divided by, as in the official code.
_DEVIATION_EPS = 1e-6


@dataclass(frozen=True)
class Options(diffusion.Options):
    """As :class:`gcbench.training.diffusion.Options`, and how features are aligned.

    Attributes:
        family: ``repa``, or ``irepa``: a convolution as projector, standardised encoder tokens; of
            task ``reg`` only ``reg``.
        encoder: recipe of the encoder, a name or a path; its weights are looked for in the output
            folder, then among the shipped ones.
        alignment: weight of the alignment in the loss.
        mean_share: iREPA's gamma, the share of the mean token that is subtracted from every one.
        class_token: REG's weight of the class token's velocity in the loss.
    """

    family: str = "repa"
    encoder: str = "mini-dinov2"
    alignment: float = 0.5
    mean_share: float = 0.6
    class_token: float = 0.03


class REPATask(DiffusionTask):
    """Squared error of the velocity plus weighted misalignment; data lies at t = 0."""

    options: Options
    model: REPA
    options_type: ClassVar[type[diffusion.Options]] = Options
    families: ClassVar[Mapping[str, tuple[type[DiT], Process]]] = {
        "repa": (REPA, LinearFlow(data_at=0)),
        "irepa": (IREPA, LinearFlow(data_at=0)),
    }

    def __init__(self, recipe: Recipe, train: Split, held_out: Split, place: Workplace) -> None:
        super().__init__(recipe, train, held_out, place)
        teacher, self.encoder = frozen(self.options.encoder, place.out, lambda r: r.network(DINOv2))
        self._check(teacher, self.encoder["name"])
        side = self.model.side
        self.encoded = Views(
            kind=f"teacher{side * side}",
            encode=lambda images: teacher_tokens(teacher, images, side).half(),
            encoder=self.encoder,
            crops=Crops(self.options.image_size, self.options.max_short_side, self.options.flips),
            seed=recipe.seed,
            place=place,
        )
        self.features = self.encoded.of(train, self.options.views)  # [1 + N, Z] of each

    def _check(self, teacher: DINOv2, name: str) -> None:
        patches = self.options.image_size // teacher.patch_embed.patch_size[0]
        if patches % self.model.side:
            raise GcbenchError(
                f"recipe {self.recipe.name}: {name} makes {patches} x {patches} tokens, the "
                f"network {self.model.side} x {self.model.side}",
                hint="expected an encoder's grid that is a multiple of the network's",
            )
        found = self.recipe.model.get("z_dims")
        if found != [teacher.embed_dim]:
            raise GcbenchError(
                f"recipe {self.recipe.name}: z_dims is {found}, {name} makes tokens of width "
                f"{teacher.embed_dim}",
                hint=f"set z_dims = [{teacher.embed_dim}] in [model]",
            )

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """As of the diffusion task, and the encoder's tokens ``[B, 1 + N, Z]``."""
        view = self.view_of(rows, generator)
        return *self.noised(view, rows, generator), self.features[view, rows].float()

    def losses(
        self, noisy: Tensor, time: Tensor, classes: Tensor, target: Tensor, *encoded: Tensor
    ) -> dict[str, Tensor]:
        velocity, (features,) = self.model.with_features(noisy, time, classes)
        patches = encoded[0][:, 1:]
        if self.options.family == "irepa":
            patches = standardised(patches, self.options.mean_share)
        return self.total(
            {"velocity": F.mse_loss(velocity.float(), target)}, misalignment(features, patches)
        )

    def total(self, errors: dict[str, Tensor], misaligned: Tensor) -> dict[str, Tensor]:
        """What is logged: the errors, the mean cosine, and the loss of both."""
        loss = errors["velocity"] + self.options.alignment * misaligned
        return {"loss": loss, **errors, "cosine": -misaligned}

    def notes(self) -> dict[str, Any]:
        return {**super().notes(), "encoder": self.encoder}


class REGTask(REPATask):
    """REPA that denoises the encoder's class token along with the latent."""

    model: REG
    families: ClassVar[Mapping[str, tuple[type[DiT], Process]]] = {
        "reg": (REG, LinearFlow(data_at=0)),
    }

    def __init__(self, recipe: Recipe, train: Split, held_out: Split, place: Workplace) -> None:
        super().__init__(recipe, train, held_out, place)
        tokens = self.encoded.of(held_out, 1, first=self.options.evaluated_images).view(0)
        self.held_out_tokens = tokens[:, 0].float()  # [m, Z]

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """As of REPA, and noisy class tokens and their velocities ``[B, Z]`` each."""
        *latents, encoded = super().batch(rows, generator)
        token = encoded[:, 0]
        noise = torch.randn(token.shape, generator=generator)
        sigma = latents[1][:, None]  # the time of a straight path that starts from data
        noisy = (1 - sigma) * token + sigma * noise
        return *latents, encoded, noisy, self.process.target(token, noise)

    def losses(
        self, noisy: Tensor, time: Tensor, classes: Tensor, target: Tensor, *encoded: Tensor
    ) -> dict[str, Tensor]:
        tokens, noisy_token, token_target = encoded
        velocity, token_velocity, (features,) = self.model.with_class_token(
            noisy, time, classes, noisy_token
        )
        errors = {
            "velocity": F.mse_loss(velocity.float(), target),
            "class_token": F.mse_loss(token_velocity.float(), token_target),
        }
        logged = self.total(errors, misalignment(features, tokens))
        loss = logged["loss"] + self.options.class_token * errors["class_token"]
        return {**logged, "loss": loss}

    def embed_held_out(
        self,
        index: int,
        noisy: Tensor,
        alpha: Tensor,
        sigma: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """With the image's own class token, noised like its latent."""
        token = self.held_out_tokens[index]
        noise = torch.randn(len(noisy), len(token), generator=generator)
        noisy_token = alpha[:, :, 0, 0] * token + sigma[:, :, 0, 0] * noise  # [T, Z]
        device = self.model.pos_embed.device
        return self.model.embed_with(noisy.to(device), noisy_token.to(device))


def teacher_tokens(teacher: DINOv2, images: Tensor, side: int) -> Tensor:
    """The class token, then patch tokens averaged over squares to ``side x side``.

    Args:
        images: ``[B, 3, H, W]``, normalised as the encoder was trained.
        side: of the grid; it divides the encoder's own.

    Returns:
        ``[B, 1 + side * side, Z]`` in raster order.
    """
    ((patches, token),) = teacher.last_blocks(images, 1)
    own = round(patches.shape[1] ** 0.5)
    grid = patches.transpose(1, 2).unflatten(2, (own, own))
    coarse = F.avg_pool2d(grid, own // side).flatten(2).transpose(1, 2)  # [B, N, Z]
    return torch.cat([token[:, None], coarse], dim=1)


def standardised(tokens: Tensor, mean_share: float) -> Tensor:
    """iREPA's spatial normalisation of ``[B, N, Z]``, per image and channel over the tokens.

    ``mean_share`` of the mean token is subtracted (published: 0.6), then the deviation divided by.
    """
    mean, deviation = tokens.mean(dim=1, keepdim=True), tokens.std(dim=1, keepdim=True)
    return (tokens - mean_share * mean) / (deviation + _DEVIATION_EPS)


def misalignment(features: Tensor, tokens: Tensor) -> Tensor:
    """Mean negative cosine between projected features and the encoder's, ``[B, N, Z]`` each."""
    return -F.cosine_similarity(features.float(), tokens, dim=2).mean()
