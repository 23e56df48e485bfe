"""The feed-forward part of a transformer block with the parameter names of timm (DiT, VAR)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Two linear layers around a tanh-approximated GELU."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, width)
        self.fc2 = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., dim]``."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return y
