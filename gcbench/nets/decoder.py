"""The Llama-style decoder block that LlamaGen's GPT and RandAR share.

Source: FoundationVision/LlamaGen ``autoregressive/models/gpt.py`` (names, order of operations).
Pre-norm, no biases, SwiGLU, grouped key/value heads, 2-D rotary positions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def swiglu_width(dim: int, multiple_of: int = 256, multiplier: float | None = None) -> int:
    """Hidden width of the SwiGLU: two thirds of ``4 * dim``, rounded up to ``multiple_of``."""
    width = int(2 * (4 * dim) / 3)
    if multiplier is not None:
        width = int(multiplier * width)
    return -(-width // multiple_of) * multiple_of


def rope_table_2d(grid: int, head_dim: int, base: float = 10000.0) -> Tensor:
    """Rotary table of a class token followed by a ``grid x grid`` raster of image tokens.

    Row ``1 + p`` holds the cosines and sines of raster position ``p``: the first half of the
    angles turns with the row, the second half with the column. Row 0, the class token's, is all
    zeros as published. That is no identity rotation: it makes the class token's query and key
    vanish.

    Returns:
        float32 ``[1 + grid * grid, head_dim / 2, 2]``, last axis (cos, sin).

    Raises:
        ValueError: ``head_dim`` is not a multiple of 4.
    """
    if head_dim % 4:
        raise ValueError(f"2-D rotary positions need a head width divisible by 4, got {head_dim}")
    half = head_dim // 2
    frequencies = base ** (-torch.arange(0, half, 2, dtype=torch.float32) / half)  # [F]
    angles = torch.outer(torch.arange(grid, dtype=torch.float32), frequencies)  # [G, F]
    rows = angles[:, None, :].expand(grid, grid, -1)
    columns = angles[None, :, :].expand(grid, grid, -1)
    angles = torch.cat([rows, columns], dim=-1).flatten(0, 1)  # [G*G, hd/2]
    table = torch.stack([angles.cos(), angles.sin()], dim=-1)
    return torch.cat([torch.zeros(1, half, 2), table])  # [1 + G*G, hd/2, 2]


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turn adjacent pairs of the last axis in float32; the result has ``x``'s dtype.

    Args:
        x: ``[B, L, H, hd]``.
        rope: ``[B or 1, L, hd / 2, 2]``, rows of :func:`rope_table_2d`.
    """
    pairs = x.float().unflatten(-1, (-1, 2))  # [B, L, H, hd/2, 2]
    if not torch.compiler.is_compiling():
        # One pass over memory instead of seven; the compiler fuses the real form by itself.
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(rope)[:, :, None]
        return torch.view_as_real(turned).flatten(-2).type_as(x)
    even, odd = pairs[..., 0], pairs[..., 1]
    cos, sin = rope[:, :, None, :, 0], rope[:, :, None, :, 1]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    return turned.flatten(-2).type_as(x)


def materialised_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None = None
) -> Tensor:
    """Attention that keeps the whole score matrix, softmax in float32.

    For training short sequences: the backward pass of torch's fused CPU kernel is several times
    slower than these two batched products.

    Args:
        q: ``[B, H, R, hd]``.
        k, v: ``[B, H, L, hd]``.
        mask: ``[R, L]`` bool of visible keys, None for the causal triangle.
        scale: of the scores; 1 / sqrt(hd) if None.
    """
    if mask is None:
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
    scale = 1 / math.sqrt(q.shape[3]) if scale is None else scale
    scores = (q @ k.transpose(2, 3)).float() * scale  # [B, H, R, L]
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=3)
    return weights.type_as(v) @ v


class RMSNorm(nn.Module):
    """Root-mean-square norm: statistic in float32, cast back, then weighted."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * self.weight


class FeedForward(nn.Module):
    """SwiGLU: ``w2(silu(w1 x) * w3 x)``."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, width, bias=False)
        self.w3 = nn.Linear(dim, width, bias=False)
        self.w2 = nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return y


