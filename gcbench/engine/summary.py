"""The second tier of a result: accuracy at every rule and trial count, cost, provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gcbench.bench import Benchmark
from gcbench.metrics import (
    accuracy,
    class_balanced_accuracy,
    group_accuracy,
    per_class_accuracy,
    top_k_accuracy,
)
from gcbench.plan import PlannedRun
from gcbench.provenance import provenance
from gcbench.scores import Scores
from gcbench.store import Shard


def summarise(planned: PlannedRun, batch_size: int, backed_off: bool) -> dict[str, Any]:
    """What `summary.json` holds. Seconds are summed over shards, so a resumed run counts once."""
    shards = planned.run.shards()
    scores = planned.run.scores()
    failures = {k: v for shard in shards for k, v in shard.failures.items()}
    scored = len(scores.sample_ids)
    calibration = planned.run.calibration or {}
    precision = planned.run.precision or {}
    again = sum(s.rescored for s in shards) + precision.get("evaluations", 0)
    seconds = sum(s.seconds for s in shards)
    seconds += calibration.get("seconds", 0.0) + precision.get("seconds", 0.0)
    return {
        "accuracy": accuracies(scores),
        "default_rule": planned.method.default_rule,
        "metrics": metrics(scores, planned.benchmark, planned.method.default_rule),
        "coverage": {"scored": scored, "total": len(planned.benchmark), "failures": failures},
        **evaluations(planned, scores, calibration, again),
        "seconds_per_image": round(seconds / max(1, scored), 6),
        "median_seconds_per_image": _median_seconds(shards),
        **({"near_ties": _near_ties(shards, precision)} if precision else {}),
        "scores_digest": scores_digest(scores),
        "batch_size": batch_size,
        "batch_size_backed_off": backed_off,
        "provenance": provenance(planned.method.runtime.device),
    }


def _median_seconds(shards: Sequence[Shard]) -> float | None:
    """Of the shards' seconds per image: free of compilation and of a disturbance now and then."""
    found = [s.seconds / len(s.sample_ids) for s in shards if s.sample_ids]
    return round(float(np.median(found)), 6) if found else None


def _near_ties(shards: Sequence[Shard], precision: Mapping[str, Any]) -> dict[str, Any]:
    """The error of bf16, and the evaluations that were made in fp32 on account of it."""
    return {
        "centred_error": precision["centred_error"],
        "rescored": sum(s.rescored for s in shards),
        "calibration_evaluations": precision["evaluations"],
    }


def evaluations(
    planned: PlannedRun, scores: Scores, calibration: Mapping[str, Any], again: int
) -> dict[str, Any]:
    """Evaluations per image, and what they consist of where the strategy left some out.

    `again` counts those that a run of lower precision made a second time, or to know its error.
    """
    grid = planned.evaluations_per_image
    if planned.strategy.exhaustive:
        return {"evaluations_per_image": grid}
    scored = max(1, len(scores.sample_ids))
    proposal = 0.0
    if planned.strategy.proposes:
        from gcbench.nets.proposal import EVALUATIONS

        proposal = EVALUATIONS
    if planned.strategy.prefixes:  # those that went on are counted with the race
        left_behind = len(planned.spec.classes) - (planned.strategy.keep or 0)
        proposal = left_behind * (planned.strategy.prefix or 0.0)
    parts = {
        "race": float(scores.evaluations().sum()) / scored,
        "proposal": proposal,
        "calibration": calibration.get("evaluations", 0) / scored,
        "precision": again / scored,
    }
    stages = planned.stage_evaluations
    if stages:
        parts = {f"stage {i}": float(count) for i, count in enumerate(stages, start=1)}
    made = sum(parts.values())
    return {
        "evaluations_per_image": round(made, 2),
        "strategy": {
            "label": planned.strategy.label,
            "evaluations_per_image": {name: round(value, 3) for name, value in parts.items()},
            "grid_evaluations_per_image": grid,
            "gain": round(grid / made, 3) if made else None,
            **({"gain_in_operations": _gain_in_operations(planned)} if stages else {}),
            "calibration": dict(calibration) or None,
        },
    }


def _gain_in_operations(planned: PlannedRun) -> float | None:
    """By how much stages take fewer floating-point operations: first scales cost less than all."""
    each, flops = planned.method.flops_per_evaluation(), planned.most_flops
    return round(planned.evaluations_per_image * each / flops, 3) if each and flops else None


def accuracies(scores: Scores) -> dict[str, dict[str, int]]:
    """`<rule>@<trials>` -> correct and total, for every rule and every count of the ladder.

    Of scores that are not exhaustive there is the `decision` alone.
    """
    found = {}
    if not scores.exhaustive:
        if scores.sample_ids:
            correct = int((scores.decisions() == scores.labels).sum())
            found["decision"] = {"correct": correct, "total": len(scores.labels)}
        return found
    for trials in scores.ladder if scores.sample_ids else ():
        for rule in scores.rules if trials > 1 else ("mean",):
            correct = int((scores.predictions(rule, trials) == scores.labels).sum())
            found[f"{rule}@{trials}"] = {"correct": correct, "total": len(scores.labels)}
    return found


def metrics(scores: Scores, benchmark: Benchmark, default_rule: str) -> dict[str, Any]:
    """What else is measured at all trials by the default rule; empty when nothing was scored.

    `headline` is the benchmark's own metric (its value None when every group is ignored), `groups`
    holds the accuracy per value of every group field and of the headline's combination of fields.
    """
    if not scores.sample_ids:
        return {}
    labels = scores.labels  # [N]
    if scores.exhaustive:
        rule = default_rule if scores.trials > 1 else "mean"
        at, combined = f"{rule}@{scores.trials}", scores.combined(rule)  # [N, C]
        predictions = scores.classes[combined.argmax(axis=-1)]  # [N]
    else:
        at, combined, predictions = "decision", None, scores.decisions()
    row = {sample.id: i for i, sample in enumerate(benchmark.samples)}
    chosen = [row[id] for id in scores.sample_ids]
    columns = {field: np.array(values)[chosen] for field, values in benchmark.groups.items()}
    headline = benchmark.metric
    groupings = dict.fromkeys([*((field,) for field in columns), headline.fields])
    groupings.pop((), None)
    per_group = {
        " x ".join(fields): group_accuracy(predictions, labels, {f: columns[f] for f in fields})
        for fields in groupings
    }
    value: float | None = accuracy(predictions, labels)
    found = {"top1": value}
    if combined is not None and len(scores.classes) > 5:
        found["top5"] = top_k_accuracy(combined, scores.classes, labels, 5)
    if headline.fields:
        counted = [
            share
            for group, share in per_group[" x ".join(headline.fields)].items()
            if not set(group) & set(headline.ignore)
        ]
        value = min(counted, default=None)
    return {
        "at": at,
        "headline": {"name": headline.name, "value": value},
        **found,
        "class_balanced": class_balanced_accuracy(predictions, labels),
        "per_class": {str(c): v for c, v in per_class_accuracy(predictions, labels).items()},
        "groups": {
            name: {" x ".join(map(str, group)): share for group, share in sorted(shares.items())}
            for name, shares in per_group.items()
        },
    }


def scores_digest(scores: Scores) -> str:
    """sha256 over sample ids and raw scores: equal digests mean bit-for-bit equal results."""
    digest = hashlib.sha256("\n".join(scores.sample_ids).encode())
    digest.update(scores.values.tobytes())
    return digest.hexdigest()
