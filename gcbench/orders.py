"""Token orders of any-order autoregressive models: independent streams, or the published one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gcbench.method import SampleKey
from gcbench.streams import stream


def random_orders(
    samples: Sequence[SampleKey], trials: int, steps: int, seed: int, protocol: str
) -> torch.Tensor:
    """Visit orders int64 [B, K, N]: raster position visited at each of N steps.

    `independent` gives every (seed, sample id, trial) a stream of its own. `published` reads one
    sequential stream, images outer and trials inner, as ar-classifier's script does with seed 42:
    an image's orders then depend on its position and on K.
    """
    if protocol == "published":
        return published_orders([s.position for s in samples], trials, steps, seed)
    rows = [
        torch.randperm(steps, generator=stream("order", seed, sample.id, trial))
        for sample in samples
        for trial in range(trials)
    ]
    return torch.stack(rows).reshape(len(samples), trials, steps)


def published_orders(positions: Sequence[int], trials: int, steps: int, seed: int) -> torch.Tensor:
    """Orders [B, K, N] of the images at these positions of the published sequential stream."""
    generator = torch.Generator().manual_seed(seed)
    wanted = {position: row for row, position in enumerate(positions)}
    orders = torch.empty(len(positions), trials, steps, dtype=torch.int64)
    for position in range(max(positions) + 1):
        for trial in range(trials):
            order = torch.randperm(steps, generator=generator)
            if position in wanted:
                orders[wanted[position], trial] = order
    return orders


def raster_orders(samples: int, steps: int) -> torch.Tensor:
    """The raster order for every sample, [B, 1, N]."""
    return torch.arange(steps).expand(samples, 1, steps)
