"""The second tier of a result: accuracy at every rule and trial count, cost, provenance."""

from __future__ import annotations

import hashlib
from typing import Any

from gcbench.plan import PlannedRun
from gcbench.provenance import provenance
from gcbench.scores import RULES, Scores, trial_ladder


def summarise(planned: PlannedRun, batch_size: int, backed_off: bool) -> dict[str, Any]:
    """What `summary.json` holds. Seconds are summed over shards, so a resumed run counts once."""
    shards = planned.run.shards()
    scores = planned.run.scores()
    failures = {k: v for shard in shards for k, v in shard.failures.items()}
    scored = len(scores.sample_ids)
    return {
        "accuracy": accuracies(scores),
        "default_rule": planned.method.default_rule,
        "coverage": {"scored": scored, "total": len(planned.benchmark), "failures": failures},
        "evaluations_per_image": planned.evaluations_per_image,
        "seconds_per_image": round(sum(s.seconds for s in shards) / max(1, scored), 6),
        "scores_digest": scores_digest(scores),
        "batch_size": batch_size,
        "batch_size_backed_off": backed_off,
        "provenance": provenance(planned.method.runtime.device),
    }


def accuracies(scores: Scores) -> dict[str, dict[str, int]]:
    """`<rule>@<trials>` -> correct and total, for every rule and every count of the ladder."""
    found = {}
    for trials in trial_ladder(scores.trials) if scores.sample_ids else ():
        for rule in RULES if trials > 1 else ("mean",):
            correct = int((scores.predictions(rule, trials) == scores.labels).sum())
            found[f"{rule}@{trials}"] = {"correct": correct, "total": len(scores.labels)}
    return found


def scores_digest(scores: Scores) -> str:
    """sha256 over sample ids and raw scores: equal digests mean bit-for-bit equal results."""
    digest = hashlib.sha256("\n".join(scores.sample_ids).encode())
    digest.update(scores.values.tobytes())
    return digest.hexdigest()
