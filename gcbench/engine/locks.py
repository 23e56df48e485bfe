"""Locks by which processes share out the shards of one run.

They are advisory `flock` locks, on network drives too: the kernel, or the file server, drops them
when their owner dies, however it dies, so that there is no stale lock to recognise. A drive that
has no such locks costs time and never a result: processes may then compute the same shard, and the
last one to finish replaces it by the same bits.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gcbench.store import explained

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def held(folder: Path) -> bool:
    """Whether any process holds a lock in that folder just now; nothing is written."""
    for path in sorted(folder.glob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        finally:
            os.close(handle)
    return False


@contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[bool]:
    """Holds the lock at `path` for the block; yields False when `wait` is off and it is taken."""
    with explained(path):
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with explained(path):
            mine = _taken(handle, wait)
        yield mine
    finally:
        os.close(handle)


def _taken(handle: int, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    return True
