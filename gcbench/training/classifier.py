"""Task ``classifier``: cross-entropy of a small convolutional network on augmented images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.nets.mini_cnn import MiniCNN
from gcbench.training.data import Split, as_rgb, centre_view, random_view
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch


@dataclass(frozen=True)
class Options:
    """``max_short_side``: of the random crops, see :func:`gcbench.preprocess.random_crop`."""

    image_size: int = 32
    max_short_side: int = 40


class Classifier:
    """Random crops in training, centre crops in evaluation."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        self.options = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        self.module: nn.Module = MiniCNN(**recipe.model)
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
        return {"loss": F.cross_entropy(self.module(as_rgb(grey)).float(), labels)}

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
