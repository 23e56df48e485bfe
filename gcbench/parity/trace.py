"""What the blocks of a network put out, to find the first one that differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def outputs_of(blocks: nn.ModuleList, run: Callable[[], object]) -> Tensor:
    """The first row of each block's output while ``run`` runs: ``[blocks, L, dim]``."""
    import torch

    outputs: list[Tensor] = []
    handles = [
        block.register_forward_hook(lambda module, args, output: outputs.append(output[0]))
        for block in blocks
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(outputs)
