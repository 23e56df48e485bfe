"""Task ``dino``: self-distillation without labels (Caron et al. 2021; Oquab et al. 2023).

A student sees small and large crops, a teacher the large ones; the student learns to agree with the
teacher on other crops of the image. The teacher is an average of students. Its outputs are centred
and sharpened, which keeps it from giving every image the same answer; class tokens may be spread as
DINOv2 does. Its loss of masked patches is left out.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from PIL.Image import Resampling
from torch import Tensor, nn

from gcbench.nets.dino_head import DINOHead
from gcbench.nets.dinov2 import DINOv2
from gcbench.training.crops import random_box
from gcbench.training.data import Split, as_rgb, centre_view
from gcbench.training.recipe import Recipe, from_table
from gcbench.training.tasks import Batch

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Options:
    """How the encoder learns.

    Attributes:
        image_size: side of a large crop in pixels.
        local_size: side of a small crop.
        local_crops: small crops per image; large ones are two.
        global_scale: least and largest share of an image's area that a large crop shows.
        local_scale: of a small one.
        hidden, bottleneck, prototypes: of :class:`gcbench.nets.dino_head.DINOHead`.
        student_temperature, teacher_temperature: of the softmax over prototypes.
        teacher_momentum: of the average of students; it rises to 1 along a cosine.
        centre_momentum: of the average of the teacher's outputs.
        spread: weight of :func:`crowding` of the student's class tokens in the loss; DINOv2's 0.1.
        neighbours: k of the evaluation, a vote of the nearest training images.
        gallery: how many training images may vote, the first ones.
        evaluated_images: held-out images that are classified so, the first ones.
    """

    image_size: int = 32
    local_size: int = 16
    local_crops: int = 4
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.1, 0.4)
    hidden: int = 512
    bottleneck: int = 64
    prototypes: int = 1024
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    teacher_momentum: float = 0.992
    centre_momentum: float = 0.9
    spread: float = 0.0
    neighbours: int = 20
    gallery: int = 10_000
    evaluated_images: int = 1000


class _Branch(nn.Module):
    """A backbone and its head."""

    def __init__(self, backbone: DINOv2, head: DINOHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class tokens ``[B, D]`` and what the head makes of them ``[B, P]``."""
        ((_, token),) = self.backbone.last_blocks(images, 1)
        y: Tensor = self.head(token)
        return token.float(), y.float()


class _Pair(nn.Module):
    """Student, teacher, and what the teacher's outputs are centred by."""

    centre: Tensor
    output_sum: Tensor
    batches: Tensor

    def __init__(self, student: _Branch, prototypes: int) -> None:
        super().__init__()
        self.student, self.teacher = student, copy.deepcopy(student)
        self.teacher.requires_grad_(False)
        self.register_buffer("centre", torch.zeros(prototypes))
        # Of the means over the micro-batches of a step, and how many they are.
        self.register_buffer("output_sum", torch.zeros(prototypes))
        self.register_buffer("batches", torch.zeros(()))


