"""Token orders of any-order autoregressive models: independent streams, or the published one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from gcbench.method import SampleKey
from gcbench.streams import stream


def random_orders(
    samples: Sequence[SampleKey],
    trials: int,
    steps: int,
    seed: int,
    protocol: str,
    *,
    crops: bool = False,
) -> torch.Tensor:
    """Visit orders int64 [B, K, N]: raster position visited at each of N steps.

    `independent` gives every (seed, sample id, trial) a stream of its own. `published` reads one
    sequential stream, images outer and trials inner, as ar-classifier's script does with seed 42:
    an image's orders then depend on its position, on K, and on whether crops are drawn too.
    """
    if protocol == "published":
        return published_orders([s.position for s in samples], trials, steps, seed, crops=crops)
    rows = [
        torch.randperm(steps, generator=stream("order", seed, sample.id, trial))
        for sample in samples
        for trial in range(trials)
    ]
    return torch.stack(rows).reshape(len(samples), trials, steps)


def published_orders(
    positions: Sequence[int], trials: int, steps: int, seed: int, *, crops: bool = False
) -> torch.Tensor:
    """Orders [B, K, N] of the images at these positions of the published sequential stream.

    With `crops`, each order follows the three draws of the trial's random crop.
    """
    generator = torch.Generator().manual_seed(seed)
    wanted = {position: row for row, position in enumerate(positions)}
    orders = torch.empty(len(positions), trials, steps, dtype=torch.int64)
    for position in range(max(positions) + 1):
        for trial in range(trials):
            if crops:
                _skip_crop(generator)
            order = torch.randperm(steps, generator=generator)
            if position in wanted:
                orders[wanted[position], trial] = order
    return orders


def crop_streams(
    sample: SampleKey, trials: int, steps: int, seed: int, protocol: str
) -> Iterator[torch.Generator]:
    """A generator for the random crop of each trial, to be used before the next one is asked for.

    `independent`: a stream of its own per (seed, sample id, trial). `published`: the sequential
    stream, standing where the image's draws begin.
    """
    if protocol != "published":
        for trial in range(trials):
            yield stream("crop", seed, sample.id, trial)
        return
    generator = torch.Generator().manual_seed(seed)
    for _ in range(sample.position * trials):
        _skip_crop(generator)
        torch.randperm(steps, generator=generator)
    for _ in range(trials):
        yield generator
        torch.randperm(steps, generator=generator)


def _skip_crop(generator: torch.Generator) -> None:
    """Passes over the short side, top and left of a random crop: three integers, whatever range."""
    for _ in range(3):
        torch.randint(2, (1,), generator=generator)


def raster_orders(samples: int, steps: int) -> torch.Tensor:
    """The raster order for every sample, [B, 1, N]."""
    return torch.arange(steps).expand(samples, 1, steps)
