"""Task ``probe``: linear classifiers on frozen features, a grid of them at once, the best kept.

Source: facebookresearch/dinov2 ``eval/linear.py``: class tokens of the last 1 or 4 blocks, with or
without the mean patch token, times 13 learning rates, all by SGD on one pass over the features. The
best is chosen on held-out training images; the official script chooses on the test images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.errors import GcbenchError, unknown_name
from gcbench.nets.dinov2 import DINOv2, LinearProbe
from gcbench.training.crops import Crops
from gcbench.training.data import Split
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tables import construct
from gcbench.training.tasks import Batch, Echo, Workplace, frozen
from gcbench.training.views import Views

# Factors on the recipe's learning rate, which is the official 1 times batch size / 256.
RATES = (
    *(1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3),
    *(2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1),
)
# Of ImageNet's training images, in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SOLVERS = ("sgd", "logistic")


@dataclass(frozen=True)
class Options:
    """What the probes read and how they learn.

    Attributes:
        backbone: a published encoder by its name in the catalogue, or the recipe of one, a name or
            a path; its weights are looked for in the output folder, then among the shipped ones.
        network: constructor arguments of a published encoder.
        solver: ``sgd``, or ``logistic``: scikit-learn's logistic regression on the centre crops,
            one for each kind of features and each of ``penalties``, found at the start; the recipe
            then has one step at learning rate 0.
        blocks: numbers of last blocks whose class tokens are read.
        penalties: inverse strengths of its L2 penalty.
        image_size: side in pixels.
        views: views per image; the first is the centre crop, the others are random crops.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        official: the crops of DINOv2's linear evaluation instead, see :class:`.crops.Crops`,
            mirrored at random, with ImageNet's mean and deviation taken out.
    """

    backbone: str = "mini-dinov2"
    network: Mapping[str, Any] = field(default_factory=dict)
    solver: str = "sgd"
    blocks: tuple[int, ...] = (1, 4)
    penalties: tuple[float, ...] = (0.01, 0.1, 1.0)
    image_size: int = 32
    views: int = 4
    max_short_side: int = 40
    official: bool = False


def normalised(images: Tensor) -> Tensor:
    """Images ``[B, 3, H, W]`` in [-1, 1] with ImageNet's mean and deviation taken out."""
    mean, deviation = (images.new_tensor(c)[:, None, None] for c in (MEAN, DEVIATION))
    return ((images + 1) / 2 - mean) / deviation


@dataclass(frozen=True)
class Kind:
    """A probe of the grid: what it reads, and the factor on its learning rate."""

    blocks: int
    average: bool
    rate: float


