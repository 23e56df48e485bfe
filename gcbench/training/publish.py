"""What a finished training leaves: fp16 weights, a card of how they were made, the curve."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from gcbench.checkpoint import sha256_of
from gcbench.errors import GcbenchError
from gcbench.provenance import provenance
from gcbench.training.recipe import Recipe
from gcbench.training.tasks import Task

LARGEST_BYTES = 6 * 1024 * 1024


def publish(
    recipe: Recipe,
    task: Task,
    data_digest: str,
    curve: list[dict[str, float]],
    seconds: float,
    out: Path,
) -> Path:
    """Write ``NAME.safetensors``, ``NAME.json`` and ``NAME.curve.csv`` into ``out``.

    Raises:
        GcbenchError: the weights exceed 6 MB.
    """
    out.mkdir(parents=True, exist_ok=True)
    weights = out / f"{recipe.name}.safetensors"
    network = task.network()
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    if size > LARGEST_BYTES:
        raise GcbenchError(
            f"recipe {recipe.name}: {size / 1e6:.1f} MB of fp16 weights, expected at most 6",
            hint="make the network smaller",
        )
    partial = weights.with_suffix(".partial")
    save_file(tensors, partial)
    partial.chmod(0o644)
    partial.replace(weights)
    card: dict[str, Any] = {
        "name": recipe.name,
        "sha256": sha256_of(weights),
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds": round(seconds, 1),
        "final": curve[-1],
        "data": {"name": recipe.data, "sha256": data_digest},
        "recipe": recipe.as_dict(),
        **task.notes(),
        "provenance": provenance(next(network.parameters()).device.type),
    }
    weights.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    columns = list(dict.fromkeys(key for row in curve for key in row))
    with (out / f"{recipe.name}.curve.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in curve)
    return weights
