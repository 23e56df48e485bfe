"""VAR's multi-scale VQVAE: images to codes of ten growing grids, each refining those before.

Source: FoundationVision/VAR ``models/vqvae.py``, ``models/basic_vae.py``, ``models/quant.py``
(parameter names, order of operations); Tian et al. 2024, "Visual Autoregressive Modeling". With
the defaults it is the published ``vae_ch160v4096z32``: 256 px to 680 codes of a 4,096-entry
codebook.

Every scale quantises what the scales before have left over: the residual is averaged down to the
scale's grid, each cell takes its nearest code, the codes are enlarged to the finest grid, smoothed
by a convolution and subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.var import PATCH_NUMS_256, scale_ends
from gcbench.nets.vqgan import (
    Downsample,
    PixelRange,
    ResnetBlock,
    Upsample,
    group_norm,
    nearest_code,
)

# Convolutions that smooth the enlarged codes, shared by neighbouring scales.
SMOOTHERS = 4


def smoother_of_scale(scales: int) -> tuple[int, ...]:
    """Which of the four convolutions smooths each of ``scales`` (at least 2) scales.

    The one whose position among evenly spaced ticks from 1/12 to 11/12 is nearest to the scale's
    position from 0 to 1. Scales 2 and 7 of ten lie exactly between two ticks: there the rounding
    of the official float64 computation takes the higher one, which is the rule here.
    """
    last = scales - 1

    def distance(scale: int, tick: int) -> int:
        return abs(36 * scale - (3 + 10 * tick) * last)  # in units of 1 / (36 * last)

    return tuple(
        min(range(SMOOTHERS), key=lambda tick: (distance(scale, tick), -tick))
        for scale in range(scales)
    )


class AttnBlock(nn.Module):
    """Single-head self-attention over all pixels with one fused projection, and a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)  # [B, hw, C]
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape_as(x)
        y: Tensor = x + self.proj_out(h)
        return y


class Stage(nn.Module):
    """Residual blocks of one resolution, with attention at the lowest one, and a resampler."""

    def __init__(
        self, c_in: int, c_out: int, blocks: int, attend: bool, resample: str | None
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_out if i else c_in, c_out) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(c_out) for _ in range(blocks if attend else 0))
        self.downsample = Downsample(c_out) if resample == "down" else nn.Identity()
        self.upsample = Upsample(c_out) if resample == "up" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        y: Tensor = self.upsample(self.downsample(x))
        return y


