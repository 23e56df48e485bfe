"""Which devices a run takes: one by its name, or by `--devices` a list with cores for each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from gcbench.errors import GcbenchError

FORMS = "give a number, or a list as cuda:0,cuda:1 or cpu:0-1,cpu:2-3"


@dataclass(frozen=True)
class Place:
    """Where one worker runs: a torch device, and the cores it keeps to (None: any)."""

    device: str
    cores: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """The device, with the cores where it has its own: `cpu:0-3`."""
        if self.cores is None:
            return self.device
        first, last = self.cores[0], self.cores[-1]
        if len(self.cores) == 1:
            return f"cpu:{first}"
        contiguous = last - first + 1 == len(self.cores)
        return f"cpu:{first}-{last}" if contiguous else f"cpu:{'+'.join(map(str, self.cores))}"


def places(text: str, *, gpus: int, cores: Sequence[int]) -> list[Place]:
    """The workers that `--devices` asks for.

    A number N stands for the first N GPUs, or for N groups of the cores where there is no GPU.

    Args:
        gpus: how many there are on this machine.
        cores: those that this process may use.

    Raises:
        GcbenchError: another form, or a device or core that is not there or is named twice.
    """
    if text.isdigit():
        found = _counted(int(text), gpus, cores)
    else:
        found = [_place(part.strip(), gpus, cores) for part in text.split(",") if part.strip()]
    if not found:
        raise GcbenchError(f"--devices {text}: no device", hint=FORMS)
    taken = [f"core {core}" for place in found for core in place.cores or ()]
    taken += [place.device for place in found if place.cores is None]
    for item in taken:
        if taken.count(item) > 1:
            raise GcbenchError(f"--devices {text}: {item} is named twice", hint=FORMS)
    return found


def usable_cores() -> list[int]:
    """The cores that this process may use, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _counted(count: int, gpus: int, cores: Sequence[int]) -> list[Place]:
    if gpus:
        if count > gpus:
            raise GcbenchError(f"--devices {count}: this machine has {gpus} GPUs", hint=FORMS)
        return [Place(f"cuda:{i}") for i in range(count)]
    if count > len(cores):
        raise GcbenchError(
            f"--devices {count}: there are {len(cores)} cores, each worker needs one",
            hint=f"at most --devices {len(cores)}",
        )
    # Groups of equal size: the cores that are left over stay free.
    size = len(cores) // max(count, 1)
    return [Place("cpu", tuple(cores[i * size : (i + 1) * size])) for i in range(count)]


def _place(part: str, gpus: int, cores: Sequence[int]) -> Place:
    kind, _, rest = part.partition(":")
    if kind == "cuda" and rest.isdigit():
        if int(rest) >= gpus:
            raise GcbenchError(f"--devices: {part} is not there, there are {gpus} GPUs", hint=FORMS)
        return Place(part)
    first, dash, last = rest.partition("-")
    if kind == "cpu" and first.isdigit() and (last.isdigit() or not dash):
        group = tuple(range(int(first), int(last if dash else first) + 1))
        for core in group:
            if core not in cores:
                raise GcbenchError(
                    f"--devices: core {core} of {part} is not there or may not be used",
                    hint=f"usable cores: {', '.join(map(str, cores))}",
                )
        if group:
            return Place("cpu", group)
    raise GcbenchError(f"--devices: got {part!r}", hint=FORMS)


def device_named(name: str) -> str:
    """The device of that name; `auto` is a GPU where there is one.

    Raises:
        GcbenchError: this machine has no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise GcbenchError(
            f"device {name!r} is not available ({str(error).splitlines()[0]})",
            hint="use --device auto or cpu",
        ) from error
    if name.startswith("cuda"):
        # PyTorch lets convolutions use TF32 unasked; a tokenizer's codes would not be exact.
        torch.backends.cudnn.allow_tf32 = False
    return name
