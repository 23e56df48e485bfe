"""The class token of a self-supervised vision transformer, as the teacher of aligned features.

Source: sihyun-yu/REPA ``utils.py`` and Martinser/REG (DINOv2-B at 224 px, positions resampled by
timm, ImageNet's mean and deviation, bicubic resizing). The network is timm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch.nn.functional as F
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from gcbench.nets.dinov2 import DINOv2

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class ClassToken(nn.Module):
    """The class token after the last norm.

    Args:
        architecture: of timm.
        image_size: side that images are resized to.
        arguments: of the architecture's constructor.
    """

    def __init__(
        self,
        architecture: str = "vit_base_patch14_dinov2",
        image_size: int = 224,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.vit: Any = timm.create_model(
            architecture, pretrained=False, num_classes=0, img_size=image_size, **arguments
        )

    @property
    def width(self) -> int:
        """z, the width of a class token."""
        return int(self.vit.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [-1, 1] to class tokens ``[B, z]``."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        normed = ((images + 1) / 2 - mean) / std
        resized = F.interpolate(normed, self.image_size, mode="bicubic")
        token: Tensor = self.vit.forward_features(resized)[:, 0]
        return token

    def translated(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint of timm or of DINOv2, its positions resampled to this image size."""
        renamed = {}
        for name, tensor in tensors.items():
            if name.removeprefix("vit.") in ("mask_token", "head.weight", "head.bias"):
                continue
            if name.endswith("pos_embed"):
                side = self.image_size // self.vit.patch_embed.patch_size[0]
                tensor = resample_abs_pos_embed(tensor, [side, side])
            renamed[f"vit.{name.removeprefix('vit.')}"] = tensor
        return renamed


class EmbeddedClassToken(DINOv2):
    """That of the embedded suite's encoder, which takes images as they are."""

    @property
    def width(self) -> int:
        """z, the width of a class token."""
        return int(self.embed_dim)

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """Images ``[B, 3, H, W]`` in [-1, 1] to class tokens ``[B, z]``."""
        return self.probe_features(images, average=False)
