"""The plain vision transformer: timm's, and torchvision's checkpoints under timm's names.

Source of the renaming: pytorch/vision ``models/vision_transformer.py``. Both compute the same: a
class token, learnt positions, pre-norm blocks with exact GELUs, layer norms of epsilon 1e-6.
"""

from __future__ import annotations

import re

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

# torchvision's name, as a pattern, and timm's. Files of the first release call the layers of the
# feed-forward linear_1 and linear_2, later ones 0 and 3.
_RENAMED = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(linear_1|0)\.", ".mlp.fc1."),
    (r"\.mlp\.(linear_2|3)\.", ".mlp.fc2."),
)


class ViT(VisionTransformer):
    """timm's VisionTransformer, which also loads torchvision's checkpoints."""

    @staticmethod
    def translated(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Under timm's names; what has them already is left alone."""
        if "class_token" not in tensors:
            return dict(tensors)
        return {_timm_name(name): value for name, value in tensors.items()}


def _timm_name(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name