class DINOTask:
    """Cross-entropy of the student's prototypes against the teacher's on other crops."""

    def __init__(self, recipe: Recipe, train: Split, held_out: Split) -> None:
        self.recipe = recipe
        self.options = o = from_table(Options, recipe.options, f"[options] of {recipe.name}")
        backbone = recipe.network(DINOv2)
        head = DINOHead(backbone.embed_dim, o.hidden, o.bottleneck, o.prototypes)
        self.pair = _Pair(_Branch(backbone, head), o.prototypes)
        self.module: nn.Module = self.pair
        self.train, self.held_out = train, held_out

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Crops, uint8: large ones ``[2, B, H, W]`` and small ones ``[L, B, h, w]``."""
        o = self.options
        kinds = (2, o.image_size, o.global_scale), (o.local_crops, o.local_size, o.local_scale)
        crops: list[list[list[Grey]]] = [[[] for _ in range(count)] for count, _, _ in kinds]
        for row in rows.tolist():
            image = Image.fromarray(self.train.images[row])
            for crops_of_kind, (_, size, scale) in zip(crops, kinds, strict=True):
                for crops_of_view in crops_of_kind:
                    crops_of_view.append(augmented(image, size, scale, generator))
        large, small = (torch.from_numpy(np.array(c, np.uint8)) for c in crops)
        return large, small

    def losses(self, large: Tensor, small: Tensor) -> dict[str, Tensor]:
        o, pair = self.options, self.pair
        views = as_rgb(large.flatten(0, 1))  # [2B, 3, H, W]
        with torch.no_grad():
            _, targets = pair.teacher(views)
            pair.output_sum += targets.mean(dim=0)
            pair.batches += 1
            targets = ((targets - pair.centre) / o.teacher_temperature).softmax(dim=1)
            targets = targets.unflatten(0, (2, -1))  # [2, B, P]
        tokens, outputs = pair.student(views)
        outputs = outputs.unflatten(0, (2, -1))
        if len(small):
            _, local = pair.student(as_rgb(small.flatten(0, 1)))
            outputs = torch.cat([outputs, local.unflatten(0, (len(small), -1))])  # [2 + L, B, P]
        log_p = (outputs / o.student_temperature).log_softmax(dim=2)
        agreement = torch.einsum("tbp,sbp->ts", targets, log_p) / log_p.shape[1]  # [2, 2 + L]
        others = torch.ones_like(agreement, dtype=torch.bool)
        others[:, :2].fill_diagonal_(False)  # an image need not agree with itself
        loss = -agreement[others].mean()
        if o.spread:
            loss = loss + o.spread * sum(crowding(part) for part in tokens.chunk(2)) / 2
        entropy = -(targets * targets.clamp_min(1e-12).log()).sum(dim=2).mean()
        return {"loss": loss, "teacher_entropy": entropy}

    @torch.no_grad()
    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        o, pair = self.options, self.pair
        progress = (1 + math.cos(math.pi * step / self.recipe.steps)) / 2
        momentum = 1 - (1 - o.teacher_momentum) * progress
        pairs = zip(pair.teacher.parameters(), pair.student.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - momentum)
        pair.centre.lerp_(pair.output_sum / pair.batches, 1 - o.centre_momentum)
        pair.output_sum.zero_()
        pair.batches.zero_()

    def evaluate(self, last: bool) -> dict[str, float]:
        """Accuracy of a vote among nearest training images, weights exp(cosine / 0.07)."""
        o = self.options
        gallery, of_gallery = self._tokens(self.train, o.gallery)
        queries, labels = self._tokens(self.held_out, o.evaluated_images)
        # Cosines in bf16 would tie.
        with torch.autocast("cpu", enabled=False):
            cosines = queries @ gallery.T
        near = cosines.topk(min(o.neighbours, len(gallery)), dim=1)
        votes = torch.zeros(len(queries), int(of_gallery.max()) + 1)
        votes.scatter_add_(1, of_gallery[near.indices], (near.values / 0.07).exp())
        return {"accuracy": float((votes.argmax(dim=1) == labels).float().mean())}

    def _tokens(self, split: Split, count: int) -> tuple[Tensor, Tensor]:
        """The teacher's class tokens of the first images, unit length ``[n, D]``, and labels."""
        views = [centre_view(image, self.options.image_size) for image in split.images[:count]]
        device = self.pair.centre.device
        tokens = []
        for start in range(0, len(views), 500):
            grey = torch.from_numpy(np.stack(views[start : start + 500])).to(device)
            ((_, token),) = self.pair.teacher.backbone.last_blocks(as_rgb(grey), 1)
            tokens.append(F.normalize(token.float(), dim=1).cpu())
        return torch.cat(tokens), torch.from_numpy(split.labels[:count])

    def network(self) -> nn.Module:
        return self.pair.teacher.backbone

    def notes(self) -> dict[str, Any]:
        return {}


def crowding(tokens: Tensor) -> Tensor:
    """KoLeo: minus the mean logarithm of the distance to the nearest other token, a scalar.

    Source: facebookresearch/dinov2 ``loss/koleo_loss.py``; Sablayrolles et al. 2019.

    Args:
        tokens: ``[B, D]``; their lengths do not count.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        unit = F.normalize(tokens.float(), dim=1, eps=1e-8)
        with torch.no_grad():
            nearest = (unit @ unit.T).fill_diagonal_(-1).argmax(dim=1)
        distance = (unit - unit[nearest] + 1e-8).norm(dim=1)
        return -(distance + 1e-8).log().mean()


def augmented(
    image: Image.Image, size: int, scale: tuple[float, float], generator: torch.Generator
) -> Grey:
    """A crop of random area and aspect, mirrored, of other brightness and contrast, or blurred.

    Args:
        image: grey.
        size: side of the result in pixels.
        scale: least and largest share of the image's area.

    Returns:
        uint8 ``[size, size]``.
    """
    *where, mirror, contrast, brightness, blur, radius = torch.rand(9, generator=generator).tolist()
    box = random_box(*image.size, scale, where)
    crop = image.resize((size, size), Resampling.BICUBIC, box=box)
    if mirror < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if blur < 0.3:
        crop = crop.filter(ImageFilter.GaussianBlur(0.1 + radius))
    pixels = np.asarray(crop, np.float32)
    mean = pixels.mean()
    pixels = (pixels - mean) * (0.6 + 0.8 * contrast) + mean * (0.6 + 0.8 * brightness)
    return pixels.clip(0, 255).astype(np.uint8)
