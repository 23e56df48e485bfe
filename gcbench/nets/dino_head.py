"""What DINO puts behind a backbone in training: a projection onto prototypes.

Source: facebookresearch/dinov2 ``layers/dino_head.py``; Caron et al. 2021.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class DINOHead(nn.Module):
    """Three layers with GELUs, a unit vector, and its products with unit prototypes.

    Args:
        c_in: width of the class token.
        hidden: of the first two layers.
        bottleneck: of the third.
        prototypes: P.
    """

    def __init__(self, c_in: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(c_in, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = weight_norm(nn.Linear(bottleneck, prototypes, bias=False))
        # Lengths stay 1: free ones would let a few prototypes take everything.
        lengths = self.last_layer.parametrizations.weight.original0
        nn.init.ones_(lengths)
        lengths.requires_grad_(False)

    def forward(self, token: Tensor) -> Tensor:
        """Class tokens ``[B, D]`` to cosines with the prototypes ``[B, P]``."""
        y: Tensor = self.last_layer(F.normalize(self.mlp(token), dim=1, eps=1e-6))
        return y
