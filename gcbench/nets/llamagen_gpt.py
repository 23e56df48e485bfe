"""LlamaGen's class-conditional GPT: image tokens in raster order.

Source: FoundationVision/LlamaGen ``autoregressive/models/gpt.py`` (parameter names, sequence
layout); Sun et al. 2024, "Autoregressive Model Beats Diffusion".

The sequence is ``[class, t_0, ..., t_(N-2)]``; the class predicts ``t_0``, and ``t_i`` predicts
``t_(i+1)``. Each token is turned by the rotary angles of its own raster position.
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
    swiglu_width,
)


class LlamaGenGPT(nn.Module):
    """The class-to-image transformer of LlamaGen.

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
        self.block_size, self.vocab_size, self.num_classes = block_size, vocab_size, num_classes
        self.dropout = dropout
        width = swiglu_width(dim, multiple_of, ffn_dim_multiplier)
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
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Published initialisation; the zero output layer makes fresh predictions uniform."""
        init_weights(self)
        nn.init.zeros_(self.output.weight)

    def hidden(self, tokens: Tensor, classes: Tensor) -> Tensor:
        """Normalised features that predict each token, ``[B, N, dim]``."""
        first = self.cls_embedding(classes)[:, None]
        x = torch.cat([first, self.tok_embeddings(tokens[:, :-1])], dim=1)  # [B, N, dim]
        rope = self.rope[None, : x.shape[1]]
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        for block in self.layers:
            x = block(x, rope)
        y: Tensor = self.norm(x)
        return y

    def forward(self, tokens: Tensor, classes: Tensor) -> Tensor:
        """Logits of every token given those before it.

        Args:
            tokens: int64 ``[B, N]`` in raster order.
            classes: int64 ``[B]``.

        Returns:
            float32 ``[B, N, V]``.
        """
        y: Tensor = self.output(self.hidden(tokens, classes))
        return y.float()

    def token_log_likelihood(self, tokens: Tensor, classes: Tensor) -> Tensor:
        """``log p(token | class, tokens before)`` in nats.

        Arguments as in :meth:`forward`.

        Returns:
            float32 ``[B, N]``; the sum over N is the image's log-likelihood.
        """
        logits = self(tokens, classes)  # [B, N, V]
        picked = logits.gather(2, tokens[..., None]).squeeze(2)
        return picked - logits.logsumexp(dim=2)
