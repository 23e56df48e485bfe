"""Task ``var``: maximum likelihood of a VAR transformer over the multi-scale codes of images.

The tokenizer is run once, over several augmented views of every image; training then reads codes
only, and makes the transformer's input from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.errors import GcbenchError
from gcbench.nets.var import VAR
from gcbench.nets.var_vqvae import VQVAE
from gcbench.training.crops import Crops
from gcbench.training.data import Split
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch, Workplace, frozen
from gcbench.training.views import Views

_EVALUATED_AT_ONCE = 50  # images; times the classes, sequences


@dataclass(frozen=True)
class Options:
    """How the transformer learns.

    Attributes:
        tokenizer: recipe of the tokenizer, a name or a path; its weights are looked for in the
            output folder, then among the shipped ones.
        image_size: side in pixels.
        views: views per image; the first is the centre crop, the others are random crops.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        class_dropout: share of samples whose class is replaced by the unconditional one.
        evaluated_images: held-out images that an evaluation classifies, the first ones.
    """

    tokenizer: str = "mini-var-vqvae"
    image_size: int = 32
    views: int = 4
    max_short_side: int = 40
    class_dropout: float = 0.0
    evaluated_images: int = 500


class VARTask:
    """Cross-entropy of every code of every scale given the coarser scales."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split, place: Workplace) -> None:
        self.options = options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        self.model = recipe.network(VAR)
        self.module: nn.Module = self.model
        vqvae, self.tokenizer = frozen(options.tokenizer, place.out, lambda r: r.network(VQVAE))
        _check(recipe.name, self.model, vqvae)
        views = Views(
            kind="codes",
            encode=lambda images: vqvae.encode(images).short(),
            encoder=self.tokenizer,
            crops=Crops(options.image_size, options.max_short_side),
            seed=recipe.seed,
            place=place,
        )
        self.tokens = views.of(train, options.views)  # [L] of each view and image
        self.labels = torch.from_numpy(np.asarray(train.labels))  # [n]
        kept = options.evaluated_images
        self.held_out = views.of(held_out, 1, first=kept).view(0).long()  # [m, L]
        self.quantizer = vqvae.quantize.cpu()  # batches are drawn there
        self.held_out_labels = torch.from_numpy(np.asarray(held_out.labels[:kept]))  # [m]

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        view = torch.randint(len(self.tokens), rows.shape, generator=generator)
        tokens = self.tokens[view, rows].long()  # [B, L]
        dropped = torch.rand(len(rows), generator=generator) < self.options.class_dropout
        classes = torch.where(dropped, self.model.num_classes, self.labels[rows])
        return tokens, self.quantizer.var_input(tokens), classes

    def losses(self, tokens: Tensor, var_input: Tensor, classes: Tensor) -> dict[str, Tensor]:
        logits = self.model(var_input, classes)  # [B, L, V]
        return {"loss": F.cross_entropy(logits.flatten(0, 1), tokens.flatten())}

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        pass

    def evaluate(self, last: bool) -> dict[str, float]:
        """Accuracy by the likelihood of all scales, all classes being candidates."""
        device = self.model.head.weight.device
        count = self.model.num_classes
        parts = []
        for tokens in self.held_out.split(_EVALUATED_AT_ONCE):
            var_input = self.quantizer.var_input(tokens)
            classes = torch.arange(count).repeat(len(tokens))
            grid = (tokens.repeat_interleave(count, 0), var_input.repeat_interleave(count, 0))
            found = self.model.token_log_likelihood(*(t.to(device) for t in (*grid, classes)))
            parts.append(found.sum(1).view(-1, count).cpu())
        table = torch.cat(parts)  # [m, C]
        own = table.gather(1, self.held_out_labels[:, None]).mean()
        accuracy = (table.argmax(1) == self.held_out_labels).float().mean()
        return {"accuracy": float(accuracy), "log_likelihood": float(own)}

    def network(self) -> nn.Module:
        return self.model

    def notes(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer}


def _check(name: str, model: VAR, vqvae: VQVAE) -> None:
    """Refuses a transformer that cannot read its tokenizer's codes."""
    codebook = vqvae.quantize.embedding
    asked = (model.vocab_size, model.code_dim, model.patch_nums)
    found = (codebook.num_embeddings, codebook.embedding_dim, vqvae.patch_nums)
    if asked != found:
        raise GcbenchError(
            f"recipe {name}: the tokenizer has {found[0]} codes of width {found[1]} on scales of "
            f"sides {list(found[2])}, the transformer expects {asked[0]} of width {asked[1]} on "
            f"{list(asked[2])}",
            hint="give both recipes the same codebook and scales",
        )
