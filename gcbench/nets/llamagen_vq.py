"""LlamaGen's VQ tokenizer: images to a grid of codebook indices and back.

Source: FoundationVision/LlamaGen ``tokenizer/tokenizer_image/vq_model.py`` (parameter names, order
of operations); Sun et al. 2024, "Autoregressive Model Beats Diffusion". With the defaults it is the
published ``vq_ds16_c2i``: 256 px to 16 x 16 tokens of a 16,384-entry codebook.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.vqgan import (
    Downsample,
    PixelRange,
    ResnetBlock,
    Upsample,
    group_norm,
    nearest_code,
)


class AttnBlock(nn.Module):
    """Single-head self-attention over all pixels, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (conv(h).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape_as(x)
        y: Tensor = x + self.proj_out(h)
        return y


class Stage(nn.Module):
    """Residual blocks of one resolution, with attention at the lowest one, and a resampler."""

    def __init__(
        self, c_in: int, c_out: int, blocks: int, attend: bool, resample: str | None
    ) -> None:
        super().__init__()
        self.res = nn.ModuleList(ResnetBlock(c_out if i else c_in, c_out) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(c_out) for _ in range(blocks if attend else 0))
        self.downsample = Downsample(c_out) if resample == "down" else nn.Identity()
        self.upsample = Upsample(c_out) if resample == "up" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.res):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        y: Tensor = self.upsample(self.downsample(x))
        return y


def _middle(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [ResnetBlock(channels, channels), AttnBlock(channels), ResnetBlock(channels, channels)]
    )


class Encoder(nn.Module):
    """Images ``[B, in, H, W]`` to ``[B, z, H / f, W / f]`` with ``f = 2 ** (levels - 1)``."""

    def __init__(
        self,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        z_channels: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        widths = [ch * m for m in (1, *ch_mult)]
        last = len(ch_mult) - 1
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1)
        self.conv_blocks = nn.ModuleList(
            Stage(widths[i], widths[i + 1], num_res_blocks, i == last, "down" if i < last else None)
            for i in range(len(ch_mult))
        )
        self.mid = _middle(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for stage in (*self.conv_blocks, *self.mid):
            x = stage(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class Decoder(nn.Module):
    """Mirror of :class:`Encoder`; stages are stored from the lowest resolution up."""

    def __init__(
        self,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        z_channels: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        widths = [ch * m for m in (*ch_mult[::-1][:1], *ch_mult[::-1])]
        last = len(ch_mult) - 1
        self.conv_in = nn.Conv2d(z_channels, widths[0], 3, padding=1)
        self.mid = _middle(widths[0])
        self.conv_blocks = nn.ModuleList(
            Stage(widths[i], widths[i + 1], num_res_blocks + 1, i == 0, "up" if i < last else None)
            for i in range(len(ch_mult))
        )
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_in(z)
        for stage in (*self.mid, *self.conv_blocks):
            x = stage(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class VectorQuantizer(nn.Module):
    """Nearest neighbour in a codebook; both sides are brought to unit length if ``l2_norm``."""

    codebook_used: Tensor

    def __init__(self, size: int, dim: int, l2_norm: bool) -> None:
        super().__init__()
        self.l2_norm = l2_norm
        self.embedding = nn.Embedding(size, dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / size, 1.0 / size)
        # Usage statistics of the official training; present in every official checkpoint.
        self.register_buffer("codebook_used", torch.zeros(65536))

    def codebook(self) -> Tensor:
        """``[V, e]``, of unit rows when ``l2_norm``."""
        weight = self.embedding.weight
        return F.normalize(weight, dim=1) if self.l2_norm else weight

    def forward(self, z: Tensor) -> Tensor:
        """Features ``[B, e, h, w]`` to int64 ``[B, h * w]``; ties go to the lowest index."""
        flat = z.float().flatten(2).transpose(1, 2)  # [B, h*w, e]
        if self.l2_norm:
            flat = F.normalize(flat, dim=2)
        return nearest_code(flat, self.codebook())

    def lookup(self, tokens: Tensor) -> Tensor:
        """Indices ``[B, h * w]`` of a square grid to codebook rows ``[B, e, h, w]``."""
        rows = F.embedding(tokens, self.codebook())  # [B, h*w, e]
        side = round(tokens.shape[1] ** 0.5)
        return rows.transpose(1, 2).unflatten(2, (side, side))


class VQModel(PixelRange, nn.Module):
    """Convolutional encoder, vector quantiser and decoder.

    Args:
        codebook_size: V.
        codebook_embed_dim: e, width of a codebook row.
        codebook_l2_norm: compare directions instead of positions.
        ch: width of the highest resolution; a multiple of 32 (group norm).
        ch_mult: width factors from the highest to the lowest resolution.
        num_res_blocks: residual blocks per resolution of the encoder; the decoder has one more.
        z_channels: channels of encoder output and decoder input.
        in_channels: image channels.
    """

    def __init__(
        self,
        codebook_size: int = 16384,
        codebook_embed_dim: int = 8,
        codebook_l2_norm: bool = True,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 2,
        z_channels: int = 256,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(ch, ch_mult, num_res_blocks, z_channels, in_channels)
        self.decoder = Decoder(ch, ch_mult, num_res_blocks, z_channels, in_channels)
        self.quantize = VectorQuantizer(codebook_size, codebook_embed_dim, codebook_l2_norm)
        self.quant_conv = nn.Conv2d(z_channels, codebook_embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(codebook_embed_dim, z_channels, 1)

    def encode_latent(self, images: Tensor) -> Tensor:
        """RGB in [-1, 1] ``[B, in, H, W]`` to features before quantisation ``[B, e, h, w]``."""
        y: Tensor = self.quant_conv(self.encoder(images))
        return y

    def encode(self, images: Tensor) -> Tensor:
        """RGB in [-1, 1] ``[B, in, H, W]`` to raster-order tokens, int64 ``[B, h * w]``."""
        y: Tensor = self.quantize(self.encode_latent(images))
        return y

    def decode_latent(self, quantized: Tensor) -> Tensor:
        """Codebook rows ``[B, e, h, w]`` to images ``[B, in, H, W]``, about [-1, 1], unclamped."""
        y: Tensor = self.decoder(self.post_quant_conv(quantized))
        return y

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, h * w]`` of a square grid to images as :meth:`decode_latent`."""
        return self.decode_latent(self.quantize.lookup(tokens))
