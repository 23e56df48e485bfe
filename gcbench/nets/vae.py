"""The KL autoencoder whose latents diffusion transformers model: the parts of diffusers' own.

Source: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models";
parameter names as in diffusers' ``AutoencoderKL``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn


class VAE(nn.Module):
    """Images to the mean and log-variance of a Gaussian over latents, and back.

    Args:
        block_out_channels: width of each resolution; each but the last halves the side.
        layers_per_block: residual blocks per resolution.
        latent_channels: C, channels of the latent.
        norm_num_groups: groups of the group norms.
    """

    def __init__(
        self,
        block_out_channels: Sequence[int] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        latent_channels: int = 4,
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__()
        levels = len(block_out_channels)
        whole = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            norm_num_groups=norm_num_groups,
        )
        self.latent_channels = latent_channels
        self.encoder, self.decoder = whole.encoder, whole.decoder
        self.quant_conv, self.post_quant_conv = whole.quant_conv, whole.post_quant_conv

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior, float32 ``[B, C, h, w]`` each.

        Args:
            images: ``[B, 3, H, W]`` in [-1, 1].
        """
        mean, log_variance = self.quant_conv(self.encoder(images)).float().chunk(2, dim=1)
        return mean, (0.5 * log_variance.clamp(-30, 20)).exp()

    def decode(self, latent: Tensor) -> Tensor:
        """``[B, C, h, w]`` to images ``[B, 3, H, W]``, about in [-1, 1]."""
        y: Tensor = self.decoder(self.post_quant_conv(latent))
        return y

    @torch.no_grad()
    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Moves the latents' mean and standard deviation ``[C]`` to 0 and 1.

        Both are folded into the convolutions beside the latent, so that encoding and decoding
        together stay what they were.
        """
        out, back = self.quant_conv, self.post_quant_conv
        channels = self.latent_channels
        # Before the latent is changed: decoding undoes what encoding will do.
        back.bias += (back.weight[:, :, 0, 0] * mean).sum(1)
        back.weight *= std[:, None, None]
        out.bias[:channels] = (out.bias[:channels] - mean) / std
        out.weight[:channels] /= std[:, None, None, None]
        out.bias[channels:] -= 2 * std.log()
