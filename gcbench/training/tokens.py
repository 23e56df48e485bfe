"""Tasks ``randar`` and ``llamagen``: maximum likelihood over the tokens of training images.

The tokenizer is run once, over several augmented views of every image; training then reads tokens
only, or the latents before quantisation where it adds noise to them. RandAR draws an order afresh
for every sample of every step, or takes the raster order; LlamaGen's GPT has no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.errors import GcbenchError, unknown_name
from gcbench.nets.llamagen_gpt import LlamaGenGPT
from gcbench.nets.randar import RandAR
from gcbench.nets.vqgan import noised
from gcbench.streams import stream
from gcbench.training.accuracy import accuracies
from gcbench.training.crops import Crops
from gcbench.training.data import Split, paired
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch, Workplace, frozen
from gcbench.training.tokenizer import released_tokenizer, tokenizer_of
from gcbench.training.views import Views, joined

# Bound memory: values of the logits of an evaluation, and of distances to all codes (4 bytes each).
_MOST_LOGITS, _MOST_SEQUENCES = 2**27, 1024
_MOST_DISTANCES = 2**28


@dataclass(frozen=True)
class Options:
    """How the transformer learns.

    Attributes:
        order: of RandAR, ``random`` or ``raster``.
        tokenizer: a published one by its name in the catalogue, or the recipe of one, a name or a
            path; its weights are looked for in the output folder, then among the shipped ones.
        image_size: side in pixels.
        pairs: learn two garments side by side, 100 classes, instead of single ones; every view
            then pairs the images anew, uncropped.
        views: views per image; the first is the centre crop, the others are random crops.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        flips: whether half of the random crops are mirrored.
        latent_noise: if positive, every sample's latent z becomes (1 - t) z + t eps before it is
            quantised, t uniform from 0 to this and eps standard normal (paper section 6.4).
        class_dropout: share of samples whose class is replaced by the unconditional one.
        evaluated_images: held-out images that an evaluation classifies, the first ones.
        evaluated_orders: orders per image in the last evaluation; the others take one.
    """

    order: str = "random"
    tokenizer: str = "mini-vq"
    image_size: int = 32
    pairs: bool = False
    views: int = 4
    max_short_side: int = 40
    flips: bool = False
    latent_noise: float = 0.0
    class_dropout: float = 0.0
    evaluated_images: int = 500
    evaluated_orders: int = 5


class RandARTask:
    """Cross-entropy of every token given those visited before it."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split, place: Workplace) -> None:
        self.recipe = recipe
        self.options = options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        if options.order not in ("random", "raster"):
            raise unknown_name(
                f"order in recipe {recipe.name}", options.order, ("random", "raster")
            )
        if not 0 <= options.latent_noise <= 1 or (options.latent_noise and options.pairs):
            raise GcbenchError(
                f"recipe {recipe.name}: latent_noise is {options.latent_noise}, pairs is "
                f"{str(options.pairs).lower()}",
                hint="expected noise from 0 to 1, and none on pairs",
            )
        self.model = self.build()
        self.module: nn.Module = self.model
        vq, self.tokenizer = frozen(options.tokenizer, place.out, tokenizer_of, released_tokenizer)
        self.vq = vq
        views = Views(
            kind="tokens",
            encode=lambda images: vq.encode(vq.pixels(images)).short(),
            encoder=self.tokenizer,
            crops=Crops(options.image_size, options.max_short_side, options.flips),
            seed=recipe.seed,
            place=place,
        )
        if options.pairs:
            size, seed = options.image_size, recipe.seed
            sets = [paired(train, size, stream("pairs", seed, v)) for v in range(options.views)]
            tokens = joined([views.of(pairs, 1) for pairs in sets])
            labels = np.stack([pairs.labels for pairs in sets])
            held_out = paired(held_out, size, stream("pairs", seed, "held out"))
        elif options.latent_noise:
            noisy = replace(
                views,
                kind="latents",
                encode=lambda images: vq.encode_latent(vq.pixels(images)).half(),
            )
            tokens = noisy.of(train, options.views)
            labels = np.stack([train.labels] * len(tokens))
        else:
            tokens = views.of(train, options.views)
            labels = np.stack([train.labels] * len(tokens))
        self.tokens = tokens  # [N] of each view and image, or with noise the latent [e, h, w]
        self.labels = torch.from_numpy(labels)  # [views, n]
        kept = options.evaluated_images
        self.held_out = views.of(held_out, 1, first=kept).view(0).long()  # [m, N]
        self.held_out_labels = torch.from_numpy(held_out.labels)
        self.held_out_split = held_out

    def build(self) -> RandAR | LlamaGenGPT:
        """The network, untrained."""
        return self.recipe.network(RandAR)

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        view = torch.randint(len(self.tokens), rows.shape, generator=generator)
        seen = self._seen(self.tokens[view, rows], generator)
        dropped = torch.rand(len(rows), generator=generator) < self.options.class_dropout
        classes = torch.where(dropped, self.model.num_classes, self.labels[view, rows])
        return seen, classes, self._orders(len(rows), generator)

    def _seen(self, encoded: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens ``[B, N]``, or latents ``[B, e, h, w]`` with noise."""
        if not self.options.latent_noise:
            return encoded.long()
        strength = self.options.latent_noise * torch.rand(len(encoded), generator=generator)
        noise = torch.randn(encoded.shape, generator=generator)
        return noised(encoded.float(), strength, noise)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def quantised(self, seen: Tensor) -> Tensor:
        """Tokens ``[B, N]`` of what a batch holds, in full precision on its device."""
        if seen.ndim == 2:
            return seen
        codes = self.vq.quantize.embedding.num_embeddings
        at_once = max(1, _MOST_DISTANCES // (codes * self.model.block_size))
        quantize = self.vq.to(seen.device).quantize
        with torch.no_grad(), torch.autocast(seen.device.type, enabled=False):
            return torch.cat([quantize(part) for part in seen.split(at_once)])

    def _orders(self, count: int, generator: torch.Generator) -> Tensor:
        steps = self.model.block_size
        if self.options.order == "raster":
            return torch.arange(steps).expand(count, steps)
        return torch.rand(count, steps, generator=generator).argsort(dim=1)

    def losses(self, seen: Tensor, classes: Tensor, orders: Tensor) -> dict[str, Tensor]:
        tokens = seen if seen.ndim == 2 else self.quantised(seen)
        logits = self.model(tokens, classes, orders)  # [B, N, V]
        targets = tokens.gather(1, orders)
        return {"loss": F.cross_entropy(logits.flatten(0, 1), targets.flatten())}

    def token_log_likelihood(self, tokens: Tensor, classes: Tensor, orders: Tensor) -> Tensor:
        """As the network gives it, ``[B, N]``."""
        assert isinstance(self.model, RandAR)
        return self.model.token_log_likelihood(tokens, classes, orders)

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        pass

    def evaluate(self, last: bool) -> dict[str, float]:
        """Accuracy by the mean log-likelihood over orders, all classes being candidates."""
        trials = self.options.evaluated_orders if last and self.options.order == "random" else 1
        device = self.model.output.weight.device
        classes = torch.arange(self.model.num_classes)
        logits = self.model.block_size * self.model.output.out_features  # of a sequence
        at_once = max(1, min(_MOST_SEQUENCES, _MOST_LOGITS // logits))
        scores = []
        for start in range(0, len(self.held_out), 16):
            tokens = self.held_out[start : start + 16]
            generator = stream(self.recipe.name, "evaluation", self.recipe.seed, start)
            orders = self._orders(len(tokens) * trials, generator)
            shape = (len(tokens), trials, len(classes))
            grid = (
                tokens[:, None, None].expand(*shape, -1).flatten(0, 2),
                classes.expand(shape).flatten(),
                orders.view(len(tokens), trials, 1, -1).expand(*shape, -1).flatten(0, 2),
            )
            batches = zip(*(t.to(device).split(at_once) for t in grid), strict=True)
            per_token = [self.token_log_likelihood(*batch) for batch in batches]
            scores.append(torch.cat(per_token).sum(1).view(shape).cpu())
        table = torch.cat(scores)  # [m, K, C]
        labels = self.held_out_labels[: len(table)]
        own = table.mean(1).gather(1, labels[:, None]).mean()
        of_one_order = accuracies(table[:, 0].argmax(1).numpy(), self.held_out_split)
        metrics = {**of_one_order, "log_likelihood": float(own)}
        if trials > 1:
            accuracy = (table.mean(1).argmax(1) == labels).float().mean()
            metrics[f"accuracy_{trials}_orders"] = float(accuracy)
        return metrics

    def network(self) -> nn.Module:
        return self.model

    def notes(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer}


class LlamaGenTask(RandARTask):
    """The same of LlamaGen's GPT, in raster order."""

    def build(self) -> LlamaGenGPT:
        if self.options.order != "raster":
            raise GcbenchError(
                f"recipe {self.recipe.name}: LlamaGen has the raster order only",
                hint='set order = "raster" in [options]',
            )
        return self.recipe.network(LlamaGenGPT)

    def losses(self, seen: Tensor, classes: Tensor, orders: Tensor) -> dict[str, Tensor]:
        tokens = seen if seen.ndim == 2 else self.quantised(seen)
        logits = self.model(tokens, classes)  # [B, N, V]
        return {"loss": F.cross_entropy(logits.flatten(0, 1), tokens.flatten())}

    def token_log_likelihood(self, tokens: Tensor, classes: Tensor, orders: Tensor) -> Tensor:
        assert isinstance(self.model, LlamaGenGPT)
        return self.model.token_log_likelihood(tokens, classes)
