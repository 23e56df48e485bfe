"""What a finished training leaves: weights, a card of how they were made, the curve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from gcbench.checkpoint import sha256_of
from gcbench.provenance import provenance
from gcbench.training.logs import write_curve
from gcbench.training.recipe import Recipe
from gcbench.training.saving import Progressed, replacing
from gcbench.training.tasks import Task


def publish(
    recipe: Recipe,
    task: Task,
    data_digest: str,
    state: Progressed,
    selected: Mapping[str, float],
    out: Path,
) -> Path:
    """Write ``NAME.safetensors``, ``NAME.json`` and ``NAME.curve.csv`` into ``out``.

    Args:
        selected: step and metrics of the published weights where they are not the last ones.

    Raises:
        GcbenchError: a file cannot be written.
    """
    weights = out / f"{recipe.name}.safetensors"
    network = task.network()
    kept = torch.float16 if recipe.weights == "fp16" else torch.float32
    tensors = {
        name: (value.to(kept) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    with replacing(weights) as partial:
        save_file(tensors, partial)
        partial.chmod(0o644)
    card: dict[str, Any] = {
        "name": recipe.name,
        "sha256": sha256_of(weights),
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds": round(state.seconds, 1),
        "final": state.curve[-1],
        **({"selected": dict(selected)} if selected else {}),
        "data": {"name": recipe.data, "sha256": data_digest},
        "recipe": recipe.as_dict(),
        **task.notes(),
        "provenance": provenance(next(network.parameters()).device.type),
    }
    with replacing(weights.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(card, indent=1) + "\n")
    write_curve(out / f"{recipe.name}.curve.csv", state.curve)
    return weights
