"""The training loop: resumable, and the same curve whether it was interrupted or not.

Every random draw of step ``s`` comes from streams named by (recipe seed, s), so a checkpoint needs
no generator state: weights, optimiser state and the step decide all that follows.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gcbench.errors import GcbenchError
from gcbench.streams import stream
from gcbench.training.data import training_splits
from gcbench.training.optim import build_optimizers, schedule
from gcbench.training.publish import publish
from gcbench.training.recipe import Recipe
from gcbench.training.tasks import Task, build_task


@dataclass
class Progressed:
    """How far a training is: optimiser steps, seconds of all its sessions, rows of the curve."""

    step: int
    seconds: float
    curve: list[dict[str, float]]


def run(recipe: Recipe, data_root: Path, out: Path, work: Path) -> Path:
    """Train from scratch or from ``work``'s checkpoint, then publish; see :func:`..train`."""
    console = Console(stderr=True)
    train, held_out = training_splits(recipe, data_root)

    # Accelerate fixes its precision once per process, so the recipe's is entered by each trainer.
    accelerator = Accelerator(mixed_precision="no")
    if accelerator.num_processes > 1:
        raise GcbenchError("training runs in one process", hint="start it without a launcher")
    torch.manual_seed(recipe.seed)
    task = build_task(recipe, train, held_out, out, work, console.print)
    trainer = Trainer(recipe, task, accelerator, len(train.images), work, console)
    progressed = trainer.train()
    digest = train.followed_by(held_out).digest()
    return publish(recipe, task, digest, progressed.curve, progressed.seconds, out)


def _can_compile(device: torch.device) -> bool:
    """torch.compile needs a C++ compiler to build kernels for a processor."""
    compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
    return device.type != "cpu" or any(shutil.which(name) for name in compilers)


class Trainer:
    """Steps, evaluations and checkpoints of one task."""

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        accelerator: Accelerator,
        train_size: int,
        work: Path,
        console: Console,
    ) -> None:
        self.recipe, self.task, self.accelerator = recipe, task, accelerator
        self.train_size, self.console = train_size, console
        self.checkpoint = work / f"{recipe.name}.checkpoint.pt"
        task.module.to(accelerator.device)
        self.optimizers = build_optimizers(task.module, recipe.optimizer)
        compiled = recipe.compile and _can_compile(accelerator.device)
        if recipe.compile and not compiled:
            console.print("no C++ compiler found: training uncompiled, which is slower")
        self.losses = torch.compile(task.losses) if compiled else task.losses

    def train(self) -> Progressed:
        """All steps that are left; returns the state after the last one."""
        recipe, task = self.recipe, self.task
        state = self._resume()
        started = time.perf_counter() - state.seconds
        sums: dict[str, Tensor] = {}
        task.module.train()
        with self._progress(state) as advance:
            for step in range(state.step, recipe.steps):
                logged = self._step(step)
                for key, value in logged.items():
                    sums[key] = sums.get(key, torch.zeros(())) + value
                advance(logged["loss"])
                done = step + 1
                if done % recipe.evaluate_every and done != recipe.steps:
                    continue
                count = done - state.step
                row = {"step": float(done), "images": float(done * recipe.batch_size)}
                row |= {key: float(value) / count for key, value in sums.items()}
                row |= self._evaluate(last=done == recipe.steps)
                sums = {}
                state = Progressed(done, time.perf_counter() - started, [*state.curve, row])
                self._save(state)
                self.console.print(
                    "  ".join(f"{k} {v:.5g}" for k, v in row.items()) + f"  {state.seconds:.0f} s"
                )
        return state

    def _step(self, step: int) -> dict[str, Tensor]:
        recipe, device = self.recipe, self.accelerator.device
        generator = stream(recipe.name, "step", recipe.seed, step)
        batch = self.task.batch(self._rows(step), generator)
        spec = recipe.optimizer
        share = schedule(step, recipe.steps, spec.warmup_steps, spec.schedule)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
        with self._autocast():
            losses = self.losses(*(tensor.to(device) for tensor in batch))
        logged = {key: value.detach().float().cpu() for key, value in losses.items()}
        if not torch.isfinite(logged["loss"]):
            raise GcbenchError(
                f"recipe {recipe.name}: the loss is {logged['loss'].item()} at step {step}",
                hint=f"lower the learning rate; {self.checkpoint} holds the last good state",
            )
        self.accelerator.backward(losses["loss"])
        parameters = self.task.module.parameters()
        self.accelerator.clip_grad_norm_(parameters, recipe.optimizer.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.task.after_step(step, batch, generator)
        return logged

    def _autocast(self) -> torch.autocast:
        bf16 = self.recipe.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=bf16)

    def _rows(self, step: int) -> Tensor:
        """Rows of one batch: each epoch is a permutation of the images, cut into full batches."""
        size = self.recipe.batch_size
        batches = self.train_size // size
        epoch, index = divmod(step, batches)
        shuffle = stream(self.recipe.name, "epoch", self.recipe.seed, epoch)
        order = torch.randperm(self.train_size, generator=shuffle)
        return order[index * size : (index + 1) * size]

    def _evaluate(self, last: bool) -> dict[str, float]:
        self.task.module.eval()
        with torch.no_grad(), self._autocast():
            metrics = self.task.evaluate(last)
        self.task.module.train()
        return metrics

    def _save(self, state: Progressed) -> None:
        """Replace the checkpoint in one step: a crash leaves the previous one whole."""
        content = {
            "recipe": self.recipe.digest(),
            "step": state.step,
            "seconds": state.seconds,
            "curve": state.curve,
            "module": self.task.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(self.checkpoint)

    def _resume(self) -> Progressed:
        if not self.checkpoint.exists():
            return Progressed(0, 0.0, [])
        content: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        if content["recipe"] != self.recipe.digest():
            raise GcbenchError(
                f"{self.checkpoint} belongs to another version of recipe {self.recipe.name}",
                hint="remove it to start afresh, or pass another --work folder",
            )
        self.task.module.load_state_dict(content["module"])
        for optimizer, saved in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.console.print(f"{self.recipe.name}: resuming at step {content['step']}")
        return Progressed(content["step"], content["seconds"], content["curve"])

    @contextmanager
    def _progress(self, state: Progressed) -> Iterator[Any]:
        columns = (
            TextColumn(self.recipe.name),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
        )
        with Progress(*columns, console=self.console) as bar:
            handle = bar.add_task("", total=self.recipe.steps, completed=state.step, loss=0.0)
            yield lambda loss: bar.update(handle, advance=1, loss=loss.item())
