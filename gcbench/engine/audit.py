"""Checks a strategy: the whole grid is evaluated too on some images, and answers are compared."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

from gcbench.engine.calibration import by_hash
from gcbench.errors import GcbenchError
from gcbench.plan import PlannedRun
from gcbench.stats import wilson_interval
from gcbench.strategy import EXHAUSTIVE


def check_audit(share: float | None, strategy: str, protocol: str) -> None:
    """Refuses an audit that cannot be.

    Raises:
        GcbenchError: the share is out of range, or there is nothing to compare.
    """
    if share is None:
        return
    if not 0 < share <= 1:
        raise GcbenchError(f"--audit {share:g}: expected a share of the images, above 0 up to 1")
    if strategy == EXHAUSTIVE.name:
        raise GcbenchError(
            "--audit compares a strategy with the exhaustive one, which is what runs here",
            hint="add --strategy race, or leave --audit out",
        )
    if protocol == "published":
        raise GcbenchError(
            "--audit needs draws that do not depend on the images before",
            hint="leave --protocol published out",
        )


def audit_of(planned: PlannedRun, share: float) -> PlannedRun:
    """The exhaustive run of a random share of the images, kept inside the run that it checks.

    A larger share takes in the images of a smaller one.
    """
    samples = planned.benchmark.samples
    order = by_hash("audit", planned.spec.seed, [s.id for s in samples])
    chosen = sorted(order[: ceil(share * len(samples))])
    benchmark = replace(
        planned.benchmark,
        samples=tuple(samples[p] for p in chosen),
        subset=f"{planned.spec.subset}+audit",
    )
    spec = replace(
        planned.spec,
        strategy=EXHAUSTIVE.label,
        subset=benchmark.subset,
        samples_digest=benchmark.samples_digest,
    )
    run = planned.run.audit(spec.run_name)
    return replace(planned, spec=spec, benchmark=benchmark, run=run, strategy=EXHAUSTIVE)


def compare(planned: PlannedRun, audit: PlannedRun) -> dict[str, Any]:
    """How often both gave an image the same class, with the 95 % Wilson interval."""
    decided = planned.run.predictions().set_index("sample_id")["decision"]
    whole = audit.run.predictions().set_index("sample_id")[f"mean@{planned.spec.trials}"]
    both = whole.index[whole.index.isin(decided.index)]
    same = int((decided[both] == whole[both]).sum())
    low, high = wilson_interval(same, len(both)) if len(both) else (0.0, 1.0)
    return {"run": audit.run.name, "agreed": same, "total": len(both), "interval": [low, high]}
