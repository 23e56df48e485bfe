"""The likelihoods of RandAR and LlamaGen's GPT, cheaper: the same numbers up to rounding.

Three facts about the published decoder are used. A class acts on the image tokens through one value
vector per layer (:mod:`gcbench.nets.sequences`): a table holds these vectors, and the sequence
begins at the first image token. The first layer therefore differs between the classes of one
(image, order) pair in that vector only, and its attention is computed once for all of them. And no
prediction needs the rows of the last layer that predict nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gcbench.nets import decoder_parts as parts
from gcbench.nets.decoder import Attention, TransformerBlock
from gcbench.nets.kernels import can_compile, takes_onednn, two_at_least
from gcbench.nets.sequences import Decoder, Sequences, blocks, class_tokens

# Logits are made so many at a time, for memory and for the caches.
LOGITS_AT_ONCE = 1 << 22
# On a CPU, evaluations go through the layers so many numbers of the residual stream at a time.
STREAM_AT_ONCE = 1 << 18


Past = tuple[Tensor, Tensor]  # keys and values [E, H, L, hd]


@dataclass(frozen=True)
class FastOptions:
    """What is done; each can be left out to see what it is worth (``gcbench speed``).

    Attributes:
        dtype: of the matrix products; residual stream, softmax and log-sum-exp stay float32.
        compile: let torch.compile fuse what lies between the products; ignored where it cannot.
        share_first_layer: attention of the first layer once per pair instead of per class.
        cut_last_layer: in the last layer only the rows that predict a token.
    """

    dtype: torch.dtype = torch.float32
    compile: bool = False
    share_first_layer: bool = True
    cut_last_layer: bool = True


@dataclass(frozen=True)
class _Layer:
    """Weights of a block: norms folded in, ``w1 | w3`` as one, rotary pairs as halves."""

    wqkv: Tensor
    wo: Tensor
    w13: Tensor
    w2: Tensor
    class_value: Tensor  # [M, H, 1, hd] float32: what the class token gives to the others
    class_output: Tensor  # [M, H, dim]: the same behind wo, head by head


class FastDecoder:
    """Scores classes of image tokens.

    Args:
        network: RandAR or LlamaGen's GPT, in eval mode and on its device; not to change later.
        options: what to do.
    """

    def __init__(self, network: Decoder, options: FastOptions) -> None:
        self.options = options
        attention = network.layers[0].attention
        assert isinstance(attention, Attention)
        weight, rows = network.output.weight, len(network.cls_embedding.embedding_table.weight)
        self.compiled = options.compile and can_compile(weight.device.type)
        self.head = (weight * network.norm.weight).to(options.dtype).contiguous()
        on_cpu, fp32 = weight.device.type == "cpu", options.dtype == torch.float32
        self.layout = parts.Layout(
            n_head=attention.n_head,
            n_kv_head=attention.n_kv_head,
            head_dim=attention.head_dim,
            eps=network.norm.eps,
            dtype=options.dtype,
            blocked=self.compiled and on_cpu and not fp32,
            onednn=takes_onednn(self.head),
        )
        table = class_tokens(network, torch.arange(rows, device=weight.device))
        self.layers = [
            self._prepare(block, value)
            for block, value in zip(blocks(network), table.values.unbind(1), strict=True)
        ]
        self.class_hidden = table.hidden  # [M, dim], before the final norm

    def _prepare(self, block: TransformerBlock, value: Tensor) -> _Layer:
        """A block's weights, with what the class tokens give in it, ``[M, kv width]``."""
        layout = self.layout
        heads, kv_width = layout.n_head, layout.n_kv_head * layout.head_dim
        wo, forward = block.attention.wo.weight, block.feed_forward
        q, k, v = block.attention.wqkv.weight.split([wo.shape[1], kv_width, kv_width])
        value = value.unflatten(1, (layout.n_kv_head, -1))
        value = value.repeat_interleave(heads // layout.n_kv_head, dim=1)  # [M, H, hd]
        output = torch.einsum("mhd,ohd->mho", value, wo.unflatten(1, (heads, -1)))
        fused = torch.cat([_halves(q, layout.head_dim), _halves(k, layout.head_dim), v])
        w13 = torch.cat([forward.w1.weight, forward.w3.weight])

        def cast(w: Tensor) -> Tensor:
            return w.to(layout.dtype).contiguous()

        return _Layer(
            wqkv=cast(fused * block.attention_norm.weight),
            wo=cast(wo),
            w13=cast(w13 * block.ffn_norm.weight),
            w2=cast(forward.w2.weight),
            class_value=value[:, :, None].contiguous(),
            class_output=cast(output),
        )

    def log_likelihood(self, of: Sequences, pair: Tensor, classes: Tensor) -> Tensor:
        """``log p(token | class, tokens before)`` of E evaluations.

        Args:
            of: the pairs.
            pair: int64 ``[E]``, row of ``of``.
            classes: int64 ``[E]``.

        Returns:
            float32 ``[E, N]`` in visit order; the sum over N is the image's log-likelihood.
        """
        rope = of.rope.expand(len(of.x), -1, -1, -1)[:, :, None]  # [P, L, 1, hd/2, 2]
        x, first = of.x.float(), None
        if self.options.share_first_layer:
            angles = (two_at_least(t.contiguous()) for t in rope.unbind(-1))
            weights = self.layers[0].wqkv, self.layers[0].wo
            first = self._run(parts.shared_attention, (two_at_least(x), *angles), *weights)
        size = len(pair) if x.is_cuda else max(4, STREAM_AT_ONCE // x[0].numel())
        chunks = -(-len(pair) // size)
        found = [
            self._chunk(of, x, rope, first, rows, own)
            for rows, own in zip(
                pair.tensor_split(chunks), classes.tensor_split(chunks), strict=True
            )
        ]
        return torch.cat(found)

    def _chunk(
        self,
        of: Sequences,
        x: Tensor,
        rope: Tensor,
        first: tuple[Tensor, Tensor] | None,
        pair: Tensor,
        classes: Tensor,
    ) -> Tensor:
        count = len(pair)
        pair, classes = two_at_least(pair), two_at_least(classes)
        angles = tuple(t.contiguous() for t in rope[pair].unbind(-1))  # [E, L, 1, hd/2] each
        for index, layer in enumerate(self.layers):
            if index == 0 and first is not None:
                own = (first[0][pair], first[1][pair], layer.class_output[classes])
                x = self._run(parts.rest_of_first, own, layer.w13, layer.w2)
                continue
            x = x if index else x[pair]
            last = index == len(self.layers) - 1 and self.options.cut_last_layer
            stride = of.stride if last else 1
            value, weights = layer.class_value[classes], (layer.wqkv, layer.wo, layer.w13, layer.w2)
            x = self._run(parts.block, (x, *angles, value), *weights, stride)
        if x.shape[1] > of.targets.shape[1]:
            x = x[:, :: of.stride]
        rows = self._rows(x.flatten(0, 1), of.targets[pair].flatten()).view(len(pair), -1)
        if of.first_target is not None:
            alone = self._rows(self.class_hidden[classes], of.first_target[pair])
            rows = torch.cat([alone[:, None], rows], dim=1)
        return rows[:count]

    def advance(
        self, of: Sequences, classes: Tensor, rows: range, past: list[Past] | None
    ) -> tuple[Tensor, list[Past]]:
        """Part of the sequences of one pair under E classes, uncompiled, from where others ended.

        Args:
            of: a single pair.
            classes: int64 ``[E]``.
            rows: of the sequence, after those of ``past``, from one that predicts a token.
            past: keys and values of the rows before, by layer; None: there are none.

        Returns:
            ``log p(token | class, tokens before)`` ``[E, R]`` of what these rows predict, of the
            first token too where they begin the sequence; and the keys and values
            ``[E, H, L, hd]`` of all rows so far, by layer.
        """
        span = slice(rows.start, rows.stop)
        x = of.x[:, span].float().expand(len(classes), -1, -1)
        cos, sin = (t.contiguous() for t in of.rope[:, span, None].unbind(-1))
        reached = []
        for index, layer in enumerate(self.layers):
            before = None if past is None else past[index]
            weights = (layer.wqkv, layer.wo, layer.w13, layer.w2)
            value = layer.class_value[classes]
            x, keys = parts.block_behind(self.layout, x, cos, sin, value, before, *weights)
            reached.append(keys)
        x = x[:, :: of.stride]
        first = rows.start // of.stride
        targets = of.targets[:, first : first + x.shape[1]].expand(len(classes), -1)
        found = self._rows(x.flatten(0, 1), targets.flatten()).view(len(classes), -1)
        if of.first_target is not None and past is None:
            alone = self._rows(self.class_hidden[classes], of.first_target.expand(len(classes)))
            found = torch.cat([alone[:, None], found], dim=1)
        return found, reached

    def _rows(self, x: Tensor, targets: Tensor) -> Tensor:
        """``log p(target)`` of rows ``[R, dim]``, a bounded number of logits at a time."""
        size = max(2, LOGITS_AT_ONCE // len(self.head))
        chunks = zip(x.split(size), targets.split(size), strict=True)
        found = []
        for part, wanted in chunks:
            inputs = (two_at_least(part), two_at_least(wanted))
            found.append(self._run(parts.rows_log_likelihood, inputs, self.head)[: len(part)])
        return torch.cat(found)

    def _run(self, part: Callable[..., Any], batch: tuple[Tensor, ...], *rest: Any) -> Any:
        """A part of the network; compiled, it serves any number of rows in ``batch``."""
        if not self.compiled:
            return part(self.layout, *batch, *rest)
        for tensor in batch:
            torch._dynamo.mark_dynamic(tensor, 0)
        return _compile(part)(self.layout, *batch, *rest)


@cache
def _compile(part: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(part)
    return compiled


def _halves(weight: Tensor, head_dim: int) -> Tensor:
    """Rows of a projection so reordered that a rotary pair's parts lie half a head apart."""
    pairs = weight.unflatten(0, (-1, head_dim // 2, 2))  # [H, hd/2, 2, dim]
    return pairs.transpose(1, 2).flatten(0, 2)
