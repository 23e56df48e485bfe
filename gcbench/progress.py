"""What a run shows while it goes on: images, accuracy so far, speed, time left, and who works."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.plan import PlannedRun
from gcbench.store import Shard

if TYPE_CHECKING:
    from rich.console import Console

Decide = Callable[[Shard], Any]


class Tally:
    """Counts samples, hits and each worker's share as shards arrive.

    `started` is a worker's or the whole's first moment; shards that were there before it count as
    done but not towards the speed.
    """

    def __init__(self, planned: PlannedRun, decide: Decide, clock: Callable[[], float]):
        self.classes = np.array(planned.spec.classes)
        self.decide = decide
        self.clock = clock
        self.started = clock()
        self.already = planned.run.present()
        self.seen = self.correct = self.settled = self.fresh = 0
        self.workers: Counter[str] = Counter()

    def add(self, shard: Shard) -> None:
        """Takes a shard in."""
        if len(shard.labels):
            predicted = self.classes[self.decide(shard)]
            self.correct += int((predicted == np.array(shard.labels)).sum())
        self.seen += len(shard.labels)
        samples = len(shard.labels) + len(shard.failures)
        self.settled += samples
        if shard.index not in self.already:
            self.fresh += samples
            self.workers[shard.worker] += samples

    @property
    def accuracy(self) -> str:
        return f"accuracy {self.correct / self.seen:.3f}" if self.seen else ""

    @property
    def speed(self) -> str:
        """Images per second of all workers together, of what was scored since the start."""
        passed = self.clock() - self.started
        return f"{self.fresh / passed:.2f} images/s" if self.fresh and passed > 0 else ""

    def shares(self) -> list[str]:
        """A line per worker where there are several: images and images per second."""
        if len(self.workers) < 2:
            return []
        passed = max(self.clock() - self.started, 1e-9)
        return [
            f"{worker or 'unnamed'}: {images} images, {images / passed:.2f}/s"
            for worker, images in sorted(self.workers.items())
        ]


@contextmanager
def shown(
    planned: PlannedRun, console: Console, decide: Decide
) -> Iterator[Callable[[Shard], None]]:
    """A progress display for the block, fed by calling what it yields with each shard.

    Where there is no terminal, as in the log of a job, a line for every tenth of the images.
    """
    from rich.console import Group
    from rich.live import Live
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    tally = Tally(planned, decide, time.monotonic)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[accuracy]}"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        speed_estimate_period=300,
    )
    title, total = f"{planned.spec.method} · {planned.spec.benchmark}", len(planned.benchmark)
    task = bar.add_task(title, total=total, accuracy="", speed="")
    with Live(bar, console=console, transient=True) as live:

        def show(shard: Shard) -> None:
            before = 10 * tally.settled // total
            tally.add(shard)
            if not console.is_terminal and before < 10 * tally.settled // total < 10:
                parts = (f"{tally.settled}/{total} images", tally.accuracy, tally.speed)
                console.print(" · ".join([title, *filter(None, parts)]), highlight=False)
            bar.update(task, completed=tally.settled, accuracy=tally.accuracy, speed=tally.speed)
            live.update(Group(bar, *(Text(f"  {line}") for line in tally.shares())))

        yield show
