"""What classifiers that give all classes in one forward pass share."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gcbench.checkpoint import Checkpoint, Shipped
from gcbench.method import DiscriminativeMethod, Variant

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn

# Of ImageNet's training images, in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_variant(
    name: str,
    config: dict[str, dict[str, Any]],
    checkpoints: dict[str, Checkpoint],
    note: str,
    *,
    size: int = 224,
    resize: int = 256,
    interpolation: str = "bilinear",
    normalised: bool = True,
) -> Variant:
    """A published model of ImageNet's classes.

    Its images: short side to `resize`, central square of `size`, RGB in [0, 1], then `normalised`
    with ImageNet's mean and deviation or left so.
    """
    image = {"resize": resize, "interpolation": interpolation, "normalised": normalised}
    return Variant(
        name=name,
        label_space="imagenet-1k",
        config={**config, "image": image},
        checkpoints=checkpoints,
        image_size=size,
        note=note,
    )


def mini_variant(
    weights: dict[str, str], note: str, name: str = "mini", *, from_zero: bool = False
) -> Variant:
    """A variant for the embedded images: grey, ADM centre crop at 32 px, in [-1, 1].

    With `from_zero` they are in [0, 1].
    """
    return Variant(
        name=name,
        label_space="fashion-10",
        config={"image": {"grey": True, "from_zero": from_zero}},
        checkpoints={role: Shipped(file) for role, file in weights.items()},
        image_size=32,
        note=note,
    )


class Classifier(DiscriminativeMethod):
    """Log-probabilities of the candidate classes, from logits restricted to them."""

    family = "discriminative"
    model: nn.Module

    @abstractmethod
    def build(self) -> nn.Module:
        """The network from images to logits [B, C], without its weights."""

    def load(self) -> None:
        self.model = self.load_network("model", self.build())

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """Of all classes of the label space, [B, C], for preprocessed images [B, 3, H, W]."""
        found: torch.Tensor = self.model(batch)
        return found

    def scores(self, batch: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        with self.arithmetic():
            logits = self.logits(batch).float()  # [B, C]
        return logits[:, classes.to(logits.device)].log_softmax(-1)[:, None]

    @property
    def preprocessing(self) -> str:
        image, size = self.config("image"), self.variant.image_size
        if "resize" not in image:
            grey = "grey, " if image["grey"] else ""
            return f"{grey}adm-centre-crop-{size}{', in [0, 1]' if image.get('from_zero') else ''}"
        normalised = "imagenet mean/std" if image["normalised"] else "in [0, 1]"
        return f"resize-{image['resize']}-{image['interpolation']}-crop-{size}, {normalised}"

    def preprocess(self, image: Image) -> torch.Tensor:
        from gcbench.preprocess import centre_crop, luminance, to_tensor

        config, size = self.config("image"), self.variant.image_size
        if "resize" not in config:
            image = luminance(image) if config["grey"] else image.convert("RGB")
            pixels = to_tensor(centre_crop(image, size))
            return (pixels + 1) / 2 if config.get("from_zero") else pixels
        from torchvision.transforms import v2

        # An image that is cropped already would lose its border a second time.
        resize = size if image.info.get("precropped") else config["resize"]
        how = v2.InterpolationMode(config["interpolation"])
        image = v2.CenterCrop(size)(v2.Resize(resize, how)(image.convert("RGB")))
        pixels = (to_tensor(image) + 1) / 2
        if config["normalised"]:
            pixels = v2.functional.normalize(pixels, list(IMAGENET_MEAN), list(IMAGENET_STD))
        return pixels

    def flops_per_evaluation(self) -> float:
        return self._flops

    @cached_property
    def _flops(self) -> float:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        size = self.variant.image_size
        with torch.device("meta"):
            network, image = self.build().eval(), torch.empty(1, 3, size, size)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(image)
        return float(counter.get_total_flops())
