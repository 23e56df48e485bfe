"""What the training of every tokenizer shares: views, the codebook's start and restarts, metrics.

For some steps the network is an autoencoder without quantisation; then what it would quantise
becomes the codebook, and codes that nothing chooses are moved onto such vectors from time to time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from gcbench.nets.llamagen_vq import VQModel
from gcbench.nets.maskgit_vq import MaskGITVQ
from gcbench.nets.var_vqvae import VQVAE
from gcbench.training.data import Split, as_rgb, centre_view, random_view
from gcbench.training.recipe import Recipe
from gcbench.training.tasks import Batch

V = TypeVar("V", bound=VQModel | MaskGITVQ | VQVAE)


@dataclass(frozen=True)
class Options:
    """How a tokenizer learns.

    Attributes:
        image_size: side in pixels.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        commitment: weight of the encoder's pull towards its codes (LlamaGen and VAR: 0.25).
        free_steps: steps without quantisation, after which features become the codebook.
        restart_every: steps between restarts of codes that no feature chose since the last one.
        restart_until: share of all steps after which codes are left alone.
    """

    image_size: int = 32
    max_short_side: int = 40
    commitment: float = 0.25
    free_steps: int = 150
    restart_every: int = 50
    restart_until: float = 0.7


class _WithUsage(nn.Module, Generic[V]):
    """The network and the state of its training that a checkpoint must hold."""

    usage: Tensor
    quantising: Tensor

    def __init__(self, vq: V) -> None:
        super().__init__()
        self.vq = vq
        codes = vq.quantize.embedding.num_embeddings
        self.register_buffer("usage", torch.zeros(codes, dtype=torch.int64))  # [V]
        self.register_buffer("quantising", torch.zeros((), dtype=torch.bool))


class CodebookTask(ABC, Generic[V]):
    """A tokenizer in training, but for its losses and for what it quantises.

    `sittings`: into how many parts the codebook's start is divided, where what is quantised depends
    on the codes that are there already.
    """

    sittings = 1

    def __init__(
        self, recipe: Recipe, options: Options, vq: V, train: Split, held_out: Split
    ) -> None:
        self.options = options
        self.restart_until = int(options.restart_until * recipe.steps)
        self.vq = vq
        self.wrapped = _WithUsage(vq)
        self.module: nn.Module = self.wrapped
        self.train = train
        views = [centre_view(image, options.image_size) for image in held_out.images]
        self.held_out = torch.stack([torch.from_numpy(view.copy()) for view in views])

    @abstractmethod
    def losses(self, grey: Tensor) -> dict[str, Tensor]:
        """Of views ``[B, H, W]``; before ``wrapped.quantising`` without quantisation."""

    @abstractmethod
    def quantised_vectors(self, images: Tensor) -> Tensor:
        """What the quantiser takes codes for, ``[n, e]``, from RGB in [-1, 1] ``[B, 3, H, W]``."""

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        size, longest = self.options.image_size, self.options.max_short_side
        views = [random_view(self.train.images[i], size, longest, generator) for i in rows.tolist()]
        return (torch.stack([torch.from_numpy(view.copy()) for view in views]),)  # [B, H, W]

    def count(self, tokens: Tensor) -> None:
        """Note which codes are in use."""
        self.wrapped.usage += torch.bincount(tokens.flatten(), minlength=len(self.wrapped.usage))

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        done = step + 1
        first = done == self.options.free_steps
        due = done % self.options.restart_every == 0 and done <= self.restart_until
        if first or (self.wrapped.quantising and due):
            codes = torch.arange(len(self.wrapped.usage))
            unused = codes[self.wrapped.usage.cpu() == 0]
            for part in codes.tensor_split(self.sittings) if first else (unused,):
                self._restart(part, batch[0], generator)
            self.wrapped.usage.zero_()
        self.wrapped.quantising.fill_(done >= self.options.free_steps)

    @torch.no_grad()
    def _restart(self, codes: Tensor, grey: Tensor, generator: torch.Generator) -> None:
        """Move these codes onto vectors of the batch, drawn without replacement."""
        weight = self.vq.quantize.embedding.weight
        pool = self.quantised_vectors(as_rgb(grey.to(weight.device)))  # [n, e]
        drawn = torch.randperm(len(pool), generator=generator)[: len(codes)]
        weight[codes[: len(drawn)].to(weight.device)] = pool[drawn.to(weight.device)]

    def evaluate(self, last: bool) -> dict[str, float]:
        """As the tokenizer is used: in float32, whatever the training's precision."""
        with torch.autocast(self.wrapped.usage.device.type, enabled=False):
            return self.metrics()

    def metrics(self) -> dict[str, float]:
        """Reconstruction error and usage of the codes on the held-out images."""
        error, counts = 0.0, torch.zeros(len(self.wrapped.usage))
        for grey in self.held_out.split(250):
            images = as_rgb(grey.to(self.wrapped.usage.device))
            tokens = self.vq.encode(self.vq.pixels(images))
            rebuilt = self.vq.images(self.vq.decode_tokens(tokens).float()).clamp(-1, 1)
            error += float((rebuilt - images).square().mean(dim=(1, 2, 3)).sum())
            counts += torch.bincount(tokens.flatten().cpu(), minlength=len(counts))
        share = counts / counts.sum()
        perplexity = torch.exp(-torch.special.xlogy(share, share).sum())
        mean_error = torch.tensor(error / len(self.held_out))
        return {
            "psnr_db": float(10 * torch.log10(4 / mean_error)),
            "codes_used": float((counts > 0).sum()),
            "code_perplexity": float(perplexity),
        }

    def network(self) -> nn.Module:
        return self.vq

    def notes(self) -> dict[str, Any]:
        return {}
