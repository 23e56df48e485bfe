"""Worker processes on this machine: started, watched, restarted when they die, stopped together.

Each is the same command on a device of its own. They share out the shards by their locks and know
nothing of each other; the parent looks at the store and at their exit codes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from gcbench.engine.devices import Place
from gcbench.engine.run import POLL_SECONDS, OnShard, execute, stopped
from gcbench.errors import PARTIAL_RESULT, USER_ERROR, GcbenchError
from gcbench.plan import PlannedRun

RESTARTS = 2  # of each worker; what kills three in a row will kill the next
GRACE_SECONDS = 2  # between asking a worker to end and killing it, which costs it one shard
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Worker:
    """A place, the command that works there, and the process that runs it now."""

    place: Place
    command: Sequence[str]
    errors: IO[bytes] | None = None
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        """Starts the command, on its place's cores and out of the terminal's reach."""
        environment = dict(os.environ)
        if self.place.cores is not None:
            environment |= dict.fromkeys(THREAD_VARIABLES, str(len(self.place.cores)))
        self.close()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (open while the process runs)
        self.starts += 1
        # A session of its own: Ctrl-C reaches the parent alone, which passes it on once.
        self.process = subprocess.Popen(
            self.command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            start_new_session=True,
        )
        if self.place.cores is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, self.place.cores)

    @property
    def code(self) -> int | None:
        """The exit code; None while the process runs."""
        return None if self.process is None else self.process.poll()

    def last_words(self) -> str:
        """What the process wrote to its standard error."""
        if self.errors is None:
            return ""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()

    def close(self) -> None:
        """Forgets the last words."""
        if self.errors is not None:
            self.errors.close()


class Team:
    """The workers of a command."""

    def __init__(self, workers: Sequence[Worker], note: Callable[[str], object]):
        self.workers = workers
        self.note = note
        self.reported: set[tuple[int, int]] = set()

    @property
    def at_work(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.code is None]

    def signal(self, signum: int) -> None:
        for worker in self.at_work:
            if worker.process is not None:
                worker.process.send_signal(signum)

    def look_after(self) -> None:
        """Restarts workers that died.

        Raises:
            GcbenchError: a worker found a mistake that a person must mend.
        """
        for number, worker in enumerate(self.workers):
            code, life = worker.code, (number, worker.starts)
            if code in (None, 0, PARTIAL_RESULT) or life in self.reported:
                continue
            self.reported.add(life)
            words = worker.last_words()
            if code == USER_ERROR:
                message, _, hint = words.removeprefix("error: ").partition("\nhint: ")
                raise GcbenchError(message, hint=hint or None)
            last = words.splitlines()[-1] if words else "it said nothing"
            again = worker.starts <= RESTARTS
            self.note(
                f"worker {worker.place.name} died ({_reason(code)}: {last}); "
                + ("it is started again" if again else "its shards are left to the others")
            )
            if again:
                worker.start()

    def dismiss(self) -> None:
        """Ends every process that still runs: asks, then kills."""
        self.signal(signal.SIGTERM)
        for worker in self.workers:
            if worker.process is not None:
                try:
                    worker.process.wait(GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    worker.process.kill()
                    worker.process.wait()
            worker.close()


@contextmanager
def team(workers: Sequence[Worker], note: Callable[[str], object]) -> Iterator[Team]:
    """The workers, started, for the block; whatever ends it ends them too."""
    found = Team(workers, note)
    try:
        for worker in workers:
            worker.start()
        yield found
    finally:
        found.dismiss()


def watch(
    planned: PlannedRun,
    workers: Team,
    *,
    rerun: str,
    stop: Callable[[], int | None],
    on_shard: OnShard,
) -> bool:
    """Follows one run while the workers are at it; returns whether it is complete.

    Raises:
        Interrupted: it was asked to stop, and the workers did.
        GcbenchError: the workers cannot go on, or died too often.
    """
    run, seen, asked = planned.run, set[int](), False
    while True:
        idle = not workers.at_work
        for index in sorted(run.present() - seen):
            seen.add(index)
            on_shard(run.read_shard(index))
        if (signum := stop()) is not None:
            if not asked:
                workers.signal(signum)
                asked = True
            if idle and not planned.missing_shards:
                break
            if idle:
                raise stopped(planned, signum)
        else:
            workers.look_after()
            if run.summary is not None and not planned.missing_shards and rerun == "missing":
                return True
            if idle and not workers.at_work:
                break
        time.sleep(POLL_SECONDS)
    if planned.missing_shards:
        _check_ends(workers)
    # All shards may be there and the one that should have written the summary dead.
    return not planned.missing_shards and execute(planned, wait=False)


def _check_ends(workers: Team) -> None:
    dead = [worker for worker in workers.workers if worker.code not in (0, PARTIAL_RESULT)]
    if len(dead) == len(workers.workers):
        raise GcbenchError(
            f"every worker died; the last words of {dead[0].place.name}:\n{dead[0].last_words()}",
            hint="run without --devices to see the error where it happens",
            exit_code=1,
        )


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
