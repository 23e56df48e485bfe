"""Task ``classifier``: cross-entropy of a network on augmented images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.errors import unknown_name
from gcbench.nets.mini_cnn import MiniCNN
from gcbench.nets.resnet import SmallResNet
from gcbench.nets.vit import ViT
from gcbench.training.data import Split, as_rgb, centre_view, random_view
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch


@dataclass(frozen=True)
class Options:
    """How the classifier learns.

    Attributes:
        family: ``cnn``, ``resnet`` or ``vit``.
        image_size: side in pixels.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        label_smoothing: share of the target that goes to all classes alike.
    """

    family: str = "cnn"
    image_size: int = 32
    max_short_side: int = 40
    label_smoothing: float = 0.0


FAMILIES: dict[str, type[nn.Module]] = {"cnn": MiniCNN, "resnet": SmallResNet, "vit": ViT}


class Classifier:
    """Random crops in training, centre crops in evaluation."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        self.options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        if self.options.family not in FAMILIES:
            raise unknown_name(f"family in recipe {recipe.name}", self.options.family, FAMILIES)
        self.module: nn.Module = FAMILIES[self.options.family](**recipe.model)
        self.train = train
        views = [centre_view(image, self.options.image_size) for image in held_out.images]
        self.held_out = torch.stack([torch.from_numpy(view.copy()) for view in views])
        self.held_out_labels = torch.from_numpy(held_out.labels)

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        size, longest = self.options.image_size, self.options.max_short_side
        views = [random_view(self.train.images[i], size, longest, generator) for i in rows.tolist()]
        grey = torch.stack([torch.from_numpy(view.copy()) for view in views])  # [B, H, W]
        return grey, torch.from_numpy(self.train.labels[rows.numpy()])

    def losses(self, grey: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits, smoothing = self.module(as_rgb(grey)).float(), self.options.label_smoothing
        return {"loss": F.cross_entropy(logits, labels, label_smoothing=smoothing)}

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        pass

    def evaluate(self, last: bool) -> dict[str, float]:
        hits = 0
        for grey, labels in zip(
            self.held_out.split(500), self.held_out_labels.split(500), strict=True
        ):
            hits += int((self.module(as_rgb(grey)).argmax(dim=1) == labels).sum())
        return {"accuracy": hits / max(1, len(self.held_out))}

    def network(self) -> nn.Module:
        return self.module

    def notes(self) -> dict[str, Any]:
        return {}
