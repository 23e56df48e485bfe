"""VAR: a transformer that predicts an image scale by scale, all codes of one scale at once.

Source: FoundationVision/VAR ``models/var.py``, ``models/basic_var.py`` (parameter names, order of
operations); Tian et al. 2024, "Visual Autoregressive Modeling".

The input at a position is the image as the coarser scales draw it, so the logits at a position
predict the code of that very position: nothing is shifted. A token sees its own and all coarser
scales. The sum over the first n scales is therefore the likelihood of the first n scales.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.decoder import materialised_attention
from gcbench.nets.mlp import Mlp

PATCH_NUMS_256 = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
PATCH_NUMS_512 = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)

# The learned temperature of the attention is capped at this (natural logarithm).
_MAX_LOG_SCALE = math.log(100)


def scale_ends(patch_nums: Sequence[int]) -> list[int]:
    """Where each scale ends in the sequence: the number of tokens of the first n scales."""
    return list(accumulate(side * side for side in patch_nums))


def _last(layers: nn.Sequential) -> nn.Linear:
    layer = layers[-1]
    assert isinstance(layer, nn.Linear)
    return layer


class Attention(nn.Module):
    """Cosine attention with one learned temperature per head; keys have no bias."""

    zero_k_bias: Tensor

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4.0)))
        self.mat_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("zero_k_bias", torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """``[B, L, dim]`` under ``visible``, bool ``[L, L]``."""
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        qkv = (self.mat_qkv(x) + bias).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, H, L, hd] each
        q = F.normalize(q, dim=3) * self.scale_mul_1H11.clamp_max(_MAX_LOG_SCALE).exp()
        k = F.normalize(k, dim=3)
        q, k = q.type_as(v), k.type_as(v)
        if self.training:
            y = materialised_attention(q, k, v, visible, scale=1.0)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=1.0)
        y = self.proj(y.transpose(1, 2).flatten(2))
        return y


class AdaLNBlock(nn.Module):
    """Transformer block whose norms are scaled, shifted and gated by the class.

    With ``shared`` the six vectors come from one linear layer of the whole network, plus this
    block's own offsets; otherwise from a linear layer of its own.
    """

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float, norm_eps: float, shared: bool
    ) -> None:
        super().__init__()
        self.dim, self.norm_eps, self.shared = dim, norm_eps, shared
        self.attn = Attention(dim, heads)
        self.ffn = Mlp(dim, round(dim * mlp_ratio))
        if shared:
            self.ada_gss = nn.Parameter(torch.randn(1, 1, 6, dim) / dim**0.5)
        else:
            self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def forward(self, x: Tensor, condition: Tensor, visible: Tensor) -> Tensor:
        """``[B, L, dim]``; ``condition`` is ``[B, dim]``, or ``[B, 1, 6, dim]`` when shared."""
        if self.shared:
            modulation = self.ada_gss + condition
        else:
            modulation = self.ada_lin(condition).view(-1, 1, 6, self.dim)
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation.unbind(2)  # [B, 1, dim]
        x = x + gamma1 * self.attn(self._norm(x) * (1 + scale1) + shift1, visible)
        y: Tensor = x + gamma2 * self.ffn(self._norm(x) * (1 + scale2) + shift2)
        return y

    def _norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.dim,), eps=self.norm_eps)


class AdaLNHead(nn.Module):
    """The last norm, scaled and shifted by the class."""

    def __init__(self, dim: int, norm_eps: float) -> None:
        super().__init__()
        self.dim, self.norm_eps = dim, norm_eps
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.ada_lin(condition).view(-1, 1, 2, self.dim).unbind(2)
        y: Tensor = F.layer_norm(x, (self.dim,), eps=self.norm_eps) * (1 + scale) + shift
        return y


class VAR(nn.Module):
    """Next-scale transformer.

    Args:
        depth: number of blocks.
        embed_dim: model width; published: 64 times the depth.
        num_heads: attention heads; published: the depth.
        patch_nums: S grid sides, from the coarsest scale to the finest; L is the sum of squares.
        vocab_size: V, size of the tokenizer's codebook.
        code_dim: e, width of a codebook row.
        num_classes: real classes; id ``num_classes`` is the unconditional one. The official
            forward drops labels even in eval mode; here that is the training loop's affair.
        mlp_ratio: feed-forward width as a multiple of ``embed_dim``.
        norm_eps: epsilon of the layer norms.
        shared_aln: one modulation layer for all blocks (d36).
    """

    lvl_1L: Tensor
    attn_bias_for_masking: Tensor

    def __init__(
        self,
        depth: int,
        embed_dim: int | None = None,
        num_heads: int | None = None,
        patch_nums: Sequence[int] = PATCH_NUMS_256,
        vocab_size: int = 4096,
        code_dim: int = 32,
        num_classes: int = 1000,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        shared_aln: bool = False,
    ) -> None:
        super().__init__()
        dim, heads = embed_dim or 64 * depth, num_heads or depth
        self.patch_nums, self.num_classes = tuple(patch_nums), num_classes
        self.vocab_size, self.code_dim = vocab_size, code_dim
        length = scale_ends(patch_nums)[-1]
        self.word_embed = nn.Linear(code_dim, dim)
        self.class_emb = nn.Embedding(num_classes + 1, dim)
        self.pos_start = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_1LC = nn.Parameter(torch.empty(1, length, dim))
        self.lvl_embed = nn.Embedding(len(patch_nums), dim)
        self.shared_ada_lin = (
            nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim)) if shared_aln else nn.Identity()
        )
        self.blocks = nn.ModuleList(
            AdaLNBlock(dim, heads, mlp_ratio, norm_eps, shared_aln) for _ in range(depth)
        )
        self.head_nm = AdaLNHead(dim, norm_eps)
        self.head = nn.Linear(dim, vocab_size)

        # Both stand in every official checkpoint.
        sides = torch.tensor(self.patch_nums)
        levels = torch.arange(len(sides)).repeat_interleave(sides**2, output_size=length)  # [L]
        hidden = torch.where(levels[:, None] < levels, float("-inf"), 0.0)
        self.register_buffer("lvl_1L", levels[None])
        self.register_buffer("attn_bias_for_masking", hidden[None, None])  # [1, 1, L, L]
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Published initialisation: near-uniform predictions, near-closed residual gates."""
        dim = self.pos_1LC.shape[2]
        std = math.sqrt(1 / (3 * dim))
        nn.init.trunc_normal_(self.pos_start, std=std)
        nn.init.trunc_normal_(self.pos_1LC, std=std)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self.head.weight.mul_(0.02)
        _last(self.head_nm.ada_lin).weight.mul_(0.5)
        for block in self.modules():
            if isinstance(block, AdaLNBlock):
                block.attn.proj.weight.div_(math.sqrt(2 * len(self.blocks)))
                block.ffn.fc2.weight.div_(math.sqrt(2 * len(self.blocks)))
                if block.shared:
                    modulation = block.ada_gss[0, 0]  # [6, dim]
                else:
                    modulation = _last(block.ada_lin).weight.unflatten(0, (6, dim))
                modulation[:2].mul_(1e-5)
                modulation[2:].mul_(0.5)

    def misfit(self, tensors: Mapping[str, Tensor]) -> str | None:
        """What tells a checkpoint of other scales, None when nothing does."""
        levels = tensors.get("lvl_1L")
        if levels is None or torch.equal(levels, self.lvl_1L):
            return None
        found = [math.isqrt(count) for count in levels.flatten().bincount().tolist()]
        return f"it was trained on scales of sides {found}, expected {list(self.patch_nums)}"

    def hidden(self, var_input: Tensor, classes: Tensor) -> Tensor:
        """Modulated features that predict each code, ``[B, L, dim]``."""
        condition = self.class_emb(classes)  # [B, dim]
        first = condition[:, None] + self.pos_start
        x = torch.cat([first, self.word_embed(var_input).type_as(first)], dim=1)  # [B, L, dim]
        length = x.shape[1]
        x = x + self.lvl_embed(self.lvl_1L[:, :length]) + self.pos_1LC[:, :length]
        visible = self.attn_bias_for_masking[0, 0, :length, :length] == 0
        modulation = condition
        if not isinstance(self.shared_ada_lin, nn.Identity):
            modulation = self.shared_ada_lin(condition).unflatten(1, (1, 6, -1))
        for block in self.blocks:
            x = block(x, modulation, visible)
        y: Tensor = self.head_nm(x, condition)
        return y

    def forward(self, var_input: Tensor, classes: Tensor) -> Tensor:
        """Logits of every code given the coarser scales.

        Args:
            var_input: ``[B, L - 1, e]``: the tokenizer's reconstruction from the scales before,
                at the resolution of each scale from the second on. Cut after a scale, it gives
                the logits of the scales up to there.
            classes: int64 ``[B]``.

        Returns:
            float32 ``[B, L, V]``, scales from coarse to fine, each in raster order.
        """
        y: Tensor = self.head(self.hidden(var_input, classes))
        return y.float()

    def token_log_likelihood(self, tokens: Tensor, var_input: Tensor, classes: Tensor) -> Tensor:
        """``log p(code | class, coarser scales)`` in nats.

        Args:
            tokens: int64 ``[B, L]``, all scales or the first few.
            var_input, classes: as in :meth:`forward`.

        Returns:
            float32 ``[B, L]``; the sum over L is the image's log-likelihood.
        """
        logits = self(var_input, classes)  # [B, L, V]
        picked = logits.gather(2, tokens[..., None]).squeeze(2)
        return picked - logits.logsumexp(dim=2)
