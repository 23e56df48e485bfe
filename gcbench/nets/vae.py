"""The KL autoencoder whose latents diffusion transformers model: the parts of diffusers' own.

Source: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models";
parameter names as in diffusers' ``AutoencoderKL``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

# CompVis's names and those of early diffusers (the last four), with what they are called today.
_OTHER_NAMES = (
    (".down.", ".down_blocks."),
    (".up.", ".up_blocks."),
    (".block.", ".resnets."),
    (".downsample.", ".downsamplers.0."),
    (".upsample.", ".upsamplers.0."),
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.to_q."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.to_k."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.to_v."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
    (".nin_shortcut.", ".conv_shortcut."),
    (".norm_out.", ".conv_norm_out."),
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
)


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
        whole: Any = AutoencoderKL(  # type: ignore[no-untyped-call]
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

    def translated(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint of CompVis's layout, or of early diffusers', under diffusers' names."""
        levels = len(self.encoder.down_blocks)
        renamed = {}
        for name, tensor in tensors.items():
            parts = name.split(".")
            if parts[0] == "decoder" and parts[1] == "up":
                parts[2] = str(levels - 1 - int(parts[2]))  # counted from the finest there
            name = ".".join(parts)
            for theirs, ours in _OTHER_NAMES:
                name = name.replace(theirs, ours)
            if ".attentions." in name and tensor.ndim == 4:
                tensor = tensor[:, :, 0, 0]  # 1 x 1 convolutions there
            renamed[name] = tensor
        return renamed

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


class LatentStatistics(nn.Module):
    """Per-channel standardisation of latents: ``(latent - bias) * scale``.

    Source: End2End-Diffusion/iREPA ``ldm/train.py`` (parameter names, order of operations).
    """

    latents_scale: Tensor
    latents_bias: Tensor

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.register_buffer("latents_scale", torch.ones(channels))
        self.register_buffer("latents_bias", torch.zeros(channels))

    def translated(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The file may hold them with axes for batch, height and width."""
        return {name: tensor.flatten() for name, tensor in tensors.items()}
