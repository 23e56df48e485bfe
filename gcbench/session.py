"""One `gcbench run`: names to plugins, a plan, the runs with progress, and a summary line each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gcbench.analysis import Analyses
from gcbench.engine.audit import audit_of, check_audit, compare
from gcbench.engine.devices import device_named
from gcbench.engine.interrupt import stop_on_signals
from gcbench.engine.tokens import check_analysis
from gcbench.errors import PARTIAL_RESULT, GcbenchError
from gcbench.executors import ALONE, Sharing, executor
from gcbench.method import Method, Runtime
from gcbench.paths import on_path
from gcbench.plan import PlannedRun, plan
from gcbench.progress import shown
from gcbench.registry import Registry
from gcbench.scores import decide, rule_for
from gcbench.stats import wilson_interval
from gcbench.store import Shard, Store
from gcbench.strategy import Strategy, strategy_named

# What the bill assumes of a GPU: a third of an A100's dense bf16 peak of 312 TFLOP/s.
EFFECTIVE_FLOPS = 100e12


def run_session(
    registry: Registry,
    *,
    rule: str | None,
    batch_size: int | None,
    rerun: str,
    dry_run: bool,
    sharing: Sharing = ALONE,
    audit: float | None = None,
    **planning: Any,
) -> int:
    """Plans and executes the runs; returns the exit code (0, or 3 when a cell is partial).

    Args:
        sharing: which processes do the work.
        audit: share of the images that a strategy is checked on.
        planning: the rest, see `planned_runs`.

    Raises:
        GcbenchError: a name is unknown, arguments contradict each other, or a run cannot start.
        Interrupted: it was asked to stop; finished shards are stored.
    """
    from rich.console import Console

    check_audit(audit, planning.get("strategy", "exhaustive"), planning["protocol"])
    planning |= {"rule": rule, "rerun": rerun}
    planned = planned_runs(registry, **planning)
    console = Console(quiet=sharing.worker is not None)
    if dry_run:
        console.print(_bill(planned))
        return 0
    Store(planning["results"]).create()
    note = partial(console.print, highlight=False, soft_wrap=True)
    plan_again = partial(_plan_again, registry.extra, planning, audit)
    code = 0
    with (
        stop_on_signals(partial(print, file=sys.stderr)) as stop,
        executor(sharing, rerun, plan_again, note) as run_one,
    ):
        how = {"batch_size": batch_size, "rerun": rerun, "stop": sharing.until(stop)}
        for one in planned:
            checked = None if audit is None else audit_of(one, audit)
            complete = True
            for each in (one, *([] if checked is None else [checked])):
                with shown(each, console, _decision(each, rule)) as show:
                    complete &= run_one(each, on_shard=show, **how)
            if not complete:
                _explain_incomplete(one, note, alone=sharing.whole)
                continue
            if checked is not None:
                one.run.add_to_summary(audit=compare(one, checked))
            summary = one.run.summary or {}
            note(summary_line(one, rule))
            if summary["coverage"]["failures"]:
                code = PARTIAL_RESULT
    return code


def _plan_again(
    plugins: Sequence[Path], planning: Mapping[str, Any], audit: float | None
) -> list[PlannedRun]:
    """The plan, made from plain values in another process, audits included."""
    planned = planned_runs(Registry(plugins), **planning)
    return [*planned, *(audit_of(one, audit) for one in planned if audit is not None)]


def _decision(planned: PlannedRun, rule: str | None) -> Callable[[Shard], Any]:
    if not planned.strategy.exhaustive:
        return lambda shard: decide(shard.values)
    combine = rule_for(rule or planned.method.default_rule, planned.design)
    return lambda shard: combine(shard.values).argmax(axis=-1)


def _explain_incomplete(planned: PlannedRun, note: Callable[[str], object], *, alone: bool) -> None:
    there = f"{len(planned.run.present())} of {planned.shard_count} shards are there"
    name = f"{planned.spec.method} · {planned.spec.benchmark}"
    if alone:
        raise GcbenchError(f"{name}: {there}", hint="run the same command again", exit_code=1)
    note(f"{name}: {there}; the process that finds all of them writes the summary")


def planned_runs(
    registry: Registry,
    *,
    methods: Sequence[str],
    benches: Sequence[str],
    variant: str | None,
    trials: int | None,
    seed: int,
    limit_per_class: int | None,
    subset: str | None,
    device: str,
    precision: str,
    protocol: str,
    checkpoints: Mapping[str, Path],
    preprocessing: Mapping[str, Any],
    data_root: Path | None,
    results: Path,
    rule: str | None,
    rerun: str,
    path: str = "auto",
    strategy: str = "exhaustive",
    delta: float | None = None,
    keep: int | None = None,
    prefix: float | None = None,
    stages: str | None = None,
    analysis: bool = False,
) -> list[PlannedRun]:
    """Every method on every benchmark, checked; nothing is computed or written.

    Args:
        analysis: the runs are to keep what single tokens say.

    Raises:
        GcbenchError: a name is unknown, arguments contradict each other, or data are missing.
    """
    how = strategy_named(strategy, delta=delta, keep=keep, prefix=prefix, stages=stages)
    _check_rule(rule, how)
    chosen = _subset(limit_per_class, subset)
    loaded = [registry.benchmark(n, data_root).choose(chosen) for n in _expand(registry, benches)]
    runtime = Runtime(
        device=device_named(device),
        precision=precision,
        protocol=protocol,
        checkpoint_files=checkpoints,
        preprocessing=preprocessing,
    )
    chosen_methods = [_method(registry, name, variant, runtime) for name in methods]
    if analysis:
        check_analysis(chosen_methods, loaded, registry.methods)
    store = Analyses(results) if analysis else Store(results)
    planned = plan(chosen_methods, loaded, store, trials=trials, seed=seed, strategy=how)
    for one in planned:
        rule_for(rule or "mean", one.design)
    return [on_path(one, path, rerun) for one in planned]


def _check_rule(rule: str | None, strategy: Strategy) -> None:
    if rule not in (None, "mean") and not strategy.exhaustive:
        raise GcbenchError(
            f"--rule {rule} needs the whole grid, --strategy {strategy.name} decides by the mean",
            hint="leave --rule out",
        )


def _subset(limit_per_class: int | None, subset: str | None) -> str:
    if limit_per_class is None:
        return subset or "full"
    if subset is not None:
        raise GcbenchError(
            f"--limit-per-class {limit_per_class} and --subset {subset} both choose samples",
            hint="give one of them",
        )
    if limit_per_class < 1:
        raise GcbenchError(
            f"--limit-per-class {limit_per_class}: expected at least 1",
            hint="leave it out for all samples",
        )
    return f"first-{limit_per_class}"


def _expand(registry: Registry, names: Sequence[str]) -> list[str]:
    expanded: list[str] = []
    for name in names:
        if not name.startswith("suite:"):
            expanded.append(name)
            continue
        suite = name.removeprefix("suite:")
        members = [n for f in registry.families if f.suite == suite for n in f.names]
        if not members:
            known = sorted({f.suite for f in registry.families})
            raise GcbenchError(f"unknown suite {suite!r}", hint=f"known: {', '.join(known)}")
        expanded += members
    return list(dict.fromkeys(expanded))


def _method(registry: Registry, name: str, variant: str | None, runtime: Runtime) -> Method:
    name, separator, short = name.partition(":")
    if separator and variant is not None:
        raise GcbenchError(
            f"--method {name}:{short} and --variant {variant} both choose a variant",
            hint="give one of them",
        )
    cls = registry.method(name)
    chosen = cls.variant_named(short if separator else variant)
    for role in runtime.checkpoint_files:
        if role not in chosen.checkpoints:
            raise GcbenchError(
                f"--checkpoint {role}=...: {name} has no network {role!r}",
                hint=f"its networks: {', '.join(chosen.checkpoints)}",
            )
    return cls(chosen, runtime)


def _bill(planned: Sequence[PlannedRun]) -> Any:
    from rich import box
    from rich.table import Table

    assumed = f"GPU hours at {EFFECTIVE_FLOPS / 1e12:.0f} TFLOP/s, about a third of an A100 in bf16"
    table = Table(title="what would be computed", caption=assumed, box=box.SIMPLE)
    table.add_column("method on benchmark", overflow="fold")
    table.add_column("status", no_wrap=True)
    for column in ("images", "evaluations", "MB", "GPU hours"):
        table.add_column(column, justify="right", no_wrap=True)
    total_evaluations, total_bytes, total_hours = 0, 0, 0.0
    for one in planned:
        spec = one.spec
        left = sum(len(one.shard_samples(i)) for i in one.missing_shards)
        evaluations = left * one.most_evaluations
        stored_bytes = left * spec.trials * len(spec.classes) * 4
        total_evaluations += evaluations
        total_bytes += stored_bytes
        flops = one.most_flops
        hours = left * flops / EFFECTIVE_FLOPS / 3600 if flops else None
        total_hours += hours or 0.0
        table.add_row(
            f"{spec.method} {spec.variant} on {spec.benchmark} ({spec.subset}), "
            f"{spec.trials} trials x {len(spec.classes)} classes"
            f"{_how(one)}",
            one.status,
            f"{left:,}",
            f"{evaluations:,}",
            f"{stored_bytes / 1e6:.1f}",
            "?" if hours is None else f"{hours:.2f}",
        )
    table.add_section()
    counts = (f"{total_evaluations:,}", f"{total_bytes / 1e6:.1f}", f"{total_hours:.2f}")
    table.add_row("total", "", "", *counts)
    return table


def _how(planned: PlannedRun) -> str:
    if planned.strategy.exhaustive:
        return ""
    return f", {'' if planned.strategy.staged else 'at most: '}{planned.spec.strategy}"


def summary_line(planned: PlannedRun, rule: str | None = None) -> str:
    """A finished run in one line: accuracy with its 95 % interval, images, evaluations, seconds."""
    summary = planned.run.summary
    if summary is None:
        raise GcbenchError(f"{planned.run.name} is not finished")
    spec, name = planned.spec, rule or planned.method.default_rule
    what = f"{spec.method} {spec.variant} · {spec.benchmark} ({spec.subset})"
    coverage = summary["coverage"]
    if planned.strategy.exhaustive:
        found = summary["accuracy"].get(f"{name if spec.trials > 1 else 'mean'}@{spec.trials}")
    else:
        found, name = summary["accuracy"].get("decision"), spec.strategy
    if found is None:
        return f"{what}: no sample could be read ({len(coverage['failures'])} failures)"
    low, high = wilson_interval(found["correct"], found["total"])
    headline = summary["metrics"]["headline"]
    parts = [
        f"{what}: accuracy {found['correct'] / found['total']:.3f} [{low:.3f}, {high:.3f}] "
        f"({name}, K={spec.trials})",
        *_worst_group(headline),
        f"{coverage['scored']} images",
        f"{summary['evaluations_per_image']} evaluations/image",
        *_saving(summary),
        f"{summary['seconds_per_image']:.3f} s/image",
    ]
    if coverage["failures"]:
        first = next(iter(coverage["failures"]))
        parts.append(f"PARTIAL: {len(coverage['failures'])} unreadable, first {first}")
    return " · ".join(parts)


def _saving(summary: Mapping[str, Any]) -> list[str]:
    """What a strategy saved and, where it was audited, how often it agreed with the whole grid."""
    parts = []
    if "strategy" in summary:
        how = summary["strategy"]
        parts.append(f"{how['gain']:.1f}x fewer than {how['grid_evaluations_per_image']:,}")
    if "audit" in summary:
        low, high = summary["audit"]["interval"]
        counts = f"{summary['audit']['agreed']}/{summary['audit']['total']}"
        parts.append(f"audit: {counts} agree [{low:.3f}, {high:.3f}]")
    return parts


def _worst_group(headline: Mapping[str, Any]) -> list[str]:
    if headline["name"] == "accuracy":
        return []
    value = headline["value"]
    return [f"{headline['name']} {'not measured' if value is None else f'{value:.3f}'}"]


def speed_session(
    registry: Registry,
    *,
    method: str,
    variant: str | None,
    random_weights: bool,
    changes: Sequence[str],
    classes: int,
    trials: int,
    precision: Sequence[str],
    device: str,
    batch_size: int | None,
    rounds: int,
    as_json: bool,
    echo: Callable[[str], object],
) -> None:
    """Times a method and prints the ladder, or all that was measured as JSON.

    Raises:
        GcbenchError: a name is unknown, or the weights are not there and not to be random.
    """
    import json

    from gcbench.speed import COLUMNS, LINE, conditions, line, measure, parse_changes, reshaped

    runtime = Runtime(device=device_named(device), random_weights=random_weights)
    for name in precision:
        replace(runtime, precision=name)  # refuses an unknown one before anything is timed
    made = reshaped(_method(registry, method, variant, runtime), parse_changes(changes), runtime)
    if not as_json:
        echo(LINE.format(*COLUMNS))
    found = measure(
        made,
        classes=classes,
        trials=made.check_trials(trials),
        precisions=precision,
        batch_size=batch_size,
        rounds=rounds,
        on_rung=lambda timing: None if as_json else echo(line(timing)),
    )
    echo(json.dumps(found, indent=1) if as_json else conditions(found))


def tokenizer_session(
    registry: Registry,
    *,
    tokenizers: Sequence[str],
    benches: Sequence[str],
    levels: Sequence[float],
    seed: int,
    limit_per_class: int | None,
    subset: str | None,
    device: str,
    data_root: Path | None,
    results: Path,
    echo: Callable[[str], object],
) -> None:
    """Every tokenizer on every benchmark under noise, one line per level of noise.

    Raises:
        GcbenchError: a name is unknown, or data, weights or packages are missing.
    """
    from gcbench.robustness import measure
    from gcbench.tokenizers import tokenizer_named

    chosen, where = _subset(limit_per_class, subset), device_named(device)
    named = [tokenizer_named(name) for name in tokenizers]
    loaded = [registry.benchmark(n, data_root).choose(chosen) for n in _expand(registry, benches)]
    store = Store(results).create()
    for one in named:
        for benchmark in loaded:
            measure(one, benchmark, levels, seed=seed, store=store, device=where, echo=echo)
