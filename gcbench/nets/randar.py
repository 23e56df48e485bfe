"""RandAR: a decoder-only transformer that reads image tokens in any order.

Source: ziqipang/RandAR ``RandAR/model/randar_gpt.py`` (parameter names, sequence layout); Pang et
al. 2024, "RandAR: Decoder-only Autoregressive Visual Generation in Random Orders".

With visit order ``o`` the sequence is ``[class, P(o_0), x(o_0), P(o_1), x(o_1), ...]``. The
position-instruction token ``P(p)`` is one learned vector turned by the rotary angles of raster
position ``p``; the logits at ``P(o_k)`` predict the image token ``x(o_k)``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.decoder import (
    LabelEmbedder,
    RMSNorm,
    TransformerBlock,
    grid_side,
    init_weights,
    rope_table_2d,
    rotate,
    swiglu_width,
)


class RandAR(nn.Module):
    """RandAR transformer; raster order is the same network with ``orders = arange(N)``.

    Args:
        dim: model width; ``dim / n_head`` must be divisible by 4.
        n_layer: number of blocks.
        n_head: query heads.
        n_kv_head: key/value heads, ``n_head`` when None.
        block_size: N, the number of image tokens, a square.
        vocab_size: V, size of the tokenizer's codebook.
        num_classes: real classes; id ``num_classes`` is the unconditional one.
        class_dropout_prob: only decides if the unconditional row exists; dropping labels is the
            training loop's affair.
        multiple_of: the feed-forward width is rounded up to a multiple of it.
        ffn_dim_multiplier: optional factor on the feed-forward width.
        rope_base: base of the rotary frequencies.
        norm_eps: epsilon of the RMS norms.
        dropout: share of the embeddings, and of what the blocks add, that training drops
            (published: 0.1).
    """

    rope: Tensor
    last_mask: Tensor

    def __init__(
        self,
        dim: int,
        n_layer: int,
        n_head: int,
        n_kv_head: int | None = None,
        block_size: int = 256,
        vocab_size: int = 16384,
        num_classes: int = 1000,
        class_dropout_prob: float = 0.1,
        multiple_of: int = 256,
        ffn_dim_multiplier: float | None = None,
        rope_base: float = 10000,
        norm_eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_head, self.block_size, self.num_classes = n_head, block_size, num_classes
        self.dropout = dropout
        width = swiglu_width(dim, multiple_of, ffn_dim_multiplier)
        self.pos_instruct_embeddings = nn.Parameter(torch.empty(1, dim))
        self.cls_embedding = LabelEmbedder(num_classes, dim, class_dropout_prob)
        self.tok_embeddings = nn.Embedding(vocab_size, dim)
        self.layers = nn.ModuleList(
            TransformerBlock(dim, n_head, n_kv_head or n_head, width, norm_eps, dropout)
            for _ in range(n_layer)
        )
        self.norm = RMSNorm(dim, norm_eps)
        self.output = nn.Linear(dim, vocab_size, bias=False)

        table = rope_table_2d(grid_side(block_size), dim // n_head, rope_base)
        self.register_buffer("rope", table, persistent=False)  # [1 + N, hd/2, 2]
        steps, keys = torch.arange(block_size), torch.arange(2 * block_size)
        visible = keys <= 2 * steps[:, None] + 1
        self.register_buffer("last_mask", visible, persistent=False)  # [N, 2N]
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Published initialisation; the zero output layer makes fresh predictions uniform."""
        init_weights(self)
        nn.init.normal_(self.pos_instruct_embeddings, std=0.02)
        nn.init.zeros_(self.output.weight)

    def instructions(self, orders: Tensor) -> Tensor:
        """Position-instruction tokens of visit orders ``[B, N]``: ``[B, N, dim]``."""
        vector = self.pos_instruct_embeddings.view(1, 1, self.n_head, -1)
        batch, steps = orders.shape
        turned = rotate(vector.expand(batch, steps, -1, -1), self.rope[1 + orders])
        return turned.flatten(2)

    def sequence(self, tokens: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
        """All inputs but the class token: ``[B, 2N-1, dim]``, rotary rows ``[B, 2N-1, hd/2, 2]``.

        The last image token is left out: no logit depends on it.
        """
        visited = self.tok_embeddings(tokens.gather(1, orders))  # [B, N, dim]
        pairs = torch.stack([self.instructions(orders).type_as(visited), visited], dim=2)
        at = 1 + orders.repeat_interleave(2, dim=1)[:, :-1]
        return pairs.flatten(1, 2)[:, :-1], self.rope[at]

    def hidden(self, tokens: Tensor, classes: Tensor, orders: Tensor) -> Tensor:
        """Normalised features at the instruction tokens, ``[B, N, dim]`` in visit order.

        The last block computes nothing but the instruction rows: no logit depends on the others.
        """
        steps = tokens.shape[1]
        x, rope = self.sequence(tokens, orders)
        x = torch.cat([self.cls_embedding(classes)[:, None], x], dim=1)  # [B, 2N, dim]
        rope = torch.cat([self.rope[:1].expand(len(rope), 1, -1, -1), rope], dim=1)
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        for block in self.layers[:-1]:
            x = block(x, rope)
        x = self.layers[-1](x, rope, slice(1, None, 2), self.last_mask[:steps, : 2 * steps])
        y: Tensor = self.norm(x)
        return y

    def forward(self, tokens: Tensor, classes: Tensor, orders: Tensor) -> Tensor:
        """Logits of every token given those visited before it.

        Args:
            tokens: int64 ``[B, N]`` in raster order.
            classes: int64 ``[B]``.
            orders: int64 ``[B, N]``, permutations: raster position visited at each step.

        Returns:
            float32 ``[B, N, V]`` in visit order.
        """
        y: Tensor = self.output(self.hidden(tokens, classes, orders))
        return y.float()

    def token_log_likelihood(self, tokens: Tensor, classes: Tensor, orders: Tensor) -> Tensor:
        """``log p(token | class, tokens visited before)`` in nats.

        Arguments as in :meth:`forward`.

        Returns:
            float32 ``[B, N]`` at RASTER positions; the sum over N is the image's log-likelihood.
        """
        logits = self(tokens, classes, orders)  # [B, N, V]
        targets = tokens.gather(1, orders)
        picked = logits.gather(2, targets[..., None]).squeeze(2)
        visited = picked - logits.logsumexp(dim=2)  # [B, N] in visit order
        return torch.empty_like(visited).scatter_(1, orders, visited)
