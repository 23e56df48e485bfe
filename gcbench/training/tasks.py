"""What a task gives to the training loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gcbench.errors import GcbenchError
from gcbench.resources import resource
from gcbench.training.data import Split
from gcbench.training.recipe import Recipe

Batch = tuple[Tensor, ...]
Echo = Callable[[str], None]


class Task(Protocol):
    """A network in training. Random draws come from the generators that are passed in."""

    module: nn.Module

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Inputs of one step from training rows ``[B]``; all tensors on the CPU."""

    @property
    def losses(self) -> Callable[..., dict[str, Tensor]]:
        """From the tensors of a batch to scalars to log; ``loss`` is minimised."""

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        """Anything between two steps, such as the restart of unused codes."""

    def evaluate(self, last: bool) -> dict[str, float]:
        """Metrics on the held-out images, the model in eval mode; more thorough if ``last``."""

    def network(self) -> nn.Module:
        """The network whose weights are published."""

    def notes(self) -> dict[str, Any]:
        """What the card should say beyond the recipe, such as digests of other weights used."""


def build_task(
    recipe: Recipe, train: Split, held_out: Split, out: Path, work: Path, echo: Echo
) -> Task:
    """The task that a recipe names; ``out`` is searched for networks trained before."""
    if recipe.task == "classifier":
        from gcbench.training.classifier import Classifier

        return Classifier(recipe, train, held_out)
    if recipe.task == "dat":
        from gcbench.training.dat import DATTask

        return DATTask(recipe, train, held_out)
    if recipe.task == "dino":
        from gcbench.training.dino import DINOTask

        return DINOTask(recipe, train, held_out)
    if recipe.task == "probe":
        from gcbench.training.probe import ProbeTask

        return ProbeTask(recipe, train, held_out, out, work, echo)
    if recipe.task == "tokenizer":
        from gcbench.training.tokenizer import Tokenizer

        return Tokenizer(recipe, train, held_out)
    if recipe.task == "multiscale":
        from gcbench.training.multiscale import MultiScaleTokenizer

        return MultiScaleTokenizer(recipe, train, held_out)
    if recipe.task == "var":
        from gcbench.training.var import VARTask

        return VARTask(recipe, train, held_out, out, work, echo)
    if recipe.task == "vae":
        from gcbench.training.vae import Autoencoder

        return Autoencoder(recipe, train, held_out)
    if recipe.task == "diffusion":
        from gcbench.training.diffusion import DiffusionTask

        return DiffusionTask(recipe, train, held_out, out, work, echo)
    if recipe.task in ("repa", "reg"):
        from gcbench.training.aligned import REGTask, REPATask

        aligned = REGTask if recipe.task == "reg" else REPATask
        return aligned(recipe, train, held_out, out, work, echo)
    from gcbench.training.tokens import LlamaGenTask, RandARTask

    kind = LlamaGenTask if recipe.task == "llamagen" else RandARTask
    return kind(recipe, train, held_out, out, work, echo)


def trained_weights(name: str, out: Path) -> Path:
    """Weights of a recipe that another one builds on: from ``out``, else the shipped ones.

    Raises:
        GcbenchError: they are in neither place.
    """
    trained = out / f"{name}.safetensors"
    if trained.exists():
        return trained
    try:
        return resource(f"baselines/weights/{name}.safetensors")
    except GcbenchError:
        raise GcbenchError(
            f"{name!r} is neither in {out} nor among the shipped weights",
            hint=f"train it first: gcbench train {name}",
        ) from None
