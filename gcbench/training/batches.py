"""Which images a step sees, cut into micro-batches and read ahead of a GPU."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice, product

import torch
from torch import Tensor

from gcbench.streams import stream
from gcbench.training.recipe import Recipe
from gcbench.training.tasks import Batch, Task

_MOST_READERS = 8


class Batches:
    """The micro-batches that one process computes, in order.

    What is in one follows from the recipe, the step and its place in the step alone, so neither
    threads nor the number of processes can change it.

    Args:
        size: of the training data, in images.
        share: which micro-batches of every step are this process's.
        readers: threads that draw micro-batches ahead of their use; 0 draws each when it is used.
    """

    def __init__(
        self, recipe: Recipe, task: Task, size: int, share: range, readers: int = 0
    ) -> None:
        self.recipe, self.task, self.size = recipe, task, size
        self.share, self.readers = share, readers
        self._order = lru_cache(maxsize=2)(self._permutation)

    def rows(self, step: int) -> Tensor:
        """All images of a step, ``[B]``: each epoch is a permutation, cut into full batches."""
        size = self.recipe.batch_size
        epoch, index = divmod(step, self.size // size)
        return self._order(epoch)[index * size : (index + 1) * size]

    def _permutation(self, epoch: int) -> Tensor:
        shuffle = stream(self.recipe.name, "epoch", self.recipe.seed, epoch)
        return torch.randperm(self.size, generator=shuffle)

    def draw(self, step: int, part: int) -> tuple[Batch, torch.Generator]:
        """A micro-batch, and its random stream for what is still to be drawn."""
        recipe = self.recipe
        names = (step,) if recipe.accumulate == 1 else (step, part)
        generator = stream(recipe.name, "step", recipe.seed, *names)
        rows = self.rows(step).chunk(recipe.accumulate)[part]
        return self.task.batch(rows, generator), generator

    def since(self, start: int) -> Generator[tuple[Batch, torch.Generator], None, None]:
        """All micro-batches of the steps from ``start`` to the last."""
        places = product(range(start, self.recipe.steps), self.share)
        if not self.readers:
            yield from (self.draw(*place) for place in places)
            return
        pool = ThreadPoolExecutor(self.readers)
        try:
            ahead = islice(places, 2 * self.readers)
            drawn = deque(pool.submit(self.draw, *place) for place in ahead)
            while drawn:
                ready = drawn.popleft().result()
                drawn.extend(pool.submit(self.draw, *place) for place in islice(places, 1))
                yield ready
        finally:
            pool.shutdown(cancel_futures=True)


def readers_for(device: torch.device) -> int:
    """Threads beside a GPU; none beside a processor, which has its hands full with the network."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores = (os.cpu_count() or 1) // beside
    return 0 if device.type == "cpu" else max(1, min(_MOST_READERS, cores - 1))
