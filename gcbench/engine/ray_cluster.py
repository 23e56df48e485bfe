"""Shards as work of a Ray cluster: actors score them, the driver stores them.

An actor plans the run anew from plain values, holds its networks once, and sends back scores; so
the nodes need the data and the checkpoints, and only the driver needs the results folder. The
driver holds a shard's lock while it is out, so other processes can share the run as ever.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from gcbench.engine.locks import exclusive
from gcbench.engine.run import (
    POLL_SECONDS,
    BatchSize,
    OnShard,
    ShardScorer,
    conclude,
    due,
    stopped,
)
from gcbench.errors import GcbenchError
from gcbench.plan import PlannedRun
from gcbench.store import Shard

TRIES = 3  # of a shard; what kills three workers will kill the next
MakePlan = Callable[[], list[PlannedRun]]


class Scorer:
    """What runs in an actor: the plan, and the networks of the run at hand."""

    def __init__(self, make_plan: MakePlan, batch_size: int | None):
        self.make_plan = make_plan
        self.batch_size = batch_size
        self.planned: dict[str, PlannedRun] = {}
        self.scorer: ShardScorer | None = None

    def score(self, run_name: str, index: int) -> tuple[Shard, BatchSize]:
        """The scores of one shard of a run, and the batch size that they took."""
        if not self.planned:
            self.planned = {one.run.name: one for one in self.make_plan()}
        planned = self.planned[run_name]
        if self.scorer is None or self.scorer.planned is not planned:
            # Where the results folder is not shared, what a strategy measures first is kept here.
            planned.run.begin(planned.record())
            self.scorer = ShardScorer(planned, self.batch_size)
        shard = replace(self.scorer(index), worker=f"{socket.gethostname()}:{os.getpid()}")
        return shard, self.scorer.size


@dataclass
class Task:
    """A shard that an actor is at, and what releases its lock."""

    index: int
    actor: Any
    lock: ExitStack


@contextmanager
def cluster(
    make_plan: MakePlan, *, address: str | None, devices: str | None, note: Callable[[str], object]
) -> Iterator[Callable[..., bool]]:
    """Connects to a cluster, or starts one here, and yields what executes a planned run on it.

    Args:
        make_plan: gives the same plan in every process; sent to the actors.
        address: as `ray.init` takes it; None starts a cluster on this machine.
        devices: how many actors; by default one per GPU of the cluster, or per node without any.

    Raises:
        GcbenchError: Ray is not installed or cannot be reached, or `devices` is no number.
    """
    ray = _ray()
    if devices is not None and not (devices.isdigit() and int(devices)):
        raise GcbenchError(
            f"--devices {devices}: with --executor ray it is the number of workers",
            hint="Ray places them itself",
        )
    try:
        ray.init(
            address=address or "local",
            num_cpus=None if address or devices is None else int(devices),
            include_dashboard=None if address else False,
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise GcbenchError(
            f"no Ray cluster at {address or 'this machine'} ({str(error).splitlines()[0]})",
            hint="start one with `ray start`, or leave --address out",
        ) from error
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        count = int(devices) if devices else gpus or len(ray.nodes())
        needs = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        kind = ray.remote(**needs)(Scorer)
        crew: list[Any] = []

        def run_one(planned: PlannedRun, *, batch_size: int | None, **how: Any) -> bool:
            def hire() -> Any:
                return kind.remote(make_plan, batch_size)

            if not crew:
                crew.extend(hire() for _ in range(count))
            return execute_on(crew, planned, hire=hire, batch_size=batch_size, note=note, **how)

        yield run_one
    finally:
        ray.shutdown()


def execute_on(
    crew: list[Any],
    planned: PlannedRun,
    *,
    hire: Callable[[], Any],
    batch_size: int | None,
    rerun: str,
    stop: Callable[[], int | None],
    on_shard: OnShard,
    note: Callable[[str], object],
) -> bool:
    """Has actors compute the shards that the store lacks; as `engine.run.execute` otherwise.

    An actor that dies is replaced in `crew` by the one that `hire` gives.

    Raises:
        Interrupted: it was asked to stop; what was out is stored.
        GcbenchError: a person must mend something, or a shard has killed too many workers.
    """
    ray, run = _ray(), planned.run
    run.begin(planned.record(), anew=rerun == "all")
    size, computed = ShardScorer(planned, batch_size).size, False
    todo, idle = deque(range(planned.shard_count)), list(crew)
    out: dict[Any, Task] = {}
    tries: dict[int, int] = {}
    try:
        while todo or out:
            signum = stop()
            while todo and idle and signum is None:
                index, lock = todo.popleft(), ExitStack()
                path = run.path / "locks" / f"{index:05d}"
                if not lock.enter_context(exclusive(path, wait=False)):
                    lock.close()
                    todo.append(index)
                    break
                if due(run, index, rerun):
                    actor = idle.pop()
                    out[actor.score.remote(run.name, index)] = Task(index, actor, lock)
                else:
                    lock.close()
                    on_shard(run.read_shard(index))
            if signum is not None and not out:
                raise stopped(planned, signum)
            if not out:
                time.sleep(POLL_SECONDS)
                continue
            ready, _ = ray.wait(list(out), num_returns=1, timeout=POLL_SECONDS)
            for reference in ready:
                task = out.pop(reference)
                with task.lock:
                    try:
                        shard, needed = ray.get(reference)
                        idle.append(task.actor)
                    except ray.exceptions.RayActorError as error:
                        # It may be out of reach and not dead: its place must be free in any case.
                        ray.kill(task.actor)
                        crew[crew.index(task.actor)] = fresh = hire()
                        idle.append(fresh)
                        tries[task.index] = tries.get(task.index, 0) + 1
                        reason = str(error).splitlines()[0]
                        if tries[task.index] == TRIES:
                            raise GcbenchError(
                                f"shard {task.index} has killed {TRIES} workers: {reason}",
                                hint="run without --executor to see the error where it happens",
                                exit_code=1,
                            ) from error
                        note(f"a worker died at shard {task.index} ({reason}); it is tried again")
                        todo.appendleft(task.index)
                    except ray.exceptions.RayTaskError as error:
                        if isinstance(error.cause, GcbenchError):
                            raise error.cause from error
                        raise
                    else:
                        run.write_shard(shard)
                        on_shard(shard)
                        size, computed = min(size, needed, key=lambda s: s.value), True
    finally:
        for task in out.values():
            task.lock.close()
    return conclude(planned, size, computed=computed)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise GcbenchError(
            "--executor ray needs the package ray", hint="pip install 'gcbench[ray]'"
        ) from None
    return ray
