"""Runs the toy method and kills the run at random file operations, in processes forked for it.

python killed_runs.py FOLDER KILLS SEED writes FOLDER/whole, the store of an uninterrupted run, and
FOLDER/cut-N, stores whose runs were killed again and again until one came through; prints what
happened as JSON. A forked process counts what Python reports of its own file operations below its
store (opening, syncing, renaming, locking ...) and sends itself SIGKILL before the chosen one.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import pandas  # noqa: F401  (imported once here, and not by every attempt)
import pyarrow.parquet  # noqa: F401
import torch  # noqa: F401
from checkout import PLUGINS

from gcbench.engine.run import execute
from gcbench.method import Runtime
from gcbench.plan import plan
from gcbench.registry import Registry
from gcbench.store import Store

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.fsync", "fcntl.flock")


REGISTRY = Registry([PLUGINS])


def run_once(folder: Path) -> None:
    """One attempt at the run, in this process."""
    cls = REGISTRY.method("grey-level")
    method = cls(cls.variant_named(None), Runtime())
    benchmark = REGISTRY.benchmark("greys")
    store = Store(folder).create()
    (planned,) = plan([method], [benchmark], store, trials=None, seed=0)
    execute(planned)


def count_operations(folder: Path, kill_at: int | None) -> list[str]:
    """The operations below the folder from now on; the process dies before number `kill_at`."""
    seen: list[str] = []

    def hook(event: str, arguments: tuple) -> None:
        if event not in EVENTS:
            return
        if event != "fcntl.flock" and str(folder) not in str(arguments[0]):
            return
        seen.append(event)
        if len(seen) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    # What outlives a killed process is in the kernel's hands already: only the moment counts.
    os.fsync = lambda handle: hook("os.fsync", (str(folder),))
    return seen


def attempt(folder: Path, kill_at: int | None = None) -> tuple[int, int]:
    """One attempt in a forked process: the signal that ended it (0: none) and its operations."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            seen = count_operations(folder, kill_at)
            run_once(folder)
            os.write(write, str(len(seen)).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as answer:
        operations = int(answer.read() or 0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"an attempt failed with exit code {os.WEXITSTATUS(status)}")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, operations


def main(root: Path, kills: int, seed: int) -> None:
    _, operations = attempt(root / "whole")
    chance, done, cuts, between = random.Random(seed), 0, 0, []
    while done < kills:
        folder = root / f"cut-{cuts}"
        while done < kills:
            ended_by, _ = attempt(folder, chance.randrange(1, operations + 1))
            if ended_by == 0:
                break
            done += 1
            shards = sorted(path.name for path in folder.glob("runs/*/scores-*.parquet"))
            between.append([cuts, shards])
        attempt(folder)
        cuts += 1
    print(json.dumps({"operations": operations, "kills": done, "stores": cuts, "seen": between}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
