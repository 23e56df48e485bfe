"""First-order scores of all classes from one forward and one backward pass.

A class acts on the image tokens through one value vector per layer (see
:mod:`gcbench.nets.sequences`), so the log-likelihood is a function of those vectors. It is
linearised at their mean over the candidate classes:

    score(c) = log p(tokens | mean) + sum over layers of gradient . (vector of c - mean vector)

Good enough to say which classes are worth an evaluation, at about the price of three of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.decoder import TransformerBlock, materialised_attention, rotate
from gcbench.nets.kernels import onednn_linear, takes_onednn
from gcbench.nets.sequences import Decoder, blocks, class_tokens, sequences

EVALUATIONS = 3  # what a forward and a backward pass cost, the backward one counted twice


def first_order_scores(
    network: Decoder, tokens: Tensor, orders: Tensor | None, classes: Tensor
) -> Tensor:
    """The linearised log-likelihood of every image under every candidate.

    Args:
        network: with frozen weights.
        tokens: int64 ``[B, N]`` in raster order.
        orders: int64 ``[B, N]`` visit orders for RandAR, None for LlamaGen's GPT.
        classes: int64 ``[C]``.

    Returns:
        float32 ``[B, C]`` in nats.
    """
    # Also inside torch.inference_mode, whose tensors know no gradient.
    with torch.inference_mode(False), torch.enable_grad():
        tokens, classes = tokens.clone(), classes.clone()
        with torch.no_grad():
            candidates = class_tokens(network, classes)
        mean = candidates.values.mean(dim=0)  # [layers, kv width]
        at = mean.expand(len(tokens), -1, -1).clone().requires_grad_()
        of = sequences(network, tokens, None if orders is None else orders.clone())
        x = of.x
        for index, block in enumerate(blocks(network)):
            x = _block(block, x, of.rope, at[:, index])
        rows = _rows(network, x[:, :: of.stride], of.targets).sum(dim=1)  # [B]
        (gradient,) = torch.autograd.grad(rows.sum(), at)
    total = rows.detach()[:, None]
    if of.first_target is not None:
        # What the class token itself predicts is known exactly.
        alone = _logits(network, candidates.hidden).log_softmax(dim=1)  # [C, V]
        total = total + alone[:, of.first_target].T
    return total + torch.einsum("blk,clk->bc", gradient, candidates.values - mean)


def _block(block: TransformerBlock, x: Tensor, rope: Tensor, value: Tensor) -> Tensor:
    """A block on rows ``[B, L, dim]`` behind a class token of this value ``[B, kv width]``."""
    attention = block.attention
    heads, kv_heads = attention.n_head, attention.n_kv_head
    fused = _linear(block.attention_norm(x), attention.wqkv.weight)
    fused = fused.unflatten(-1, (-1, attention.head_dim))
    turning, v = fused.split([heads + kv_heads, kv_heads], dim=2)
    q, k = rotate(turning, rope).split([heads, kv_heads], dim=2)
    first = value.unflatten(1, (kv_heads, -1))[:, None]  # [B, 1, Hkv, hd]
    k = torch.cat([torch.zeros_like(first), k], dim=1)
    v = torch.cat([first, v], dim=1)
    groups = heads // kv_heads
    k, v = (t.transpose(1, 2).repeat_interleave(groups, dim=1) for t in (k, v))
    length = x.shape[1]
    visible = torch.ones(length, length + 1, dtype=torch.bool, device=x.device).tril(1)
    y = materialised_attention(q.transpose(1, 2), k, v, visible)
    h = x + _linear(y.transpose(1, 2).flatten(2), attention.wo.weight)
    forward, normed = block.feed_forward, block.ffn_norm(h)
    gated = F.silu(_linear(normed, forward.w1.weight)) * _linear(normed, forward.w3.weight)
    return h + _linear(gated, forward.w2.weight)


def _rows(network: Decoder, x: Tensor, targets: Tensor) -> Tensor:
    """``log p(target)`` ``[B, R]`` of rows ``[B, R, dim]``."""
    logits = _logits(network, x)
    return logits.gather(2, targets[..., None]).squeeze(2) - logits.logsumexp(dim=2)


def _logits(network: Decoder, x: Tensor) -> Tensor:
    return _linear(network.norm(x), network.output.weight).float()


def _linear(x: Tensor, weight: nn.Parameter | Tensor) -> Tensor:
    if takes_onednn(x):
        y: Tensor = _OnednnLinear.apply(x, weight)
        return y
    return F.linear(x, weight)


class _OnednnLinear(torch.autograd.Function):
    """``x @ weight.T`` through oneDNN in both directions; the weight is frozen."""

    @staticmethod
    def forward(ctx, x, weight):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(weight)
        return onednn_linear(x, weight)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (weight,) = ctx.saved_tensors
        return onednn_linear(gradient.contiguous(), weight.T.contiguous()), None
