"""Recipes: declarative TOML files that say how a network is trained."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from gcbench.errors import GcbenchError, unknown_name
from gcbench.resources import resource
from gcbench.training.tables import construct, expected

T = TypeVar("T")

# Each task's class, as `module:class` of this package: those that read images, and those that read
# what a network trained before has made of them.
IMAGE_TASKS = {
    "classifier": "classifier:Classifier",
    "dat": "dat:DATTask",
    "dino": "dino:DINOTask",
    "tokenizer": "tokenizer:Tokenizer",
    "multiscale": "multiscale:MultiScaleTokenizer",
    "vae": "vae:Autoencoder",
}
ENCODED_TASKS = {
    "probe": "probe:ProbeTask",
    "randar": "tokens:RandARTask",
    "llamagen": "tokens:LlamaGenTask",
    "var": "var:VARTask",
    "diffusion": "diffusion:DiffusionTask",
    "repa": "aligned:REPATask",
    "reg": "aligned:REGTask",
}
TASKS = {**IMAGE_TASKS, **ENCODED_TASKS}

# A tokenizer's unused codes are moved onto features of a whole batch.
WHOLE_BATCH_TASKS = ("tokenizer", "multiscale")


@dataclass(frozen=True)
class OptimizerSpec:
    """How weights are updated.

    Attributes:
        name: ``adamw``, ``muon`` for Muon on the matrices inside blocks and AdamW on the rest, or
            ``sgd`` with the first of ``betas`` as momentum.
        learning_rate: peak, reached after ``warmup_steps``.
        schedule: how it falls until the last step, ``linear`` or ``cosine``; or ``constant``.
        floor: share of the peak that it falls to.
        weight_decay: decoupled, on weights of two and more axes only.
        warmup_steps: steps of linear warm-up.
        betas: AdamW's.
        matrix_learning_rate: peak of Muon, scaled to AdamW's update size.
        clip_norm: largest global gradient norm, 0 for any.
    """

    learning_rate: float
    name: str = "adamw"
    weight_decay: float = 0.0
    warmup_steps: int = 100
    schedule: str = "linear"
    floor: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    matrix_learning_rate: float = 0.0
    clip_norm: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained weights, given the data.

    Attributes:
        name: file name of the recipe and of its weights.
        task: one of :data:`TASKS`.
        steps: optimiser steps.
        batch_size: images per step, over all processes.
        accumulate: micro-batches that a step's batch is cut into, equal in size. Processes deal
            them out, and one with several computes them in turn, so that their number decides the
            memory and not the outcome.
        data: what is learned from, see :mod:`gcbench.training.data`.
        held_out: images at the end of the training split that are only evaluated on; data that
            bring a validation part of their own keep to it.
        evaluate_every: steps between evaluations; a checkpoint is written with each.
        precision: ``bf16`` (autocast) or ``fp32``.
        ema: decay of the moving average of the weights, which is what is evaluated and published;
            0 for none.
        select: name of a metric of the evaluations; the weights of its highest value are published
            instead of the last ones.
        compile: compile the loss with torch.compile.
        weights: how the published weights are stored, ``fp16`` or ``fp32``.
        seed: of every random stream.
        model: constructor arguments of the network.
        optimizer: see :class:`OptimizerSpec`.
        options: the task's own options, see its ``Options``.
    """

    name: str
    task: str
    steps: int
    batch_size: int
    optimizer: OptimizerSpec
    data: str = "fashion-mnist"
    held_out: int = 1000
    evaluate_every: int = 500
    precision: str = "bf16"
    compile: bool = True
    seed: int = 0
    accumulate: int = 1
    ema: float = 0.0
    select: str = ""
    weights: str = "fp16"
    model: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def network(self, kind: Callable[..., T]) -> T:
        """The untrained network. Raises GcbenchError for an argument that it does not take."""
        return construct(kind, self.model, f"[model] of {self.name}")

    def as_dict(self) -> dict[str, Any]:
        """Plain nested values, as written to the card."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """sha256 of the recipe's values: a checkpoint continues under the same digest only."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


