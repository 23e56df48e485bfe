"""Random streams derived by hashing names, so that a draw depends on nothing but its own name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream_seed(*names: str | int) -> int:
    """A 63-bit seed from names such as (seed, sample id, trial), equal on every machine."""
    text = "\0".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(*names: str | int) -> torch.Generator:
    """A CPU generator of its own for these names."""
    import torch

    return torch.Generator().manual_seed(stream_seed(*names))


def normal_draws(
    purpose: str,
    seed: int,
    ids: Sequence[str],
    draws: Sequence[tuple[str | int, ...]],
    shape: Sequence[int],
) -> torch.Tensor:
    """Standard normal [B, K, *shape], each draw from a stream of (purpose, seed, id, its names).

    Args:
        ids: of the B samples.
        draws: names of the K draws of each, such as the trial; empty where there is only one.
    """
    import torch

    noise = torch.empty(len(ids), len(draws), *shape)
    for row, id in zip(noise, ids, strict=True):
        for draw, names in zip(row, draws, strict=True):
            draw.normal_(generator=stream(purpose, seed, id, *names))
    return noise
