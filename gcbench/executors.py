"""Which processes do a run's work: this one, one per device, the actors of a Ray cluster."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.plan import PlannedRun

EXECUTORS = ("local", "ray")
RunOne = Callable[..., bool]
Note = Callable[[str], object]
Stop = Callable[[], int | None]


@dataclass(frozen=True)
class Sharing:
    """How a run is shared out among processes.

    Attributes:
        part: (i, n) computes the i-th of n equal parts of every run and waits for no other.
        devices: starts a process of `command` on each of these, see `engine.devices`.
        kind: one of EXECUTORS; `ray` uses the cluster at `address`, or starts one here.
        worker: of a process that another started, that one's id: it shows nothing, waits for no
            other, and stops when the other is gone.

    Raises:
        GcbenchError: the choices contradict each other.
    """

    part: tuple[int, int] = (1, 1)
    devices: str | None = None
    kind: str = "local"
    address: str | None = None
    worker: int | None = None
    command: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.address is not None and self.kind != "ray":
            raise GcbenchError(
                f"--address {self.address} is that of a Ray cluster", hint="add --executor ray"
            )
        if self.kind == "ray" and self.part != (1, 1):
            raise GcbenchError(
                "--executor ray shares out the shards itself", hint="leave --shard out"
            )

    @property
    def whole(self) -> bool:
        """Whether the run is to be complete when this process is done with it."""
        return self.part == (1, 1) and self.worker is None

    def until(self, stop: Stop) -> Stop:
        """`stop`, which for a worker also says so when the process that started it is gone."""

        def asked() -> int | None:
            orphaned = self.worker is not None and os.getppid() != self.worker
            return signal.SIGTERM if orphaned else stop()

        return asked


ALONE = Sharing()


def executor(
    sharing: Sharing, rerun: str, make_plan: Callable[[], list[PlannedRun]], note: Note
) -> AbstractContextManager[RunOne]:
    """What executes planned runs, one after the other, for the block.

    It is called as `engine.run.execute` is, with batch_size, rerun, stop and on_shard, and returns
    whether the run is complete.

    Args:
        make_plan: gives the same plan in another process.
        note: called with a line when a worker dies.
    """
    if sharing.kind == "ray":
        from gcbench.engine.ray_cluster import cluster

        return cluster(make_plan, address=sharing.address, devices=sharing.devices, note=note)
    if sharing.devices is not None:
        return _processes(sharing, sharing.devices, rerun, note)
    return _here(sharing)


@contextmanager
def _here(sharing: Sharing) -> Iterator[RunOne]:
    def run_one(planned: PlannedRun, **how: Any) -> bool:
        device = planned.method.runtime.device
        name = f"{socket.gethostname()}:{os.getpid()} {device}"
        return execute(planned, part=sharing.part, wait=sharing.whole, worker=name, **how)

    yield run_one


@contextmanager
def _processes(sharing: Sharing, devices: str, rerun: str, note: Note) -> Iterator[RunOne]:
    import torch

    from gcbench.engine.devices import places, usable_cores
    from gcbench.engine.processes import Team, Worker, team, watch

    found = places(devices, gpus=torch.cuda.device_count(), cores=usable_cores())
    workers = []
    for number, place in enumerate(found):
        # Locks share out what is missing. What is there already has no such mark: equal parts.
        mine = sharing if rerun == "missing" else part_of(sharing, number, len(found))
        own = ["--devices", "", "--device", place.device, "--worker", str(os.getpid())]
        own += ["--shard", "{}/{}".format(*mine.part)]
        workers.append(Worker(place, [*sharing.command, *own]))
    with ExitStack() as stack:
        started: list[Team] = []

        def run_one(planned: PlannedRun, *, batch_size: int | None, **how: Any) -> bool:
            if rerun == "missing" and not planned.missing_shards:
                return execute(planned, **how)
            if not started:
                started.append(stack.enter_context(team(workers, note)))
            return watch(planned, started[0], **how)

        yield run_one


def part_of(sharing: Sharing, number: int, count: int) -> Sharing:
    """The `number`-th (from 0) of `count` equal parts of what is shared."""
    index, parts = sharing.part
    return replace(sharing, part=(index + number * parts, parts * count))
