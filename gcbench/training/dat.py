"""Task ``dat``: dual adversarial training of a joint energy model and classifier (Yin et al. 2025).

The logits serve twice. Their softmax classifies, and learns from images that projected gradient
ascent has moved, within a small ball, to where it errs most. Their log-sum-exp, the negative
energy, learns by binary cross-entropy to tell real images from contrastive samples: pictures from
outside that the same ascent has moved, without a bound, to where a class's logit is high. The
ascent grows by one step whenever the two are told apart too well.

There are two stages, the classification alone and then both. The published first stage also serves
to fix batch normalisation, which this network does not have.

What is simpler than in the publication: pictures from outside are collages of training images
instead of a second data set; real and moved images of a step are crops of the same images; the
growth is decided on consecutive windows of steps, not sliding ones; weights are not averaged. The
images being grey, all steps are, and distances count the one channel.

Sources: xuwangyin/DAT ``rebm/training/train.py`` and ``adv_attacks.py``, ``experiments/``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcbench.errors import GcbenchError
from gcbench.nets.dat import DAT
from gcbench.training.data import Split, centre_view, random_view
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch


@dataclass(frozen=True)
class Options:
    """How the network learns; lengths are Euclidean, of grey images in [0, 1].

    Attributes:
        image_size: side in pixels.
        max_short_side: of the random crops, see :func:`gcbench.preprocess.random_crop`.
        robust_steps: steps of the first stage, classification alone.
        attack_radius, attack_steps, attack_size: how far an image to classify may move, in how
            many steps of which length.
        contrast_steps, contrast_size: most steps of a contrastive sample, and their length.
        separation: the probability that a real image has the larger logit at which contrastive
            samples get one more step.
        window: training steps that this probability is averaged over; published: those of 1000
            images.
        tiles: squares along a side of a collage.
        attacked_images: held-out images that an evaluation attacks, the first ones.
    """

    image_size: int = 32
    max_short_side: int = 40
    robust_steps: int = 0
    attack_radius: float = 0.3
    attack_steps: int = 3
    attack_size: float = 0.2
    contrast_steps: int = 10
    contrast_size: float = 0.3
    separation: float = 0.8
    window: int = 8
    tiles: int = 4
    attacked_images: int = 500


class _Joint(nn.Module):
    """The network, and how far its training is."""

    dual: Tensor
    contrast_steps: Tensor
    separation: Tensor
    counted: Tensor

    def __init__(self, network: DAT, dual: bool) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("dual", torch.tensor(dual))
        self.register_buffer("contrast_steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("separation", torch.zeros(()))
        self.register_buffer("counted", torch.zeros((), dtype=torch.long))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, C]`` of grey images ``[B, 1, H, W]``."""
        logits: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return logits.float()


