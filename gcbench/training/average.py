"""The exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An average that starts at the weights a network has now.

    After every step it becomes ``decay * average + (1 - decay) * weights``, as in the official DiT,
    facebookresearch/DiT ``train.py``. Buffers are not averaged.

    Args:
        module: whose parameters are averaged; those without gradient too, which do not change.
        decay: from 0 to 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.weights = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of one more step."""
        for name, parameter in self.module.named_parameters():
            self.weights[name].lerp_(parameter, 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the averaged weights inside of the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.module.named_parameters():
            parameter.data, self.weights[name] = self.weights[name], parameter.data

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from the weights of a checkpoint."""
        for name, average in self.weights.items():
            average.copy_(weights[name])