class Middle(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return y


class Encoder(nn.Module):
    """Images ``[B, 3, H, W]`` to ``[B, z, H / f, W / f]`` with ``f = 2 ** (levels - 1)``."""

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z: int) -> None:
        super().__init__()
        widths = [ch * m for m in (1, *ch_mult)]
        last = len(ch_mult) - 1
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        self.down = nn.ModuleList(
            Stage(widths[i], widths[i + 1], num_res_blocks, i == last, "down" if i < last else None)
            for i in range(len(ch_mult))
        )
        self.mid = Middle(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for stage in (*self.down, self.mid):
            x = stage(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class Decoder(nn.Module):
    """Mirror of :class:`Encoder`; ``up[0]`` is the highest resolution and runs last."""

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z: int) -> None:
        super().__init__()
        widths = [ch * m for m in (*ch_mult, ch_mult[-1])]
        last = len(ch_mult) - 1
        self.conv_in = nn.Conv2d(z, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Stage(widths[i + 1], widths[i], num_res_blocks + 1, i == last, "up" if i else None)
            for i in range(len(ch_mult))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_in(z)
        for stage in (self.mid, *reversed(self.up)):
            x = stage(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class Smoother(nn.Conv2d):
    """Half of the input and half of its 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return 0.5 * h + 0.5 * super().forward(h)


class Smoothers(nn.Module):
    """The convolutions by scale."""

    def __init__(self, channels: int, scales: int) -> None:
        super().__init__()
        self.qresi_ls = nn.ModuleList(Smoother(channels) for _ in range(SMOOTHERS))
        self.of_scale = smoother_of_scale(scales)

    def forward(self, h: Tensor, scale: int) -> Tensor:
        y: Tensor = self.qresi_ls[self.of_scale[scale]](h)
        return y


class MultiScaleQuantizer(nn.Module):
    """Residual quantisation from the coarsest grid to the finest, with one codebook."""

    ema_vocab_hit_SV: Tensor

    def __init__(self, size: int, dim: int, patch_nums: Sequence[int]) -> None:
        super().__init__()
        self.patch_nums = tuple(patch_nums)
        self.embedding = nn.Embedding(size, dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / size, 1.0 / size)
        self.quant_resi = Smoothers(dim, len(self.patch_nums))
        # Usage statistics of the official training; present in every official checkpoint.
        self.register_buffer("ema_vocab_hit_SV", torch.zeros(len(self.patch_nums), size))

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[B, e, P, P]`` (P: finest side) to codes of all scales, int64 ``[B, L]``."""
        rest = features.float()
        found = []
        for scale, side in enumerate(self.patch_nums):
            coarse = rest if self._finest(scale) else F.interpolate(rest, (side, side), mode="area")
            tokens = nearest_code(coarse.flatten(2).transpose(1, 2), self.embedding.weight)
            rest = rest - self._drawn(tokens, scale)
            found.append(tokens)
        return torch.cat(found, dim=1)

    def reconstructions(self, tokens: Tensor) -> Iterator[Tensor]:
        """Features ``[B, e, P, P]`` as the first scale, the first two, ... of ``tokens`` draw them.

        ``tokens`` are the codes of all scales, or of the first few.
        """
        sizes = [side * side for side in self.patch_nums[: self._scales(tokens)]]
        drawn = (self._drawn(codes, i) for i, codes in enumerate(tokens.split(sizes, dim=1)))
        return accumulate(drawn)

    def var_input(self, tokens: Tensor) -> Tensor:
        """What VAR reads to predict ``tokens``: the reconstruction before each scale, at its grid.

        Args:
            tokens: int64 ``[B, L]``, codes of all scales, or of the first few.

        Returns:
            float32 ``[B, L - 1, e]``: the first scale, a single token, has no predecessor.
        """
        inputs = [self.embedding.weight.new_empty(len(tokens), 0, self.embedding.embedding_dim)]
        sides = self.patch_nums[1 : self._scales(tokens)]
        for side, total in zip(sides, self.reconstructions(tokens), strict=False):
            coarse = F.interpolate(total, (side, side), mode="area")
            inputs.append(coarse.flatten(2).transpose(1, 2))
        return torch.cat(inputs, dim=1)

    def _scales(self, tokens: Tensor) -> int:
        return scale_ends(self.patch_nums).index(tokens.shape[1]) + 1

    def _drawn(self, tokens: Tensor, scale: int) -> Tensor:
        """What the codes ``[B, p * p]`` of a scale add to the reconstruction ``[B, e, P, P]``."""
        side, finest = self.patch_nums[scale], self.patch_nums[-1]
        rows = self.embedding(tokens).transpose(1, 2).unflatten(2, (side, side))
        if not self._finest(scale):
            rows = F.interpolate(rows, (finest, finest), mode="bicubic")
        y: Tensor = self.quant_resi(rows, scale)
        return y

    def _finest(self, scale: int) -> bool:
        return scale == len(self.patch_nums) - 1


class VQVAE(PixelRange, nn.Module):
    """Convolutional encoder, multi-scale quantiser and decoder.

    Args:
        patch_nums: S grid sides, from the coarsest scale to the finest; the first is 1, the last
            that of the encoder's output.
        codebook_size: V.
        z_channels: e, channels of encoder output and decoder input, width of a codebook row.
        ch: width of the highest resolution; a multiple of 32 (group norm).
        ch_mult: width factors from the highest to the lowest resolution.
        num_res_blocks: residual blocks per resolution of the encoder; the decoder has one more.
    """

    def __init__(
        self,
        patch_nums: Sequence[int] = PATCH_NUMS_256,
        codebook_size: int = 4096,
        z_channels: int = 32,
        ch: int = 160,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 2,
    ) -> None:
        super().__init__()
        self.patch_nums = tuple(patch_nums)
        self.encoder = Encoder(ch, ch_mult, num_res_blocks, z_channels)
        self.decoder = Decoder(ch, ch_mult, num_res_blocks, z_channels)
        self.quantize = MultiScaleQuantizer(codebook_size, z_channels, patch_nums)
        self.quant_conv = nn.Conv2d(z_channels, z_channels, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(z_channels, z_channels, 3, padding=1)

    def encode_latent(self, images: Tensor) -> Tensor:
        """RGB in [-1, 1] ``[B, 3, H, W]`` to features before quantisation ``[B, e, P, P]``."""
        y: Tensor = self.quant_conv(self.encoder(images))
        return y

    def encode(self, images: Tensor) -> Tensor:
        """RGB in [-1, 1] ``[B, 3, H, W]`` to codes, coarse to fine, int64 ``[B, L]``."""
        y: Tensor = self.quantize(self.encode_latent(images))
        return y

    def decode_latent(self, quantized: Tensor) -> Tensor:
        """Features ``[B, e, P, P]`` to images ``[B, 3, H, W]``, about [-1, 1], unclamped."""
        y: Tensor = self.decoder(self.post_quant_conv(quantized))
        return y

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Codes of all scales, or of the first few, to images as :meth:`decode_latent`."""
        *_, quantized = self.quantize.reconstructions(tokens)
        return self.decode_latent(quantized)
