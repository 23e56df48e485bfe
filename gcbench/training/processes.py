"""The processes that share one training: who does what, and what they tell each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor, nn

from gcbench.errors import USER_ERROR, GcbenchError
from gcbench.training.recipe import Recipe

T = TypeVar("T")

# Values of gradients that are sent at once: large enough that no link waits for small messages.
_BUCKET = 25_000_000

# The others wait while the main process encodes images or evaluates. A process that died is noticed
# by the launcher, so this only bounds how long they may wait.
_PATIENCE = timedelta(hours=24)


class Processes:
    """This process among those that torchrun, ``accelerate launch`` or the like have started.

    Attributes:
        count: how many there are.
        rank: which one this is; 0 is the main one, which alone writes, evaluates and prints.
        device: where it computes.
    """

    def __init__(self) -> None:
        # Accelerate fixes its precision once per process; each trainer enters its recipe's.
        self._accelerator = Accelerator(
            mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)]
        )
        self.count: int = self._accelerator.num_processes
        self.rank: int = self._accelerator.process_index
        self.device: torch.device = self._accelerator.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, recipe: Recipe) -> range:
        """Which of a step's micro-batches this process computes.

        Raises:
            GcbenchError: they cannot be dealt out evenly.
        """
        each, left = divmod(recipe.accumulate, self.count)
        if left:
            raise GcbenchError(
                f"recipe {recipe.name}: {self.count} processes cannot share a step of "
                f"{recipe.accumulate} micro-batches evenly",
                hint=f"pass --accumulate with a multiple of {self.count}",
            )
        return range(self.rank * each, (self.rank + 1) * each)

    def check(self, module: nn.Module) -> None:
        """Raises GcbenchError for a network whose outcome would depend on the processes."""
        kinds = nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm
        if self.count > 1 and any(isinstance(part, kinds) for part in module.modules()):
            raise GcbenchError(
                "batch normalisation sees another batch in every process",
                hint="train this network by one process",
            )

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, which each must ask for."""
        if self.count == 1:
            return tensor
        total: Tensor = self._accelerator.reduce(tensor, reduction="sum")
        return total

    def sum_gradients(self, module: nn.Module) -> None:
        """Replace every gradient by its sum over the processes."""
        self._sum_each([p.grad for p in module.parameters() if p.grad is not None])

    def counters(self, module: nn.Module) -> dict[str, Tensor]:
        """What the losses may add to, as it is before a step: buffers that a checkpoint holds."""
        if self.count == 1:
            return {}
        names = module.state_dict().keys()
        found = {name: value for name, value in module.named_buffers() if name in names}
        return {k: v.clone() for k, v in found.items() if v.dtype is not torch.bool}

    def sum_counted(self, module: nn.Module, before: dict[str, Tensor]) -> None:
        """Add what the other processes have added since ``counters`` was asked."""
        now = {name: value for name, value in module.named_buffers() if name in before}
        added = [now[name] - value for name, value in before.items()]
        self._sum_each(added)
        for (name, value), more in zip(before.items(), added, strict=True):
            now[name].copy_(value + more)

    def _sum_each(self, tensors: list[Tensor]) -> None:
        """Sums in place, a few large messages for all."""
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            totals = self.sum(torch.cat([tensor.flatten() for tensor in bucket]))
            sizes = [tensor.numel() for tensor in bucket]
            for tensor, total in zip(bucket, totals.split(sizes), strict=True):
                tensor.copy_(total.view_as(tensor))

    def main_does(self, work: Callable[[], T]) -> T | None:
        """The main process works while the others wait; they end quietly where it fails.

        Returns:
            What ``work`` returned; None in the other processes.
        """
        if self.count == 1:
            return work()
        result, failure = None, None
        if self.is_main:
            try:
                result = work()
            except BaseException as error:  # re-raised below, once the others know
                failure = error
        failed = self.sum(torch.tensor(float(failure is not None), device=self.device))
        if failure is not None:
            raise failure
        if failed:
            raise SystemExit(USER_ERROR)
        return result

    def seen_by_all(self, error: GcbenchError) -> BaseException:
        """What a process raises for an error that all have met: only the main one says it."""
        return error if self.is_main else SystemExit(error.exit_code)

    def end(self) -> None:
        """Part from the others; left to the end of the process, this may abort it."""
        if self.count > 1:
            self._accelerator.end_training()


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type each, up to :data:`_BUCKET` values where not one alone has more."""
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        bucket = by_type.setdefault(tensor.dtype, [])
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET:
            yield by_type.pop(tensor.dtype)
            bucket = by_type.setdefault(tensor.dtype, [])
        bucket.append(tensor)
    yield from by_type.values()
