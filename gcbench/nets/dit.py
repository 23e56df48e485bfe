"""DiT: a transformer that predicts the noise in a latent, given its timestep and its class.

Source: facebookresearch/DiT ``models.py`` (parameter names, order of operations); Peebles & Xie
2023, "Scalable Diffusion Models with Transformers".

SiT, REPA, iREPA and REG build on the same blocks (:mod:`gcbench.nets.sit`). What the classes of an
image share is computed once: :meth:`DiT.embed` of the noisy latent, :meth:`DiT.t_embedder` of the
timestep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.mlp import Mlp

_NORM_EPS = 1e-6
_FREQUENCIES = 256
_LONGEST_PERIOD = 10000.0


def timestep_features(t: Tensor, width: int = _FREQUENCIES) -> Tensor:
    """Cosines, then sines of ``t`` at ``width / 2`` geometric frequencies, float32 ``[B, width]``.

    The exponent is divided by the number of frequencies; diffusers divides by one less, which makes
    another network of the same weights.
    """
    half = width // 2
    index = torch.arange(half, dtype=torch.float32, device=t.device)
    frequencies = torch.exp(-math.log(_LONGEST_PERIOD) * index / half)
    angles = t.float()[:, None] * frequencies  # [B, half]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def position_table(side: int, dim: int) -> Tensor:
    """Fixed positions of a raster of tokens, float32 ``[side * side, dim]``.

    The first half of the channels encodes the column, the second the row; each is all sines, then
    all cosines.
    """
    quarter = dim // 4
    frequencies = _LONGEST_PERIOD ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.outer(torch.arange(side, dtype=torch.float64), frequencies)  # [side, dim/4]
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # [side, dim/2]
    columns = axis[None].expand(side, side, -1)
    rows = axis[:, None].expand(side, side, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1).float()


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens in raster order."""

    def __init__(self, patch_size: int, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` to ``[B, N, dim]``."""
        y: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return y


class TimestepEmbedder(nn.Module):
    """A timestep's features through two linear layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        """``[B]`` to ``[B, dim]``."""
        y: Tensor = self.mlp(timestep_features(t))
        return y


class LabelEmbedder(nn.Module):
    """One row per class and a last one for no class."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, dim)

    def forward(self, classes: Tensor) -> Tensor:
        """int64 ``[B]`` to ``[B, dim]``."""
        y: Tensor = self.embedding_table(classes)
        return y


class Attention(nn.Module):
    """Full attention with one fused projection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, N, dim]``."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, H, N, hd] each
        if self.training:
            # The backward pass of torch's fused CPU kernel is slower on so few tokens.
            scores = (q @ k.transpose(2, 3)).float() / math.sqrt(q.shape[3])  # [B, H, N, N]
            y = scores.softmax(dim=3).type_as(v) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        y = self.proj(y.transpose(1, 2).flatten(2))
        return y


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm of ``[B, N, dim]``, shifted and scaled by ``[B, dim]``."""
    normed = F.layer_norm(x, x.shape[-1:], eps=_NORM_EPS)
    return normed * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by the condition (adaLN-Zero)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attn = Attention(dim, heads)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``[B, N, dim]`` given ``[B, dim]``."""
        modulation = self.adaLN_modulation(condition).chunk(6, dim=1)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = modulation
        x = x + gate_attn[:, None] * self.attn(modulated_norm(x, shift_attn, scale_attn))
        y: Tensor = x + gate_mlp[:, None] * self.mlp(modulated_norm(x, shift_mlp, scale_mlp))
        return y


class FinalLayer(nn.Module):
    """The last norm, shifted and scaled by the condition, and a linear layer per patch."""

    def __init__(self, dim: int, patch_values: int) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))
        self.linear = nn.Linear(dim, patch_values)

    def normed(self, x: Tensor, condition: Tensor) -> Tensor:
        """``[B, N, dim]`` given ``[B, dim]``."""
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=1)
        return modulated_norm(x, shift, scale)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``[B, N, dim]`` to ``[B, N, patch_values]``."""
        y: Tensor = self.linear(self.normed(x, condition))
        return y


class DiT(nn.Module):
    """Diffusion transformer.

    Args:
        input_size: side of the latent.
        patch_size: side of a patch; N = (input_size / patch_size)^2 tokens.
        in_channels: C, channels of the latent.
        hidden_size, depth, num_heads, mlp_ratio: width, blocks, heads and widening of the MLPs;
            those of XL/2 by default.
        num_classes: real classes; id ``num_classes`` stands for no class. The official forward
            drops labels in training; here that is the training loop's affair.
        learn_sigma: the head also puts out C channels of variances, which no classifier reads.
    """

    pos_embed: Tensor

    def __init__(
        self,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        learn_sigma: bool = True,
    ) -> None:
        super().__init__()
        self.patch_size, self.in_channels, self.num_classes = patch_size, in_channels, num_classes
        self.out_channels = in_channels * (2 if learn_sigma else 1)
        self.side = input_size // patch_size
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size)
        # Stands in every official checkpoint, although it is never trained.
        self.register_buffer("pos_embed", position_table(self.side, hidden_size)[None])
        self.blocks = nn.ModuleList(
            DiTBlock(hidden_size, num_heads, mlp_ratio) for _ in range(depth)
        )
        self.final_layer = FinalLayer(hidden_size, patch_size**2 * self.out_channels)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Published initialisation: every block is the identity, and the output zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.x_embedder.proj.weight.flatten(1))
        assert self.x_embedder.proj.bias is not None
        nn.init.zeros_(self.x_embedder.proj.bias)
        nn.init.normal_(self.y_embedder.embedding_table.weight, std=0.02)
        for module in (self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            assert isinstance(module, nn.Linear)
            nn.init.normal_(module.weight, std=0.02)
        closed: list[nn.Module] = [self.final_layer.linear]
        for module in self.modules():
            if isinstance(module, DiTBlock | FinalLayer):
                closed.append(module.adaLN_modulation[1])
        for module in closed:
            assert isinstance(module, nn.Linear)
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)

    def embed(self, x: Tensor) -> Tensor:
        """Tokens ``[B, N, dim]`` of noisy latents ``[B, C, h, w]``."""
        y: Tensor = self.x_embedder(x) + self.pos_embed
        return y

    def condition(self, t: Tensor, classes: Tensor) -> Tensor:
        """``[B, dim]`` of timesteps ``[B]`` and classes int64 ``[B]``."""
        y: Tensor = self.t_embedder(t) + self.y_embedder(classes)
        return y

    def denoise(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """All output channels ``[B, out_channels, h, w]`` from :meth:`embed`, :meth:`condition`."""
        for block in self.blocks:
            tokens = block(tokens, condition)
        return self.unpatchify(self.final_layer(tokens, condition))

    def prediction(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """What a classifier reads, float32 ``[B, C, h, w]``: the noise."""
        return self.denoise(tokens, condition)[:, : self.in_channels].float()

    def unpatchify(self, patches: Tensor) -> Tensor:
        """``[B, N, p * p * out_channels]``, channel fastest, to ``[B, out_channels, h, w]``."""
        p, side = self.patch_size, self.side
        grid = patches.unflatten(2, (p, p, self.out_channels)).unflatten(1, (side, side))
        return grid.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.out_channels, side * p, side * p)

    def forward(self, x: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """Noise, then variances where learned, ``[B, out_channels, h, w]``.

        Args:
            x: noisy latents ``[B, C, h, w]``.
            t: timesteps ``[B]``, 0 to 999.
            classes: int64 ``[B]``.
        """
        return self.denoise(self.embed(x), self.condition(t, classes))

    def translated(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint in diffusers' layout (DiTTransformer2DModel) under the official names.

        diffusers repeats the embedders in every block and recomputes the positions; the first
        copy and our own positions are taken. Other layouts pass unchanged.
        """
        if "proj_out_2.weight" not in tensors:
            return dict(tensors)
        renamed = {"pos_embed": self.pos_embed}
        for ours, theirs in _DIFFUSERS_NAMES.items():
            for kind in ("weight", "bias"):
                if f"{theirs}.{kind}" in tensors:
                    renamed[f"{ours}.{kind}"] = tensors[f"{theirs}.{kind}"]
        for i in range(len(self.blocks)):
            block = f"transformer_blocks.{i}"
            for kind in ("weight", "bias"):
                for ours, theirs in _DIFFUSERS_BLOCK_NAMES.items():
                    if f"{block}.{theirs}.{kind}" in tensors:
                        renamed[f"blocks.{i}.{ours}.{kind}"] = tensors[f"{block}.{theirs}.{kind}"]
                parts = [tensors.get(f"{block}.attn1.to_{name}.{kind}") for name in "qkv"]
                given = [part for part in parts if part is not None]
                if len(given) == len(parts):
                    renamed[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(given)
        return renamed


_FIRST = "transformer_blocks.0.norm1.emb"
_DIFFUSERS_NAMES = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": f"{_FIRST}.timestep_embedder.linear_1",
    "t_embedder.mlp.2": f"{_FIRST}.timestep_embedder.linear_2",
    "y_embedder.embedding_table": f"{_FIRST}.class_embedder.embedding_table",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
_DIFFUSERS_BLOCK_NAMES = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
