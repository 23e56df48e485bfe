"""Task ``multiscale``: VAR's multi-scale VQVAE, trained by reconstruction alone.

Source: Tian et al. 2024, FoundationVision/VAR ``models/quant.py``. Its perceptual and adversarial
terms are left out: they need networks that are not at hand for 32 px grey images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gcbench.nets.var_vqvae import VQVAE
from gcbench.training.codebook import CodebookTask, Options
from gcbench.training.data import Split, as_rgb
from gcbench.training.recipe import Recipe, from_table


class MultiScaleTokenizer(CodebookTask[VQVAE]):
    """Mean squared reconstruction error, codebook and commitment terms of every scale.

    Both terms compare the features with the reconstruction from the scales so far, averaged over
    the scales: the codebook and its smoothing convolutions move towards the features, the encoder
    towards what the codes can draw.
    """

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        super().__init__(recipe, options, recipe.network(VQVAE), train, held_out)
        # In one sitting all codes would be whole features, none what a coarse scale leaves over.
        self.sittings = len(self.vq.patch_nums)

    def losses(self, grey: Tensor) -> dict[str, Tensor]:
        images = as_rgb(grey)
        features = self.vq.encode_latent(images).float()  # [B, e, P, P]
        if not self.wrapped.quantising:
            loss = F.mse_loss(self.vq.decode_latent(features).float(), images)
            return {"loss": loss, "reconstruction": loss}
        target = features.detach()
        # Residuals of residuals, and the search among near codes: bf16 would decide otherwise.
        with torch.autocast(target.device.type, enabled=False):
            tokens = self.vq.quantize(target)  # [B, L]
            drawn = torch.stack(list(self.vq.quantize.reconstructions(tokens)))  # [S, B, e, P, P]
        self.count(tokens)
        passed = features + (drawn[-1] - features).detach()
        reconstruction = F.mse_loss(self.vq.decode_latent(passed).float(), images)
        codebook = F.mse_loss(drawn, target.expand_as(drawn))
        commitment = F.mse_loss(features.expand_as(drawn), drawn.detach())
        loss = reconstruction + codebook + self.options.commitment * commitment
        return {"loss": loss, "reconstruction": reconstruction}

    def quantised_vectors(self, images: Tensor) -> Tensor:
        """What the scales have left to each other, averaged to their grids."""
        features = self.vq.encode_latent(images).float()
        tokens = self.vq.quantize(features)
        coarse = [
            F.interpolate(features, (side, side), mode="area").flatten(2)
            for side in self.vq.patch_nums
        ]
        before = F.pad(self.vq.quantize.var_input(tokens), (0, 0, 1, 0))  # [B, L, e]
        return (torch.cat(coarse, dim=2).transpose(1, 2) - before).flatten(0, 1)

    def metrics(self) -> dict[str, float]:
        """With the features' standard deviation, the measure of A-VARC's noise."""
        device = self.wrapped.usage.device
        groups = (as_rgb(grey.to(device)) for grey in self.held_out.split(250))
        features = torch.cat([self.vq.encode_latent(images) for images in groups])
        return {**super().metrics(), "feature_std": float(features.std())}