def from_table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A dataclass from a TOML table, arrays as tuples.

    Raises:
        GcbenchError: an unknown or a missing key, or a value of another type, named.
    """
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise unknown_name(f"key in {where}", key, known)
    for key, f in known.items():
        required = f.default is f.default_factory is dataclasses.MISSING
        if required and key not in table:
            raise GcbenchError(f"{where} lacks the key {key!r}", hint=f"add {key} = ... to it")
    types = get_type_hints(kind)
    for key, value in table.items():
        wanted = expected(types[key], value)
        if wanted:
            raise GcbenchError(f"{where}: {key} must be {wanted}, got {value!r}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})


def read_recipe(name_or_path: str) -> Recipe:
    """Read and check a recipe, a shipped one by name or any TOML file by path.

    Raises:
        GcbenchError: no such recipe (the nearest name is suggested), no TOML, a wrong key or value.
    """
    path = Path(name_or_path) if name_or_path.endswith(".toml") else _shipped(name_or_path)
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise GcbenchError(f"no recipe at {path}", hint="check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GcbenchError(f"{path} is no TOML file: {error}", hint="mend the line named") from None
    optimizer = from_table(OptimizerSpec, table.pop("optimizer", {}), f"[optimizer] of {path.name}")
    given = {"name": path.stem, "optimizer": optimizer, **table}
    return checked(from_table(Recipe, given, path.name))


def _shipped(name: str) -> Path:
    folder = resource("baselines/recipes")
    known = sorted(p.stem for p in folder.glob("*.toml"))
    if name not in known:
        raise unknown_name("recipe", name, known)
    return folder / f"{name}.toml"


def adapted(recipe: Recipe, seed: int | None = None, accumulate: int | None = None) -> Recipe:
    """The recipe with what the command line replaces; a seed becomes a part of its name.

    Raises:
        GcbenchError: the batch cannot be cut so.
    """
    if seed is not None:
        recipe = dataclasses.replace(recipe, name=f"{recipe.name}-seed{seed}", seed=seed)
    if accumulate is not None:
        recipe = dataclasses.replace(recipe, accumulate=accumulate)
    return checked(recipe)


def checked(recipe: Recipe) -> Recipe:
    """The recipe itself. Raises GcbenchError for the first value that cannot be."""
    optimizer, name = recipe.optimizer, recipe.name
    for key, given, known in (
        ("task", recipe.task, tuple(TASKS)),
        ("precision", recipe.precision, ("bf16", "fp32")),
        ("weights", recipe.weights, ("fp16", "fp32")),
        ("optimizer", optimizer.name, ("adamw", "muon", "sgd")),
        ("schedule", optimizer.schedule, ("linear", "cosine", "constant")),
    ):
        if given not in known:
            raise unknown_name(f"{key} in recipe {name}", given, known)
    for key in ("steps", "batch_size", "evaluate_every", "accumulate"):
        value = getattr(recipe, key)
        if value < 1:
            raise GcbenchError(f"recipe {name}: {key} must be a positive integer, got {value}")
    for key, value in (
        ("learning_rate", optimizer.learning_rate),
        ("matrix_learning_rate", optimizer.matrix_learning_rate),
        ("weight_decay", optimizer.weight_decay),
        ("warmup_steps", optimizer.warmup_steps),
        ("clip_norm", optimizer.clip_norm),
        ("held_out", recipe.held_out),
    ):
        if value < 0:
            raise GcbenchError(f"recipe {name}: {key} must not be negative, got {value}")
    if not 0 <= recipe.ema < 1:
        raise GcbenchError(f"recipe {name}: ema must be from 0 to below 1, got {recipe.ema}")
    if recipe.batch_size % recipe.accumulate:
        raise GcbenchError(
            f"recipe {name}: a batch of {recipe.batch_size} cannot be cut into "
            f"{recipe.accumulate} equal micro-batches",
            hint="accumulate must divide batch_size",
        )
    if recipe.accumulate > 1 and recipe.task in WHOLE_BATCH_TASKS:
        raise GcbenchError(
            f"recipe {name}: accumulate is {recipe.accumulate}, but codes of a {recipe.task} are "
            "chosen by a whole batch",
            hint="leave accumulate out; such a network is trained by one process",
        )
    return recipe