class ProbeGrid(nn.Module):
    """All probes, each on its part of the features of the last blocks.

    Args:
        width: D of the backbone.
        deepest: number of blocks whose class tokens the features hold, oldest first; the mean patch
            token follows.
        classes: C.
        kinds: of the probes.
    """

    def __init__(self, width: int, deepest: int, classes: int, kinds: tuple[Kind, ...]) -> None:
        super().__init__()
        self.width, self.deepest, self.kinds = width, deepest, kinds
        self.probes = nn.ModuleList(
            LinearProbe((kind.blocks + kind.average) * width, classes) for kind in kinds
        )
        for probe in self.probes:
            assert isinstance(probe, LinearProbe)
            nn.init.normal_(probe.weight, std=0.01)
            nn.init.zeros_(probe.bias)

    def rates(self) -> Iterator[tuple[nn.Module, float]]:
        """Every probe with the factor on its learning rate."""
        return zip(self.probes, (kind.rate for kind in self.kinds), strict=True)

    def part(self, features: Tensor, kind: Kind) -> Tensor:
        """What a probe reads ``[B, (blocks + average) * D]`` of the features ``[B, ...]``."""
        tokens = self.deepest * self.width
        return features[:, tokens - kind.blocks * self.width : None if kind.average else tokens]

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[G, B, C]`` of all probes."""
        pairs = zip(self.probes, self.kinds, strict=True)
        return torch.stack([probe(self.part(features, kind)) for probe, kind in pairs])


class ProbeTask:
    """Cross-entropy of all probes on features that are extracted once."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split, place: Workplace) -> None:
        self.options = o = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        if o.solver not in SOLVERS:
            raise unknown_name(f"solver in recipe {recipe.name}", o.solver, SOLVERS)
        network, self.backbone = frozen(
            o.backbone,
            place.out,
            lambda r: r.network(DINOv2),
            lambda card: construct(DINOv2, o.network, f"[options.network] of {recipe.name}"),
        )
        self.deepest = max(o.blocks)
        if self.deepest > network.depth:
            raise GcbenchError(
                f"recipe {recipe.name}: features of {self.deepest} blocks, "
                f"{self.backbone['name']} has {network.depth}"
            )
        views = Views(
            kind=f"features{self.deepest}",
            encode=lambda images: network.probe_features(
                normalised(images) if o.official else images, self.deepest
            ).half(),
            encoder=self.backbone,
            crops=Crops(o.image_size, o.max_short_side, flips=o.official, resized=o.official),
            seed=recipe.seed,
            place=place,
        )
        count = 1 if o.solver == "logistic" else o.views
        self.features = views.of(train, count)  # [F] of each view and image
        self.labels = torch.from_numpy(train.labels)
        self.held_out = views.of(held_out, 1).view(0).float()  # [m, F]
        self.held_out_labels = torch.from_numpy(held_out.labels)
        rates = RATES if o.solver == "sgd" else o.penalties
        kinds = tuple(Kind(*kind) for kind in product(o.blocks, (False, True), rates))
        self.grid = ProbeGrid(network.embed_dim, self.deepest, recipe.model["classes"], kinds)
        self.module: nn.Module = self.grid
        self.best = 0
        if o.solver == "logistic":
            if recipe.optimizer.learning_rate:
                raise GcbenchError(
                    f"recipe {recipe.name}: the learning rate is {recipe.optimizer.learning_rate}, "
                    "logistic regression is solved and not trained",
                    hint="set learning_rate = 0 and steps = 1",
                )
            self._solve(place.echo)

    def _solve(self, echo: Echo) -> None:
        from sklearn.linear_model import LogisticRegression

        for probe, kind in zip(self.grid.probes, self.grid.kinds, strict=True):
            part = self.grid.part(self.features.view(0).float(), kind).numpy()
            found = LogisticRegression(C=kind.rate, max_iter=1000).fit(part, self.labels.numpy())
            assert isinstance(probe, LinearProbe)
            with torch.no_grad():
                probe.weight.copy_(torch.from_numpy(found.coef_))
                probe.bias.copy_(torch.from_numpy(found.intercept_))
            echo(f"solved {kind}")

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        view = torch.randint(len(self.features), rows.shape, generator=generator)
        return self.features[view, rows].float(), self.labels[rows]

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.grid(features).float()  # [G, B, C]
        each = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
        each = each.unflatten(0, (len(logits), -1)).mean(dim=1)  # [G]
        return {"loss": each.sum(), "lowest": each.min()}

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        pass

    def evaluate(self, last: bool) -> dict[str, float]:
        """Accuracy of the best probe, which is the one that is published."""
        device = next(self.grid.parameters()).device
        parts = [self.grid(part.to(device)).argmax(dim=2) for part in self.held_out.split(1000)]
        right = torch.cat(parts, dim=1).cpu() == self.held_out_labels
        accuracy = right.float().mean(dim=1)  # [G]
        self.best = int(accuracy.argmax())
        return {"accuracy": float(accuracy[self.best]), "median": float(accuracy.median())}

    def network(self) -> nn.Module:
        return self.grid.probes[self.best]

    def notes(self) -> dict[str, Any]:
        kind = self.grid.kinds[self.best]
        chosen = {"blocks": kind.blocks, "average": kind.average, "factor": kind.rate}
        return {"backbone": self.backbone, "chosen": chosen, "grid": len(self.grid.kinds)}