class Attention(nn.Module):
    """Causal attention with one fused projection ordered ``[Q | K | V]``."""

    def __init__(self, dim: int, n_head: int, n_kv_head: int) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_dim = n_head, n_kv_head, dim // n_head
        self.wqkv = nn.Linear(dim, (n_head + 2 * n_kv_head) * self.head_dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, rope: Tensor, rows: slice | None, mask: Tensor | None) -> Tensor:
        """Attend causally; with ``rows``, compute the output of these sequence positions only.

        Args:
            x: ``[B, L, dim]``.
            rope: ``[B or 1, L, hd / 2, 2]``.
            rows: the R query positions that are wanted, None for all.
            mask: ``[R, L]`` bool of visible keys; required with ``rows``.

        Returns:
            ``[B, R, dim]``, R = L without ``rows``.
        """
        split = self.n_head * self.head_dim
        if rows is None:
            fused = self.wqkv(x).unflatten(-1, (-1, self.head_dim))  # [B, L, Hq + 2 Hkv, hd]
            turning, v = fused.split([self.n_head + self.n_kv_head, self.n_kv_head], dim=2)
            q, k = rotate(turning, rope).split([self.n_head, self.n_kv_head], dim=2)
        else:
            q = F.linear(x[:, rows], self.wqkv.weight[:split])
            q = rotate(q.unflatten(-1, (-1, self.head_dim)), rope[:, rows])
            k, v = (
                F.linear(x, self.wqkv.weight[split:]).unflatten(-1, (-1, self.head_dim)).chunk(2, 2)
            )
            k = rotate(k, rope)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, H, L, hd]
        if self.n_kv_head != self.n_head:
            k = k.repeat_interleave(self.n_head // self.n_kv_head, dim=1)
            v = v.repeat_interleave(self.n_head // self.n_kv_head, dim=1)
        if self.training and x.device.type == "cpu":
            y = materialised_attention(q, k, v, mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        y = self.wo(y.transpose(1, 2).flatten(2))
        return y


class TransformerBlock(nn.Module):
    """Pre-norm block: ``h = x + attention(norm(x))``, then ``h + feed_forward(norm(h))``.

    In training, a share ``dropout`` of what is added is dropped.
    """

    def __init__(
        self,
        dim: int,
        n_head: int,
        n_kv_head: int,
        ffn_width: int,
        norm_eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention = Attention(dim, n_head, n_kv_head)
        self.feed_forward = FeedForward(dim, ffn_width)
        self.attention_norm = RMSNorm(dim, norm_eps)
        self.ffn_norm = RMSNorm(dim, norm_eps)

    def forward(
        self, x: Tensor, rope: Tensor, rows: slice | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """``[B, L, dim]`` to ``[B, R, dim]``; see :meth:`Attention.forward` for ``rows``."""
        kept = x if rows is None else x[:, rows]
        h = kept + self._dropped(self.attention(self.attention_norm(x), rope, rows, mask))
        return h + self._dropped(self.feed_forward(self.ffn_norm(h)))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class LabelEmbedder(nn.Module):
    """Class embedding; if labels are ever dropped, one more row, the unconditional one."""

    def __init__(self, num_classes: int, dim: int, dropout_prob: float) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + int(dropout_prob > 0), dim)

    def forward(self, classes: Tensor) -> Tensor:
        """``[B]`` class ids (``num_classes`` is the unconditional one) to ``[B, dim]``."""
        y: Tensor = self.embedding_table(classes)
        return y


def init_weights(model: nn.Module, std: float = 0.02) -> None:
    """Normal(0, std) for every linear and embedding weight, as published."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)


def grid_side(block_size: int) -> int:
    """Side of the square token grid.

    Raises:
        ValueError: ``block_size`` is not a square number.
    """
    side = math.isqrt(block_size)
    if side * side != block_size:
        raise ValueError(f"block_size must be a square number of tokens, got {block_size}")
    return side
