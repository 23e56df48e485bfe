"""The training loop: resumable, and the same curve whether it was interrupted or not.

Every random draw of step ``s`` comes from streams named by (recipe seed, s), so a checkpoint needs
no generator state: weights, optimiser state and the step decide all that follows. Processes deal
out the micro-batches of a step, so the recipe and not their number decides the outcome.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from gcbench.engine.interrupt import Interrupted, Stop, stop_on_signals
from gcbench.errors import GcbenchError, unknown_name
from gcbench.training.average import WeightAverage
from gcbench.training.batches import Batches, readers_for
from gcbench.training.data import Split, training_splits
from gcbench.training.extraction import remembered
from gcbench.training.logs import Log
from gcbench.training.optim import build_optimizers, schedule
from gcbench.training.processes import Processes
from gcbench.training.publish import publish
from gcbench.training.recipe import Recipe
from gcbench.training.saving import Chosen, Progressed, load_checkpoint, save_checkpoint
from gcbench.training.tasks import Batch, Task, Workplace, build_task, in_training

# Between evaluations, which may lie hours apart, a checkpoint is written as often.
_SAVE_SECONDS = 900.0
_STOPPING = "finishing the step at hand; the same signal once more stops at once"


def run(
    recipe: Recipe,
    data_root: Path,
    out: Path,
    work: Path,
    tensorboard: bool = False,
    features: Path | None = None,
) -> Path:
    """Train from scratch or from ``work``'s checkpoint, then publish; see :func:`..train`."""
    processes = Processes()
    console = Console(stderr=True, quiet=not processes.is_main)

    def read() -> tuple[Split, Split]:
        if features is None:
            return training_splits(recipe, data_root)
        return remembered(features, recipe)

    place = Workplace(out, features or work, console.print)

    def build() -> Task:
        torch.manual_seed(recipe.seed)
        task = build_task(recipe, train, held_out, place)
        processes.check(task.module)
        return task

    # The main process goes ahead: its mistakes are said once, what it has encoded the others read.
    processes.main_does(lambda: processes.share(recipe))
    train, held_out = processes.main_does(read) or read()
    task = processes.main_does(build) or build()
    share, readers = processes.share(recipe), readers_for(processes.device)
    batches = Batches(recipe, task, len(train.images), share, readers)
    log = Log(recipe, out, console, work / f"{recipe.name}.tensorboard" if tensorboard else None)
    trainer = Trainer(recipe, task, processes, batches, log, work)
    state = trainer.train()
    digest = train.followed_by(held_out).digest()
    processes.main_does(lambda: publish(recipe, task, digest, state, trainer.selected(state), out))
    processes.end()
    return out / f"{recipe.name}.safetensors"


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
        processes: Processes,
        batches: Batches,
        log: Log,
        work: Path,
    ) -> None:
        self.recipe, self.task, self.processes = recipe, task, processes
        self.batches, self.log = batches, log
        self.checkpoint = work / f"{recipe.name}.checkpoint.pt"
        in_training(task.module, processes.device)
        self.optimizers = build_optimizers(task.module, recipe.optimizer)
        averaged = recipe.ema and processes.is_main
        self.average = WeightAverage(task.module, recipe.ema) if averaged else None
        compiled = recipe.compile and _can_compile(processes.device)
        if recipe.compile and not compiled:
            log.console.print("no C++ compiler found: training uncompiled, which is slower")
        self.losses = torch.compile(task.losses) if compiled else task.losses
        self.drawn: Iterator[tuple[Batch, torch.Generator]] = iter(())
        self.stop = Stop()
        self.stopping: int | None = None

    def train(self) -> Progressed:
        """All steps that are left; returns the state after the last one."""
        recipe = self.recipe
        state = self._resume()
        if state.step == 0 and recipe.select:
            # A metric that no evaluation has is found out now, not after a thousand steps.
            self.processes.main_does(lambda: self._metric(self._evaluate(last=False)))
        started = time.perf_counter() - state.seconds
        saved = time.perf_counter()
        self.task.module.train()
        with (
            stop_on_signals(lambda _: self.log.console.print(_STOPPING)) as self.stop,
            self.log.running(state) as advance,
            closing(self.batches.since(state.step)) as self.drawn,
        ):
            for step in range(state.step, recipe.steps):
                logged = self._step(step)
                state.add(logged)
                advance(logged["loss"].item())
                now = time.perf_counter()
                state.seconds = now - started
                ends = state.step == recipe.steps
                if ends or state.step % recipe.evaluate_every == 0:
                    self.processes.main_does(partial(self._conclude, state))
                    state.sums = {}
                    saved = time.perf_counter()
                elif self.stopping:
                    self.processes.main_does(partial(self._save, state))
                elif now - saved > _SAVE_SECONDS and self.processes.is_main:
                    self._save(state)
                    saved = time.perf_counter()
                if self.stopping and not ends:
                    raise self.processes.seen_by_all(
                        Interrupted(f"stopped after step {state.step:,}", self.stopping)
                    )
        return state

    def _step(self, step: int) -> dict[str, Tensor]:
        recipe, spec, module = self.recipe, self.recipe.optimizer, self.task.module
        share = schedule(step, recipe.steps, spec.warmup_steps, spec.schedule, spec.floor)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
        logged, batch, generator = self._backward()
        if not torch.isfinite(logged["loss"]):
            raise self.processes.seen_by_all(
                GcbenchError(
                    f"recipe {recipe.name}: the loss is {logged['loss'].item()} at step {step}",
                    hint=f"lower the learning rate; {self._last_good()}",
                )
            )
        if spec.clip_norm:
            nn.utils.clip_grad_norm_(module.parameters(), spec.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.task.after_step(step, batch, generator)
        if self.average is not None:
            self.average.update()
        return logged

    def _backward(self) -> tuple[dict[str, Tensor], Batch, torch.Generator]:
        """Gradients of the mean loss of a step; what is logged, and the last micro-batch."""
        parts, device = self.recipe.accumulate, self.processes.device
        logged: dict[str, Tensor] = {}
        counted = self.processes.counters(self.task.module)
        for _ in self.batches.share:
            batch, generator = next(self.drawn)
            # What a network drops follows from the place of the micro-batch, as all that is drawn.
            torch.manual_seed(generator.initial_seed())
            with self._autocast():
                losses = self.losses(*(tensor.to(device) for tensor in batch))
            (losses["loss"] / parts).backward()
            for key, value in losses.items():
                mean = value.detach().float() / parts
                logged[key] = logged[key] + mean if key in logged else mean
        self.processes.sum_gradients(self.task.module)
        self.processes.sum_counted(self.task.module, counted)
        # A signal that one process was sent stops all of them after the same step.
        asked = torch.tensor(float(self.stop() is not None), device=device)
        *means, asked = self.processes.sum(torch.stack([*logged.values(), asked])).cpu()
        self.stopping = (self.stop() or signal.SIGTERM) if asked else None
        return dict(zip(logged, means, strict=True)), batch, generator

    def _autocast(self) -> torch.autocast:
        bf16 = self.recipe.precision == "bf16"
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=bf16)

    def _evaluate(self, last: bool) -> dict[str, float]:
        averaged = nullcontext() if self.average is None else self.average.applied()
        self.task.module.eval()
        with torch.no_grad(), self._autocast(), averaged:
            metrics = self.task.evaluate(last)
        self.task.module.train()
        return metrics

    def _metric(self, metrics: dict[str, float]) -> float:
        if self.recipe.select not in metrics:
            raise unknown_name(
                f"metric to select by in recipe {self.recipe.name}", self.recipe.select, metrics
            )
        return metrics[self.recipe.select]

    def _conclude(self, state: Progressed) -> None:
        """Evaluates, and takes everything down in ``state`` and on disk."""
        recipe, done = self.recipe, state.step
        metrics = self._evaluate(last=done == recipe.steps)
        row = {"step": float(done), "images": float(done * recipe.batch_size)}
        state.curve.append({**row, **state.means(), **metrics})
        state.sums = {}
        if recipe.select:
            value = self._metric(metrics)
            if value > (-math.inf if state.chosen is None else state.chosen.value):
                state.chosen = Chosen(done, value, self._weights())
        self._save(state)
        self.log.evaluated(state)

    def _save(self, state: Progressed) -> None:
        average = {} if self.average is None else self.average.weights
        tensors = {
            "module": self.task.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": average,
        }
        save_checkpoint(self.checkpoint, self.recipe, state, tensors)

    def _weights(self) -> dict[str, Tensor]:
        """A copy of what an evaluation sees."""
        averaged = nullcontext() if self.average is None else self.average.applied()
        with averaged:
            found = self.task.module.state_dict()
            return {name: value.detach().to("cpu", copy=True) for name, value in found.items()}

    def selected(self, state: Progressed) -> dict[str, float]:
        """Loads what is to be published; step and metrics of it where the recipe selects."""
        weights = self._weights() if state.chosen is None else state.chosen.weights
        self.task.module.load_state_dict(weights)
        self.average = None
        if state.chosen is None:
            return {}
        return {"step": float(state.chosen.step), **self._evaluate(last=True)}

    def _resume(self) -> Progressed:
        state, tensors = load_checkpoint(self.checkpoint, self.recipe)
        if state.step == 0:
            return state
        self.task.module.load_state_dict(tensors["module"])
        for optimizer, saved in zip(self.optimizers, tensors["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self.average is not None:
            self.average.load(tensors["average"])
        self.log.console.print(f"{self.recipe.name}: resuming at step {state.step}")
        return state

    def _last_good(self) -> str:
        if self.checkpoint.exists():
            return f"{self.checkpoint} holds the last good state"
        return "no checkpoint was written yet"
