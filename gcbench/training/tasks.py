"""What a task gives to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from gcbench.checkpoint import catalogue, fetched, load_into, read_state_dict, sha256_of
from gcbench.errors import GcbenchError
from gcbench.resources import resource
from gcbench.training.data import Split
from gcbench.training.recipe import ENCODED_TASKS, TASKS, Recipe, read_recipe

Batch = tuple[Tensor, ...]
Echo = Callable[[str], None]
Network = TypeVar("Network", bound=nn.Module)


class Task(Protocol):
    """A network in training. Random draws come from the generators that are passed in."""

    module: nn.Module

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Inputs from training rows ``[B]``; all tensors on the CPU.

        Decided by its arguments alone: batches are drawn ahead, by threads.
        """

    @property
    def losses(self) -> Callable[..., dict[str, Tensor]]:
        """From the tensors of a batch to scalars to log; ``loss`` is minimised.

        Means over the batch: a step may be cut into micro-batches, in several processes. What the
        losses keep between steps is added to buffers of the module, which are summed likewise.
        """

    def after_step(self, step: int, batch: Batch, generator: torch.Generator) -> None:
        """Anything between two steps, such as the restart of unused codes.

        Args:
            batch: the last micro-batch of this process, the whole one where a step is not cut.
        """

    def evaluate(self, last: bool) -> dict[str, float]:
        """Metrics on the held-out images, the model in eval mode; more thorough if ``last``."""

    def network(self) -> nn.Module:
        """The network whose weights are published."""

    def notes(self) -> dict[str, Any]:
        """What the card should say beyond the recipe, such as digests of other weights used."""


@dataclass(frozen=True)
class Workplace:
    """Where a task finds networks that are trained already, and keeps what they encode.

    Attributes:
        out: of the networks, see :func:`frozen`.
        work: of what they encode.
        echo: told how encoding gets on.
    """

    out: Path | None
    work: Path
    echo: Echo


def build_task(recipe: Recipe, train: Split, held_out: Split, place: Workplace) -> Task:
    """The task that a recipe names."""
    module, name = TASKS[recipe.task].split(":")
    kind = getattr(import_module(f"gcbench.training.{module}"), name)
    places = (place,) if recipe.task in ENCODED_TASKS else ()
    task: Task = kind(recipe, train, held_out, *places)
    return task


def frozen(
    name_or_path: str,
    out: Path | None,
    build: Callable[[Recipe], Network],
    released: Callable[[Mapping[str, Any]], Network] | None = None,
) -> tuple[Network, dict[str, str]]:
    """A network that is trained already, in eval mode and without gradients, and its origin.

    Args:
        name_or_path: of the recipe that trained it, or the name of published weights.
        out: searched for a recipe's weights before the shipped ones. Without it the network is left
            untrained, for what does not depend on weights.
        build: makes the untrained network of a recipe.
        released: makes that of published weights, from their card in the catalogue.

    Returns:
        The network, and name and sha256 of its weights, as a card notes them.

    Raises:
        GcbenchError: no such recipe, no weights of it, or such that do not fit.
    """
    expected: str | None = None
    if released is not None and name_or_path in catalogue():
        name, network = name_or_path, released(catalogue()[name_or_path])
        file, expected = (None, None) if out is None else fetched(name)
    else:
        recipe = read_recipe(name_or_path)
        name, network = recipe.name, build(recipe)
        file = None if out is None else trained_weights(name, out)
    if file is not None:
        load_into(network, read_state_dict(file, expected), file)
        expected = expected or sha256_of(file)
    network.eval().requires_grad_(False).to(encoding_device())
    return network, {"name": name, "sha256": expected or ""}


def in_training(module: nn.Module, device: torch.device) -> nn.Module:
    """The module on the device it is trained on, laid out for speed; its values stay.

    Convolutions are a third faster in channels-last, on processors too. There timm's attention is
    made of plain products: torch's fused kernel takes four times as long backwards, of a few dozen
    tokens in bf16.
    """
    module.to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        for part in module.modules():
            if hasattr(part, "fused_attn"):
                setattr(part, "fused_attn", False)  # noqa: B010
    return module


def encoding_device() -> torch.device:
    """Where images are encoded: on the process's GPU where there is one."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


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
