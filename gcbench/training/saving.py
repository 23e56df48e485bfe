"""Files of a training that are whole or not there, and its checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from gcbench.errors import GcbenchError
from gcbench.training.recipe import Recipe


@dataclass
class Chosen:
    """The best weights so far, by the metric that the recipe selects by."""

    step: int
    value: float
    weights: dict[str, Tensor]


@dataclass
class Progressed:
    """How far a training is.

    Attributes:
        step: optimiser steps that are done.
        seconds: of all its sessions.
        curve: a row per evaluation.
        sums: of what the steps since the last evaluation have logged.
        chosen: the weights that the recipe selects, once there are any.
    """

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    chosen: Chosen | None = None

    def add(self, logged: Mapping[str, Tensor]) -> None:
        """One more step is done."""
        self.step += 1
        for key, value in logged.items():
            self.sums[key] = self.sums.get(key, torch.zeros(())) + value

    def means(self) -> dict[str, float]:
        """Of what the steps since the last evaluation have logged."""
        count = self.step - (int(self.curve[-1]["step"]) if self.curve else 0)
        return {key: float(value) / count for key, value in self.sums.items()}


@contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """A path beside ``final`` that is synced and renamed onto it when the block succeeds.

    Raises:
        GcbenchError: the disk is full or the folder may not be written; ``final`` is as it was.
    """
    partial = final.with_name(f"{final.name}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(final)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise GcbenchError(
            f"cannot write {final}: {_reason(error)}",
            hint="free some space or choose another folder; what was written before is whole, and "
            "the same command goes on from there",
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _reason(error: BaseException) -> str:
    """The system's, which torch reports as the context of an error of its own."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            return at.strerror
        at = at.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def save_checkpoint(file: Path, recipe: Recipe, state: Progressed, tensors: dict[str, Any]) -> None:
    """Replace a checkpoint in one step: a crash or a full disk leaves the previous one whole.

    Args:
        tensors: state dicts of the module, the optimizers and the average of weights.

    Raises:
        GcbenchError: it cannot be written.
    """
    chosen = None if state.chosen is None else vars(state.chosen)
    progressed = {**vars(state), "chosen": chosen}
    with replacing(file) as partial, partial.open("wb") as stream:
        torch.save({"recipe": recipe.digest(), **progressed, **tensors}, stream)


def load_checkpoint(file: Path, recipe: Recipe) -> tuple[Progressed, dict[str, Any]]:
    """What :func:`save_checkpoint` was given; a training that has not begun where there is none.

    Raises:
        GcbenchError: no checkpoint, or that of another recipe.
    """
    if not file.exists():
        return Progressed(), {}
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise GcbenchError(
            f"{file} is no checkpoint: {_reason(error)}", hint="remove it to start afresh"
        ) from error
    if content.pop("recipe") != recipe.digest():
        raise GcbenchError(
            f"{file} belongs to another version of recipe {recipe.name}",
            hint="remove it to start afresh, or pass another --work folder",
        )
    chosen = content.pop("chosen")
    own = {key: content.pop(key) for key in ("step", "seconds", "curve", "sums")}
    return Progressed(**own, chosen=None if chosen is None else Chosen(**chosen)), content
