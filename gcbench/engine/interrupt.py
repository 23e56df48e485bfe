"""Stopping a run between shards: a first signal asks for it, a second one insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from gcbench.errors import GcbenchError

# What a terminal sends on Ctrl-C, and what a scheduler sends before it takes a machine back.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(GcbenchError):
    """A run was asked to stop and did, with every shard that it had begun finished and stored.

    The exit code is 128 plus the signal's number, as shells have it: 130 after Ctrl-C.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message, exit_code=128 + signum)


@dataclass
class Stop:
    """Whether a run is to stop after the shard at hand, and by which signal."""

    signum: int | None = None

    def __call__(self) -> int | None:
        return self.signum


@contextmanager
def stop_on_signals(notify: Callable[[str], object]) -> Iterator[Stop]:
    """Turns the first SIGINT or SIGTERM into a request to stop; a second one interrupts at once.

    `notify` is called with what happens next. Outside the main thread, where Python does not take
    signals, nothing is installed.

    Raises:
        KeyboardInterrupt: in the block, on the second signal.
    """
    stop = Stop()

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.signum is not None:
            raise KeyboardInterrupt
        stop.signum = signum
        notify("finishing the shard at hand; the same signal once more stops at once")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {signum: signal.signal(signum, ask) for signum in SIGNALS}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
