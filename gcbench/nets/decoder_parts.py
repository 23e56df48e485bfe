"""The pieces of the fast decoder that torch.compile fuses: functions of tensors and a layout.

All take and return the float32 residual stream; matrix products run in :attr:`Layout.dtype`. The
class token is not among the rows: attention returns what the image's rows give, and the weight
that the class token's key, which is zero, takes in the softmax.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gcbench.nets.kernels import onednn_linear

QUERY_BLOCK = 64


@dataclass(frozen=True)
class Layout:
    """Sizes and switches that are constants of the compiled code.

    Attributes:
        n_head: query heads.
        n_kv_head: key/value heads.
        head_dim: width of a head.
        eps: of the RMS norms.
        dtype: of the matrix products.
        blocked: attention from two products per block of queries, else PyTorch's fused one.
        onednn: products through oneDNN, see :func:`gcbench.nets.kernels.prefer_onednn`.
    """

    n_head: int
    n_kv_head: int
    head_dim: int
    eps: float
    dtype: torch.dtype
    blocked: bool
    onednn: bool


def block(
    layout: Layout,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    class_value: Tensor,
    wqkv: Tensor,
    wo: Tensor,
    w13: Tensor,
    w2: Tensor,
    stride: int,
) -> Tensor:
    """A whole block: ``[E, L, dim]`` to the rows ``0, stride, ...`` of ``[E, R, dim]``.

    Args:
        layout: constants.
        x: the residual stream.
        cos, sin: ``[E, L, 1, hd / 2]``.
        class_value: ``[E, H, 1, hd]``.
        wqkv, wo, w13, w2: weights as the fast decoder prepares them.
        stride: which rows are wanted.
    """
    q, k, v = _qkv(layout, x, cos, sin, wqkv)
    y, _ = _attention(layout, q, k, v, class_value, stride)  # [E, H, R, hd]
    kept = x[:, ::stride] + _linear(layout, y.transpose(1, 2).flatten(2), wo)
    return feed_forward(layout, kept, w13, w2)


def block_behind(
    layout: Layout,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    class_value: Tensor,
    past: tuple[Tensor, Tensor] | None,
    wqkv: Tensor,
    wo: Tensor,
    w13: Tensor,
    w2: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """A whole block on rows ``[E, R, dim]`` that come after others.

    Args:
        layout, x, cos, sin, class_value, wqkv, wo, w13, w2: as for :func:`block`.
        past: keys and values of the rows before ``[E, H, L, hd]``; None: these are the first.

    Returns:
        ``[E, R, dim]``, and the keys and values ``[E, H, L + R, hd]`` of all rows.
    """
    q, k, v = _qkv(layout, x, cos, sin, wqkv)
    if past is not None:
        k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
    rows, length = q.shape[2], k.shape[2]
    visible = torch.ones(rows, length, dtype=torch.bool, device=x.device).tril(length - rows)
    y, share = weighted_values(q, k, v, visible)
    y = (y + share * class_value).to(v.dtype)
    kept = x + _linear(layout, y.transpose(1, 2).flatten(2), wo)
    return feed_forward(layout, kept, w13, w2), (k, v)


def shared_attention(
    layout: Layout, x: Tensor, cos: Tensor, sin: Tensor, wqkv: Tensor, wo: Tensor
) -> tuple[Tensor, Tensor]:
    """First-layer attention without the class: ``[P, L, dim]``, and its weights ``[P, L, H]``."""
    q, k, v = _qkv(layout, x, cos, sin, wqkv)
    others, weight = _attention(layout, q, k, v, None, 1)
    return x + _linear(layout, others.transpose(1, 2).flatten(2), wo), weight[..., 0].transpose(
        1, 2
    )


def rest_of_first(
    layout: Layout, base: Tensor, weight: Tensor, class_output: Tensor, w13: Tensor, w2: Tensor
) -> Tensor:
    """The rest of the first block, with the class's part ``[E, H, dim]`` added."""
    added = torch.bmm(weight.to(layout.dtype), class_output)
    return feed_forward(layout, base + added, w13, w2)


