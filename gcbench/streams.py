"""Random streams derived by hashing names, so that a draw depends on nothing but its own name."""

from __future__ import annotations

import hashlib
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
