"""Which of a method's paths computes a run: the plain network, the fast one, or the compiled one.

All give the same scores up to rounding, so the path is no part of the run key. But a run keeps to
the path that it began with, for a resumed run must have the bits of an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import replace

from gcbench.errors import GcbenchError
from gcbench.method import PATHS
from gcbench.plan import PlannedRun

# Compiling takes about a minute of one core; below this much work it does not pay.
COMPILE_FROM_FLOPS = 3e13


def on_path(planned: PlannedRun, asked: str, rerun: str = "missing") -> PlannedRun:
    """The run with its method on the path that is asked for, or, for `auto`, on the best one.

    `auto` takes the path that the run began with, else `compiled` for large runs, else `fast`.

    Raises:
        GcbenchError: the run is half done on another path.
    """
    begun = planned.run.spec.get("path", "reference") if planned.run.begun else None
    if rerun == "all" or planned.status == "cached":
        begun = None
    if asked == "auto":
        path = begun or ("compiled" if _flops(planned) >= COMPILE_FROM_FLOPS else "fast")
    elif asked not in PATHS:
        raise GcbenchError(f"unknown path {asked!r}", hint=f"known: auto, {', '.join(PATHS)}")
    elif begun not in (None, asked):
        raise GcbenchError(
            f"{planned.run.name} was begun on the {begun} path, --path asks for {asked}",
            hint="leave --path out to go on, or start anew with --rerun all",
        )
    else:
        path = asked
    if planned.method.runtime.path == path:
        return planned
    return replace(planned, method=planned.method.on_path(path=path))


def _flops(planned: PlannedRun) -> float:
    """Of the whole grid, so that whoever shares or resumes the run decides alike."""
    each = planned.method.flops_per_evaluation() or 0.0
    return each * planned.evaluations_per_image * len(planned.benchmark)
