"""Locks by which processes share out the shards of one run.

They are advisory `flock` locks: the kernel drops them when their owner dies, however it dies, so
there is no stale lock to recognise.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gcbench.store import explained


@contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[bool]:
    """Holds the lock at `path` for the block; yields False when `wait` is off and it is taken."""
    with explained(path):
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
