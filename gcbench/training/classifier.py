"""Task ``classifier``: a network from augmented images to their classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.errors import GcbenchError, unknown_name
from gcbench.nets.mini_cnn import MiniCNN
from gcbench.nets.resnet import SmallResNet
from gcbench.nets.vit import ViT
from gcbench.training.accuracy import accuracies
from gcbench.training.data import (
    Split,
    as_rgb,
    centre_view,
    random_view,
    rows_of_uniform_classes,
)
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.stitching import sigma_stitching
from gcbench.training.tasks import Batch


@dataclass(frozen=True)
class Options:
    """How the classifier learns.

    Attributes:
        family: ``cnn``, ``resnet`` or ``vit``.
        image_size: side in pixels.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        label_smoothing: share of the target that goes to all classes alike.
        loss: ``cross-entropy``, or ``sigma-stitching`` where there are two classes.
        sampling: what is equally likely to be drawn next: ``images``, each once per epoch, or
            ``classes``, and any image of the class (RWY; Idrissi et al. 2022).
        evaluated_images: held-out images that an evaluation classifies, the first ones; 0 for all.
    """

    family: str = "cnn"
    image_size: int = 32
    max_short_side: int = 40
    label_smoothing: float = 0.0
    loss: str = "cross-entropy"
    sampling: str = "images"
    evaluated_images: int = 0


FAMILIES: dict[str, type[nn.Module]] = {"cnn": MiniCNN, "resnet": SmallResNet, "vit": ViT}
LOSSES = ("cross-entropy", "sigma-stitching")
SAMPLINGS = ("images", "classes")
EVALUATED_AT_ONCE = 250


class Classifier:
    """Random crops in training, centre crops in evaluation."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        self.options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        for key, known in (("family", FAMILIES), ("loss", LOSSES), ("sampling", SAMPLINGS)):
            if (given := getattr(self.options, key)) not in known:
                raise unknown_name(f"{key} in recipe {recipe.name}", given, known)
        if self.options.loss == "sigma-stitching" and train.classes != 2:
            raise GcbenchError(
                f"recipe {recipe.name}: sigma-stitching is a loss of two classes, {recipe.data} "
                f"has {train.classes}",
                hint="its margin is that of one class over the other: train with cross-entropy",
            )
        self.module: nn.Module = recipe.network(FAMILIES[self.options.family])
        self.train = train
        self.held_out = held_out.cut(0, self.options.evaluated_images or len(held_out.labels))

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        if self.options.sampling == "classes":
            rows = rows_of_uniform_classes(self.train, len(rows), generator)
        size, longest = self.options.image_size, self.options.max_short_side
        views = [random_view(self.train.images[i], size, longest, generator) for i in rows.tolist()]
        images = torch.from_numpy(np.stack(views))  # [B, H, W], or [B, H, W, 3] in colour
        return images, torch.from_numpy(self.train.labels[rows.numpy()])

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits, smoothing = self.module(as_rgb(images)).float(), self.options.label_smoothing
        if self.options.loss == "sigma-stitching":
            return {"loss": sigma_stitching(logits, labels)}
        return {"loss": F.cross_entropy(logits, labels, label_smoothing=smoothing)}

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        pass

    def evaluate(self, last: bool) -> dict[str, float]:
        device = next(self.module.parameters()).device
        predicted = [self.module(as_rgb(views.to(device))).argmax(dim=1) for views in self._views()]
        return accuracies(torch.cat(predicted).cpu().numpy(), self.held_out)

    def _views(self) -> Iterator[Tensor]:
        """Centre crops of the held-out images; those of a full-size set would fill the memory."""
        size, images = self.options.image_size, self.held_out.images
        for rows in np.array_split(np.arange(len(images)), -(-len(images) // EVALUATED_AT_ONCE)):
            views = [centre_view(images[row], size) for row in rows]
            yield torch.from_numpy(np.stack(views))

    def network(self) -> nn.Module:
        return self.module

    def notes(self) -> dict[str, Any]:
        return {}
