"""A fixture folder, and one compared quantity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.errors import GcbenchError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

OUTPUT_TOLERANCE = 1e-5
SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Quantity:
    """The largest difference of one quantity from the official numbers.

    Attributes:
        name: the tensor's name in the fixture.
        error: largest absolute or relative difference, or the count of differing integers.
        tolerance: largest error that passes.
        unit: ``abs``, ``rel`` or ``differ``.
    """

    name: str
    error: float
    tolerance: float
    unit: str

    @property
    def passed(self) -> bool:
        """NaN never passes."""
        return self.error <= self.tolerance

    def line(self, fixture: str) -> str:
        """One line for a terminal."""
        verdict = "pass" if self.passed else "FAIL"
        return (
            f"{verdict}  {fixture}/{self.name}: error {self.error:.2e} {self.unit}, "
            f"tolerance {self.tolerance:g}"
        )


@dataclass(frozen=True)
class Fixture:
    """A folder and its ``config.json``; tensors are read on demand."""

    folder: Path
    kind: str
    config: dict[str, Any]

    def tensors(self, name: str = "io") -> dict[str, Tensor]:
        """The tensors of ``NAME.safetensors``.

        Raises:
            GcbenchError: the file is missing or damaged.
        """
        from gcbench.checkpoint import read_state_dict

        return read_state_dict(self.folder / f"{name}.safetensors")


def read_fixture(folder: Path) -> Fixture:
    """Read a folder's ``config.json``.

    Raises:
        GcbenchError: it is missing, no JSON, or names no kind.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        return Fixture(folder, str(config["fixture"]), config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GcbenchError(
            f"{folder}/config.json cannot be read: {type(error).__name__} {error}",
            hint="expected JSON with a key 'fixture'",
        ) from error


def absolute(
    name: str, got: ArrayLike, expected: ArrayLike, tolerance: float = OUTPUT_TOLERANCE
) -> Quantity:
    """Largest absolute difference."""
    a, b = _pair(name, got, expected)
    return Quantity(name, float(np.abs(a - b).max()), tolerance, "abs")


def relative(
    name: str, got: ArrayLike, expected: ArrayLike, tolerance: float = SUM_TOLERANCE
) -> Quantity:
    """Largest difference relative to the expected magnitude."""
    a, b = _pair(name, got, expected)
    return Quantity(name, float((np.abs(a - b) / np.abs(b)).max()), tolerance, "rel")


def identical(name: str, got: ArrayLike, expected: ArrayLike) -> Quantity:
    """Number of entries that differ; none may."""
    a, b = _pair(name, got, expected)
    return Quantity(name, float((a != b).sum()), 0.0, "differ")


def _pair(name: str, got: ArrayLike, expected: ArrayLike) -> tuple[Any, Any]:
    a, b = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if a.shape != b.shape:
        raise GcbenchError(f"{name} has shape {list(a.shape)}, the fixture says {list(b.shape)}")
    return a, b
