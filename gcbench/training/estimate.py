"""What a recipe would cost, from micro-batches measured on this machine; nothing is kept."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gcbench.errors import GcbenchError
from gcbench.streams import stream
from gcbench.training.data import DATA, Split, training_splits
from gcbench.training.optim import build_optimizers
from gcbench.training.recipe import ENCODED_TASKS, Recipe
from gcbench.training.tasks import Batch, Task, Workplace, build_task, in_training

# What a network's number of equal blocks is called, of the tasks whose networks have them.
DEPTHS = {
    "classifier": "depth",
    "dino": "depth",
    "diffusion": "depth",
    "llamagen": "n_layer",
    "randar": "n_layer",
    "reg": "depth",
    "repa": "depth",
}
# Depths and images that larger networks and micro-batches are extended from.
_SHALLOW, _FEW = (1, 3), (1, 4)
_REPEATS = 2
_LONGEST_SECONDS = 60.0  # of a micro-batch that is measured whole
_MEMORY_SHARE = 0.5  # of this machine's, that a measurement may take

# 40 % of the dense bf16 peak of an H100 SXM, 989 TFLOP/s, which large transformers reach.
GPU_FLOPS, GPU = 4e14, "a GPU that does 400 TFLOP/s (40 % of an H100's peak)"


@dataclass(frozen=True)
class Cost:
    """Of one micro-batch; everything is linear in the depth of the network, and in the images.

    Attributes:
        parameters, trained: of the module in training; those with gradients.
        optimizer_bytes: what the optimizers remember.
        activation_bytes: what is kept for the backward pass.
        seconds: of forward, backward and update, uncompiled, the best of some.
        flops: multiplications and additions of forward and backward.
        tokens: the length of the longest sequence of an image; 0 for networks without any.
        building: seconds that it took to make the network and to encode the images.
    """

    parameters: float
    trained: float
    optimizer_bytes: float
    activation_bytes: float
    seconds: float
    flops: float
    tokens: float
    building: float

    def extended(self, larger: Cost, sizes: tuple[int, int], size: int) -> Cost:
        """At another size, on the line through this one's and ``larger``'s."""
        ahead = (size - sizes[0]) / (sizes[1] - sizes[0])

        def at(name: str) -> float:
            here, there = getattr(self, name), getattr(larger, name)
            return float(here + ahead * max(0.0, there - here))

        return Cost(**{f.name: at(f.name) for f in fields(Cost)})

    def memory_bytes(self, ema: bool) -> dict[str, float]:
        """Of one process, by what it holds; all weights are float32."""
        held = {
            "weights": 4 * self.parameters,
            "gradients": 4 * self.trained,
            "optimizer": self.optimizer_bytes,
            "activations": self.activation_bytes,
        }
        return {**held, "average": 4 * self.parameters} if ema else held


def estimate(recipe: Recipe, data_root: Path, device: torch.device) -> list[str]:
    """Lines that say what training the recipe takes; nothing is written.

    Args:
        device: where to measure.

    Raises:
        GcbenchError: a wrong recipe, or such as is not trained step by step.
    """
    if recipe.options.get("solver") == "logistic":
        raise GcbenchError(
            f"recipe {recipe.name} is solved, not trained step by step", hint="train it: minutes"
        )
    micro = recipe.batch_size // recipe.accumulate
    with TemporaryDirectory() as work:
        cost, how = _found(recipe, micro, Path(work), device)
    steps, images = recipe.steps, recipe.steps * recipe.batch_size
    try:
        size = len(training_splits(recipe, data_root)[0].labels)
        epochs = f", {images / size:.1f} epochs of {size:,}"
    except GcbenchError as missing:
        epochs = f" (epochs unknown: {missing.message})"
    held = cost.memory_bytes(bool(recipe.ema))
    each = ", ".join(f"{name} {_bytes(value)}" for name, value in held.items())
    batches = steps * recipe.accumulate
    return [
        f"recipe      {recipe.name} (task {recipe.task})",
        f"steps       {steps:,} of {recipe.batch_size} images, cut into micro-batches of {micro}",
        f"images      {images:,}{epochs}",
        f"tokens      {images * int(cost.tokens):,}, {int(cost.tokens)} per image"
        if cost.tokens
        else "tokens      none",
        f"parameters  {int(cost.parameters):,}, {int(cost.trained):,} of them trained",
        f"memory      {_bytes(sum(held.values()))} per process: {each}",
        f"operations  {cost.flops * batches:.3g}, {cost.flops / 1e12:.3g} TFLOP per micro-batch",
        f"time        {cost.seconds * batches / 3600:,.3g} hours on one {device.type} of this "
        f"machine, {cost.seconds:.3g} s per micro-batch, without evaluations and data loading",
        f"GPU-hours   {cost.flops * batches / GPU_FLOPS / 3600:,.3g} on {GPU}",
        f"measured    {how}, uncompiled, in {recipe.precision} on the {device.type}",
    ]


def _found(recipe: Recipe, micro: int, work: Path, device: torch.device) -> tuple[Cost, str]:
    """The cost of a micro-batch, and how it was found."""
    depth = recipe.model.get(DEPTHS.get(recipe.task, ""), 0)
    images = _FEW if micro > max(_FEW) else (micro,)
    depths = _SHALLOW if depth > max(_SHALLOW) else (depth,)

    def of_micro_batch(given: Recipe) -> Cost:
        costs = [_measured(given, count, work, device) for count in images]
        return costs[0].extended(costs[1], _FEW, micro) if len(costs) > 1 else costs[0]

    if len(depths) > 1:
        flat, deeper = (of_micro_batch(_of_depth(recipe, d)) for d in _SHALLOW)
        whole = flat.extended(deeper, _SHALLOW, depth)
    else:
        whole = of_micro_batch(recipe)
    memory = sum(whole.memory_bytes(bool(recipe.ema)).values())
    quick = whole.seconds + whole.building <= _LONGEST_SECONDS
    if len(images) == len(depths) == 1:
        return whole, f"a micro-batch of {micro} images"
    if quick and memory <= _MEMORY_SHARE * _memory_of(device):
        return _measured(recipe, micro, work, device), f"a micro-batch of {micro} images"
    few = f"{_FEW[0]} and {_FEW[1]} of {micro} images" if len(images) > 1 else f"{micro} images"
    at = f" at depths {_SHALLOW[0]} and {_SHALLOW[1]} of {depth}" if len(depths) > 1 else ""
    return whole, f"too large to be measured whole here: {few}{at}, extended linearly"


def _of_depth(recipe: Recipe, depth: int) -> Recipe:
    model = {**recipe.model, DEPTHS[recipe.task]: depth}
    if "encoder_depth" in model:  # after how many blocks REPA reads features
        model["encoder_depth"] = min(depth, model["encoder_depth"])
    return replace(recipe, model=model)


def _measured(recipe: Recipe, images: int, work: Path, device: torch.device) -> Cost:
    """Of one micro-batch of so many invented images."""
    started = time.perf_counter()
    task = _task(recipe, images, work)
    building = time.perf_counter() - started
    if hasattr(task, "last_stage"):
        task.last_stage()
    module = in_training(task.module, device).train()
    optimizers = build_optimizers(module, recipe.optimizer)
    batch = task.batch(torch.arange(images), stream("estimate"))
    batch = tuple(tensor.to(device) for tensor in batch)
    tokens, hooks = _longest(module)
    step = _Step(task, optimizers, recipe.precision == "bf16", batch, device)
    kept = _Kept(module)
    # Fused attention is not counted, so the operations are counted without.
    with kept.watched(), _Operations() as counter, sdpa_kernel(SDPBackend.MATH):
        step()
    for hook in hooks:
        hook.remove()
    kept.bytes = 0
    with kept.watched():
        step()
    seconds = min(step() for _ in range(_REPEATS))
    remembered = (s for o in optimizers for state in o.state.values() for s in state.values())
    sizes = (t.numel() * t.element_size() for t in remembered if isinstance(t, Tensor))
    parameters = list(module.parameters())
    return Cost(
        parameters=sum(p.numel() for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        optimizer_bytes=sum(sizes),
        activation_bytes=kept.bytes,
        seconds=seconds,
        flops=counter.total,
        tokens=recipe.model.get("block_size", max(tokens, default=0)),
        building=building,
    )


def _task(recipe: Recipe, images: int, work: Path) -> Task:
    """The recipe's task on invented images, of which one is held out, and untrained encoders."""
    options = dict(recipe.options)
    if recipe.task in ENCODED_TASKS:
        options["views"] = 1
    side = options.get("image_size", 32)
    colours = () if recipe.data in DATA else (3,)
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (images + 1, side, side, *colours), dtype=np.uint8)
    classes = recipe.model.get("num_classes", recipe.model.get("classes", 10))
    if options.get("pairs"):
        classes = round(classes**0.5)
    # The last class is among them: labels say how many classes there are.
    labels = np.arange(classes - 1, classes + images) % classes
    split = Split(pixels, labels.astype(np.int64))
    given = replace(recipe, options=options)
    parts = split.cut(0, images), split.cut(images, images + 1)
    return build_task(given, *parts, Workplace(None, work, lambda line: None))


