"""MaskGIT's VQ tokenizer, as RandAR uses it: convolutions only, plain nearest neighbours.

Source: ziqipang/RandAR ``RandAR/model/maskgit_tokenizer.py`` (parameter names, order of
operations); Chang et al. 2022, "MaskGIT". With the defaults it is the published
``maskgit-vqgan-imagenet-f16-256``: 256 px to 16 x 16 tokens of a 1,024-entry codebook.

Unlike the other tokenizers it reads and writes RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.vqgan import PixelRange, group_norm, nearest_code


class ResnetBlock(nn.Module):
    """Norm, swish, 3x3 convolution without bias, twice.

    Where the width changes, the published weights were trained with a shortcut of the block's
    OUTPUT: the block's input is dropped from the sum.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1 = group_norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.norm2 = group_norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.changes_width = c_in != c_out
        if self.changes_width:
            self.nin_shortcut = nn.Conv2d(c_out, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(h) if self.changes_width else x)


def _blocks(c_in: int, c_out: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(ResnetBlock(c_out if i else c_in, c_out) for i in range(count))


class EncoderStage(nn.Module):
    """Residual blocks of one resolution, then 2x2 average pooling."""

    def __init__(self, c_in: int, c_out: int, blocks: int, pool: bool) -> None:
        super().__init__()
        self.block = _blocks(c_in, c_out, blocks)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return F.avg_pool2d(x, 2) if self.pool else x


class Encoder(nn.Module):
    """Images ``[B, 3, H, W]`` to ``[B, z, H / f, W / f]`` with ``f = 2 ** (levels - 1)``."""

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z: int) -> None:
        super().__init__()
        widths = [ch * m for m in (1, *ch_mult)]
        last = len(ch_mult) - 1
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1, bias=False)
        self.down = nn.ModuleList(
            EncoderStage(widths[i], widths[i + 1], num_res_blocks, pool=i < last)
            for i in range(len(ch_mult))
        )
        self.mid = _blocks(widths[-1], widths[-1], num_res_blocks)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for stage in (*self.down, *self.mid):
            x = stage(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class DecoderStage(nn.Module):
    """Residual blocks of one resolution, then nearest-neighbour doubling and a convolution."""

    def __init__(self, c_in: int, c_out: int, blocks: int, upsample: bool) -> None:
        super().__init__()
        self.block = _blocks(c_in, c_out, blocks)
        self.upsample = upsample
        if upsample:
            self.upsample_conv = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.upsample:
            x = self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class Decoder(nn.Module):
    """Mirror of :class:`Encoder`; ``up[0]`` is the highest resolution and runs last."""

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z: int) -> None:
        super().__init__()
        widths = [ch * m for m in (*ch_mult, ch_mult[-1])]
        self.conv_in = nn.Conv2d(z, widths[-1], 3, padding=1)
        self.mid = _blocks(widths[-1], widths[-1], num_res_blocks)
        self.up = nn.ModuleList(
            DecoderStage(widths[i + 1], widths[i], num_res_blocks, upsample=i > 0)
            for i in range(len(ch_mult))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_in(z)
        for stage in (*self.mid, *reversed(self.up)):
            x = stage(x)
        y: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return y


class VectorQuantizer(nn.Module):
    """Nearest neighbour in a codebook, by plain Euclidean distance."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / size, 1.0 / size)

    def forward(self, z: Tensor) -> Tensor:
        """Features ``[B, e, h, w]`` to int64 ``[B, h * w]``; ties go to the lowest index."""
        return nearest_code(z.flatten(2).transpose(1, 2), self.embedding.weight)

    def lookup(self, tokens: Tensor) -> Tensor:
        """Indices ``[B, h * w]`` of a square grid to codebook rows ``[B, e, h, w]``."""
        rows: Tensor = self.embedding(tokens)  # [B, h*w, e]
        side = round(tokens.shape[1] ** 0.5)
        return rows.transpose(1, 2).unflatten(2, (side, side))


class MaskGITVQ(PixelRange, nn.Module):
    """Convolutional encoder, vector quantiser and decoder.

    Args:
        codebook_size: V.
        ch: width of the highest resolution; a multiple of 32 (group norm).
        ch_mult: width factors from the highest to the lowest resolution.
        num_res_blocks: residual blocks per resolution and in the middle.
        z_channels: channels of encoder output and decoder input, width of a codebook row.
    """

    reads = (0.0, 1.0)

    def __init__(
        self,
        codebook_size: int = 1024,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 2,
        z_channels: int = 256,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(ch, ch_mult, num_res_blocks, z_channels)
        self.decoder = Decoder(ch, ch_mult, num_res_blocks, z_channels)
        self.quantize = VectorQuantizer(codebook_size, z_channels)

    def encode_latent(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] ``[B, 3, H, W]`` to features before quantisation ``[B, z, h, w]``."""
        y: Tensor = self.encoder(images)
        return y

    def encode(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] ``[B, 3, H, W]`` to raster-order tokens, int64 ``[B, h * w]``."""
        y: Tensor = self.quantize(self.encode_latent(images))
        return y

    def decode_latent(self, quantized: Tensor) -> Tensor:
        """Codebook rows ``[B, z, h, w]`` to images ``[B, 3, H, W]``, about [0, 1], unclamped."""
        y: Tensor = self.decoder(quantized)
        return y

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, h * w]`` of a square grid to images as :meth:`decode_latent`."""
        return self.decode_latent(self.quantize.lookup(tokens))
