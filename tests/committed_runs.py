"""The measurements that are committed, and how tests find one of them."""

from checkout import ROOT

from gcbench.store import Run, Store

MINI = ROOT / "results" / "mini"
RUNS = Store(MINI).runs()


def measured(
    method: str, variant: str, trials: int, benchmark: str, protocol: str = "independent"
) -> Run:
    """The one run of all images."""
    (run,) = (
        run
        for run in RUNS
        if (run.spec["method"], run.spec["variant"]) == (method, variant)
        and run.spec["benchmark"] == benchmark
        and (run.spec["subset"], run.spec["trials"]) == ("full", trials)
        and run.spec["protocol"] == protocol
    )
    return run


def share(run: Run, rule: str, trials: int) -> float:
    """Of images that are right by this rule and number of trials."""
    hits = run.summary["accuracy"][f"{rule}@{trials}"]
    return hits["correct"] / hits["total"]
