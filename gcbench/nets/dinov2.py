"""DINOv2's vision transformer and the features that its linear probe reads.

Sources: facebookresearch/dinov2 ``models/vision_transformer.py``, ``eval/linear.py`` and
``hub/classifiers.py``; Oquab et al. 2023. The network is timm's, with two things of the official
one: positions are resampled as it does (bicubic by a scale factor that is a tenth of a patch too
large, without antialiasing), and its checkpoints are read.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

# Added to the number of patches along a side before the positions' scale factor is computed.
OFFSET = 0.1


class DINOv2(VisionTransformer):
    """A ViT with layer scale and a class token, without a head; any multiple of the patch fits.

    Args:
        img_size: side in pixels that the positions are stored for.
        patch_size: side of a patch.
        embed_dim: D.
        depth: blocks.
        num_heads: attention heads.
        mlp_ratio: of the feed-forward width to D.
        init_values: of the layer scale; None leaves it out.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        init_values: float | None = 1e-5,
    ) -> None:
        super().__init__(
            img_size=img_size,
            patch_size=patch_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            init_values=init_values,
            num_classes=0,
            dynamic_img_size=True,
        )
        self.depth = depth

    def _pos_embed(self, x: Tensor) -> Tensor:
        # x: patches [B, h, w, D], as timm hands them over
        height, width = x.shape[1:3]
        assert self.pos_embed is not None
        assert self.cls_token is not None
        positions: Tensor = self.pos_embed
        side = round((positions.shape[1] - 1) ** 0.5)
        if (height, width) != (side, side):
            grid = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
            scale = ((height + OFFSET) / side, (width + OFFSET) / side)
            grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", antialias=False)
            positions = torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(1, 2)], dim=1)
        y: Tensor = self.pos_drop(tokens + positions)
        return y

    def last_blocks(self, images: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
        """Normalised outputs of the last ``count`` blocks, the oldest first.

        Args:
            images: normalised RGB ``[B, 3, H, W]``.

        Returns:
            Of each block its patch tokens ``[B, N, D]`` and its class token ``[B, D]``.
        """
        x = self.norm_pre(self._pos_embed(self.patch_embed(images)))
        kept = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index >= self.depth - count:
                normed = self.norm(x)
                kept.append((normed[:, 1:], normed[:, 0]))
        return kept

    def probe_features(self, images: Tensor, blocks: int = 1, average: bool = True) -> Tensor:
        """What a linear probe reads: class tokens, and the mean patch token of the last block.

        Args:
            images: normalised RGB ``[B, 3, H, W]``.
            blocks: how many of the last blocks give their class token.
            average: whether the mean over the last block's patches is appended.

        Returns:
            ``[B, (blocks + average) * D]``.
        """
        last = self.last_blocks(images, blocks)
        parts = [token for _, token in last]
        if average:
            parts.append(last[-1][0].mean(dim=1))
        return torch.cat(parts, dim=1)

    @staticmethod
    def translated(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Official checkpoints: blocks in chunks, a mask token, the teacher beside heads."""
        if any(name.startswith("backbone.") for name in tensors):
            inside = {n: v for n, v in tensors.items() if n.startswith("backbone.")}
            tensors = {name.removeprefix("backbone."): value for name, value in inside.items()}
        return {
            re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name): value
            for name, value in tensors.items()
            if name != "mask_token"
        }


class LinearProbe(nn.Linear):
    """Logits ``[B, C]`` from :meth:`DINOv2.probe_features`."""
