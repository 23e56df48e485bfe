"""RandAR and LlamaGen's GPT without their class token: the other rows, and what it gives to them.

The class token of both has a zero rotary row, so its query and key vanish: its path depends on the
class alone, and all that it gives to the other tokens is one value vector per layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gcbench.nets.decoder import TransformerBlock
from gcbench.nets.llamagen_gpt import LlamaGenGPT
from gcbench.nets.randar import RandAR

Decoder = RandAR | LlamaGenGPT


@dataclass(frozen=True)
class Sequences:
    """P sequences of image tokens, L rows each.

    Attributes:
        x: ``[P, L, dim]`` embedded rows.
        rope: ``[P or 1, L, hd / 2, 2]``.
        stride: the rows ``0, stride, 2 stride, ...`` predict tokens.
        targets: int64 ``[P, R]``, the tokens that these rows predict.
        first_target: int64 ``[P]``, what the class token predicts; None if nothing.
    """

    x: Tensor
    rope: Tensor
    stride: int
    targets: Tensor
    first_target: Tensor | None = None


def sequences(network: Decoder, tokens: Tensor, orders: Tensor | None = None) -> Sequences:
    """Sequences of raster-order tokens ``[P, N]``; RandAR visits them in ``orders`` ``[P, N]``."""
    if isinstance(network, RandAR):
        assert orders is not None
        x, rope = network.sequence(tokens, orders)
        return Sequences(x, rope, 2, tokens.gather(1, orders))
    x = network.tok_embeddings(tokens[:, :-1])
    return Sequences(x, network.rope[None, 1:-1], 1, tokens[:, 1:], tokens[:, 0])


@dataclass(frozen=True)
class ClassTokens:
    """What the class tokens of C classes come to.

    Attributes:
        values: ``[C, layers, kv width]``, given to the other tokens.
        hidden: ``[C, dim]``, behind the last block, before the final norm.
    """

    values: Tensor
    hidden: Tensor


def class_tokens(network: Decoder, classes: Tensor) -> ClassTokens:
    """The class tokens of these classes, int64 ``[C]``."""
    x = network.cls_embedding(classes)  # [C, dim]
    values = []
    for block in blocks(network):
        attention = block.attention
        width = attention.n_kv_head * attention.head_dim
        value = F.linear(block.attention_norm(x), attention.wqkv.weight[-width:])
        values.append(value)
        heads = value.unflatten(1, (attention.n_kv_head, -1))
        heads = heads.repeat_interleave(attention.n_head // attention.n_kv_head, dim=1)
        h = x + F.linear(heads.flatten(1), attention.wo.weight)
        x = h + block.feed_forward(block.ffn_norm(h))
    return ClassTokens(torch.stack(values, dim=1), x)


def blocks(network: Decoder) -> list[TransformerBlock]:
    """The blocks of a network, typed."""
    return [block for block in network.layers if isinstance(block, TransformerBlock)]