def feed_forward(layout: Layout, x: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
    """``x + w2(silu(w1 norm(x)) * w3 norm(x))``."""
    gate, up = _linear(layout, _rms(layout, x), w13).chunk(2, dim=2)
    return x + _linear(layout, F.silu(gate) * up, w2)


def rows_log_likelihood(layout: Layout, x: Tensor, targets: Tensor, head: Tensor) -> Tensor:
    """``log p(target)`` in nats of rows ``[R, dim]`` before the final norm, ``[R]``."""
    logits = _linear(layout, _rms(layout, x), head).float()
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(1)


def _linear(layout: Layout, x: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = onednn_linear(x, weight) if layout.onednn else F.linear(x, weight)
    return y


def _rms(layout: Layout, x: Tensor) -> Tensor:
    normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + layout.eps)
    return normed.to(layout.dtype)


def _qkv(layout: Layout, x: Tensor, cos: Tensor, sin: Tensor, wqkv: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values ``[E, H, L, hd]``; a rotary pair's two halves lie apart."""
    heads, kv_heads = layout.n_head, layout.n_kv_head
    fused = _linear(layout, _rms(layout, x), wqkv).unflatten(2, (-1, layout.head_dim))
    turning, v = fused.split([heads + kv_heads, kv_heads], dim=2)
    left, right = turning.float().chunk(2, dim=3)
    turned = torch.cat([left * cos - right * sin, right * cos + left * sin], dim=3)
    q, k = turned.to(layout.dtype).split([heads, kv_heads], dim=2)
    if kv_heads != heads:
        k = k.repeat_interleave(heads // kv_heads, dim=2)
        v = v.repeat_interleave(heads // kv_heads, dim=2)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def _attention(
    layout: Layout, q: Tensor, k: Tensor, v: Tensor, class_value: Tensor | None, stride: int
) -> tuple[Tensor, Tensor]:
    """Causal attention of the query rows ``0, stride, ...``, with a further key visible to all.

    That key is zero; its value is ``class_value`` ``[E, H, 1, hd]``, or left to the caller.

    Returns:
        ``[E, H, R, hd]`` in ``v``'s dtype, and the key's share ``[E, H, R, 1]`` float32.
    """
    fused = not layout.blocked and q.device.type in ("cpu", "cuda")
    return (fused_attention if fused else blocked_attention)(q, k, v, class_value, stride)


def blocked_attention(
    q: Tensor, k: Tensor, v: Tensor, class_value: Tensor | None, stride: int
) -> tuple[Tensor, Tensor]:
    """Two matrix products per block of queries, on the keys that the block can see.

    On a CPU in bfloat16, compiled, half the time of PyTorch's fused kernel.
    """
    length = q.shape[2]
    parts, shares = [], []
    for start in range(0, length, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, length)
        rows = torch.arange(start, stop, stride, device=q.device)  # [R]
        visible = torch.arange(stop, device=q.device) <= rows[:, None]
        y, share = weighted_values(
            q[:, :, start:stop:stride], k[:, :, :stop], v[:, :, :stop], visible
        )
        parts.append((y if class_value is None else y + share * class_value).to(v.dtype))
        shares.append(share)
    return torch.cat(parts, dim=2), torch.cat(shares, dim=2)


def weighted_values(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """What the visible keys give to each query, and the share of a further key of score 0.

    Args:
        q: ``[E, H, R, hd]``.
        k, v: ``[E, H, L, hd]``.
        visible: bool ``[R, L]``.

    Returns:
        ``[E, H, R, hd]`` and ``[E, H, R, 1]``, float32.
    """
    scores = (q @ k.transpose(2, 3)).float() * (1 / math.sqrt(q.shape[3]))
    scores = scores.masked_fill(~visible, float("-inf"))
    peak = scores.amax(3, keepdim=True).clamp_min(0)  # the further key's score
    weights, own = (scores - peak).exp(), (-peak).exp()
    total = 1 / (weights.sum(3, keepdim=True) + own)
    return (weights.to(v.dtype) @ v) * total, own * total


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, class_value: Tensor | None, stride: int
) -> tuple[Tensor, Tensor]:
    """PyTorch's fused kernels; their log-sum-exp tells what share a key of score 0 would take."""
    if q.is_cuda:
        found = torch.ops.aten._scaled_dot_product_efficient_attention(
            q, k, v, None, True, 0.0, True
        )
    else:
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
    log_sum = found[1][:, :, : q.shape[2] : stride, None].float()
    y, share = found[0][:, :, ::stride] * log_sum.sigmoid(), (-log_sum).sigmoid()
    return (y if class_value is None else y + share * class_value).to(v.dtype), share
