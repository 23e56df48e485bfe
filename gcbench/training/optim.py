"""Optimisers and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from gcbench.training.recipe import OptimizerSpec


def build_optimizers(model: nn.Module, spec: OptimizerSpec) -> list[torch.optim.Optimizer]:
    """AdamW or SGD for everything, or Muon for the matrices of the blocks and AdamW for the rest.

    Embeddings, the output layer, norms and vectors always belong to AdamW; weight decay acts on
    matrices and filters only. Muon's updates are scaled to AdamW's root mean square. With SGD a
    network may have a method ``rates()``: parts of it, each with a factor on the learning rate.
    """
    if spec.name == "sgd":
        return [_sgd(model, spec)]
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    muon = spec.name == "muon"
    matrices = [p for n, p in named if muon and p.ndim == 2 and _in_block(n)]
    owned = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in owned]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=spec.learning_rate, betas=spec.betas, fused=True)
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=spec.matrix_learning_rate,
                weight_decay=spec.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _sgd(model: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    rates = getattr(model, "rates", None)
    parts = [(model, 1.0)] if rates is None else rates()
    groups = [
        {"params": list(part.parameters()), "lr": factor * spec.learning_rate}
        for part, factor in parts
    ]
    optimizer = torch.optim.SGD(
        groups, lr=spec.learning_rate, momentum=spec.betas[0], weight_decay=spec.weight_decay
    )
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def _in_block(name: str) -> bool:
    """Whether a parameter belongs to a repeated block, by the lists of the published networks."""
    return ".layers." in f".{name}" or ".blocks." in f".{name}"


def schedule(step: int, steps: int, warmup: int, kind: str = "linear", floor: float = 0.0) -> float:
    """Share of the peak rate: linear warm-up, then decay to ``floor`` at ``steps``, or none."""
    if step < warmup:
        return (step + 1) / warmup
    if kind == "constant":
        return 1.0
    left = (steps - step) / max(1, steps - warmup)
    share = left if kind == "linear" else (1 - math.cos(math.pi * left)) / 2
    return floor + (1 - floor) * share