class _Step:
    """One forward and backward pass and update; returns its seconds."""

    def __init__(
        self,
        task: Task,
        optimizers: list[torch.optim.Optimizer],
        bf16: bool,
        batch: Batch,
        device: torch.device,
    ) -> None:
        self.task, self.optimizers, self.batch = task, optimizers, batch
        self.device, self.bf16 = device, bf16

    def __call__(self) -> float:
        self._wait()
        started = time.perf_counter()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = self.task.losses(*self.batch)
        losses["loss"].backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _Operations(TorchDispatchMode):
    """Floating-point operations of matrix products and convolutions.

    ``FlopCounterMode`` also says which module they belong to, and with that it does not allow
    gradients of the input, which adversarial training takes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


class _Kept:
    """Bytes that are kept for the backward pass beside the weights, each storage once."""

    def __init__(self, module: nn.Module) -> None:
        self.bytes = 0
        held = [*module.parameters(), *module.buffers()]
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in held}

    def watched(self) -> saved_tensors_hooks:
        seen = set(self._seen)

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                self.bytes += storage.nbytes()
            return tensor

        return saved_tensors_hooks(pack, lambda tensor: tensor)


def _longest(module: nn.Module) -> tuple[list[int], list[torch.utils.hooks.RemovableHandle]]:
    """Lengths of all sequences that linear layers are given, and the hooks that find them."""
    lengths: list[int] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given[0].ndim == 3:
            lengths.append(given[0].shape[1])

    layers = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    return lengths, [layer.register_forward_pre_hook(note) for layer in layers]


def _memory_of(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _bytes(value: float) -> str:
    return f"{value / 1e9:.2f} GB" if value >= 1e8 else f"{value / 1e6:.2f} MB"