class DATTask:
    """Cross-entropy of attacked images plus binary cross-entropy of real against contrastive."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        self.options = o = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        if o.image_size % o.tiles:
            raise GcbenchError(
                f"recipe {recipe.name}: {o.tiles} tiles do not divide {o.image_size} pixels",
                hint="set tiles to a divisor of image_size",
            )
        self.joint = _Joint(recipe.network(DAT), dual=o.robust_steps <= 0)
        self.module: nn.Module = self.joint
        self.train = train
        views = [centre_view(image, o.image_size) for image in held_out.images]
        self.held_out = torch.stack([torch.from_numpy(view.copy()) for view in views])
        self.held_out_labels = torch.from_numpy(held_out.labels)

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Crops, uint8 ``[B, H, W]``, their labels ``[B]``, and collages of them."""
        o = self.options
        views = [
            random_view(self.train.images[row], o.image_size, o.max_short_side, generator)
            for row in rows.tolist()
        ]
        grey = torch.stack([torch.from_numpy(view.copy()) for view in views])
        labels = torch.from_numpy(self.train.labels[rows.numpy()])
        return grey, labels, collages(grey, o.tiles, generator)

    def losses(self, grey: Tensor, labels: Tensor, outside: Tensor) -> dict[str, Tensor]:
        o, joint = self.options, self.joint
        images = pixels(grey)
        cross_entropy = F.cross_entropy(joint(self.attacked(images, labels)), labels)
        if not joint.dual:
            return {"loss": cross_entropy, "cross_entropy": cross_entropy}

        def own_logit(x: Tensor) -> Tensor:
            return joint(x).gather(1, labels[:, None])

        steps = int(joint.contrast_steps)
        contrastive = ascended(own_logit, pixels(outside), steps, o.contrast_size)
        logits = joint(torch.cat([images, contrastive]))  # [2B, C]
        real = torch.cat([torch.ones(len(images)), torch.zeros(len(images))]).to(logits.device)
        contrast = F.binary_cross_entropy_with_logits(logits.logsumexp(dim=1), real)
        high, low = logits.detach().gather(1, labels.repeat(2)[:, None]).squeeze(1).chunk(2)
        separation = probability_of_larger(high, low)
        joint.separation += separation
        joint.counted += 1
        return {
            "loss": cross_entropy + contrast,
            "cross_entropy": cross_entropy,
            "contrast": contrast,
            "separation": separation,
            "contrast_steps": joint.contrast_steps.float(),
        }

    def attacked(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images moved within the ball to where their class is least likely."""

        def loss(x: Tensor) -> Tensor:
            return F.cross_entropy(self.joint(x), labels, reduction="none")

        o = self.options
        return ascended(loss, images, o.attack_steps, o.attack_size, o.attack_radius)

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        o, joint = self.options, self.joint
        joint.dual.fill_(step + 1 >= o.robust_steps)
        if joint.counted < o.window:
            return
        grows = joint.separation / joint.counted >= o.separation
        joint.contrast_steps += int(grows and joint.contrast_steps < o.contrast_steps)
        joint.separation.zero_()
        joint.counted.zero_()

    def last_stage(self) -> None:
        """Goes on to where a step costs most, for what measures costs."""
        self.joint.dual.fill_(True)
        self.joint.contrast_steps.fill_(self.options.contrast_steps)

    def evaluate(self, last: bool) -> dict[str, float]:
        """Accuracy of the held-out images, and of the first ones under attack."""
        device = self.joint.separation.device
        hits, robust = 0, 0
        attacked = min(self.options.attacked_images, len(self.held_out))
        for start in range(0, len(self.held_out), 500):
            images = pixels(self.held_out[start : start + 500]).to(device)
            labels = self.held_out_labels[start : start + 500].to(device)
            hits += int((self.joint(images).argmax(dim=1) == labels).sum())
            few = slice(max(0, attacked - start))
            moved = self.attacked(images[few], labels[few])
            robust += int((self.joint(moved).argmax(dim=1) == labels[few]).sum())
        return {
            "accuracy": hits / max(1, len(self.held_out)),
            "robust_accuracy": robust / max(1, attacked),
        }

    def network(self) -> nn.Module:
        return self.joint.network

    def notes(self) -> dict[str, Any]:
        return {}


def ascended(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    size: float,
    radius: float = math.inf,
) -> Tensor:
    """Images of larger ``objective``: projected gradient ascent in the Euclidean norm.

    Args:
        objective: of images ``[B, 1, H, W]``, a value each.
        start: images in [0, 1].
        steps: how many.
        size: length of a step.
        radius: of the ball around ``start`` that is not left.

    Returns:
        ``[B, 1, H, W]`` in [0, 1], without gradient.
    """
    images = start
    for _ in range(steps):
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(objective(images).sum(), images)
        moved = images.detach() + size * slope / _length(slope) - start
        images = (start + moved * (radius / _length(moved)).clamp(max=1)).clamp(0, 1)
    return images.detach()


def _length(images: Tensor) -> Tensor:
    """Euclidean ``[B, 1, 1, 1]``, never zero."""
    return images.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]


def collages(grey: Tensor, tiles: int, generator: torch.Generator) -> Tensor:
    """As many pictures of squares that come from anywhere in the images, ``[B, H, W]``."""
    side = grey.shape[1] // tiles
    squares = grey.unflatten(2, (tiles, side)).unflatten(1, (tiles, side)).transpose(2, 3)
    shuffled = squares.flatten(0, 2)[torch.randperm(len(grey) * tiles**2, generator=generator)]
    grid = shuffled.unflatten(0, (len(grey), tiles, tiles)).transpose(2, 3)  # [B, t, s, t, s]
    return grid.flatten(3, 4).flatten(1, 2)


def pixels(grey: Tensor) -> Tensor:
    """uint8 ``[B, H, W]`` to ``[B, 1, H, W]`` in [0, 1]."""
    return (grey.float() / 255)[:, None]


def probability_of_larger(high: Tensor, low: Tensor) -> Tensor:
    """That a value of ``high`` exceeds one of ``low``, ties counting half: the area under the ROC.

    Args:
        high, low: ``[n]``, ``[m]``.
    """
    difference = high[:, None] - low
    return (difference.sign() + 1).mean() / 2
