"""Pages of runs: what was run, how, what came out, what it cost, and where it is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gcbench.report.compare import Label
from gcbench.report.evidence import command_of
from gcbench.site.markup import Content, Html, element, facts, link, markup, table
from gcbench.site.page import page
from gcbench.stats import wilson_interval
from gcbench.store import Run

# What a page says in words of its own; all else that a run records is listed as it is.
_SPEC_TOLD = frozenset(
    {"method", "variant", "benchmark", "subset", "suite", "classes", "sample_ids", "labels"}
    | {"groups", "metric", "weights", "benchmark_digest", "samples_digest", "label_space"}
)
_SUMMARY_TOLD = frozenset(
    {"accuracy", "metrics", "coverage", "provenance", "default_rule", "scores_digest"}
)
_COST = (
    *("evaluations_per_image", "seconds_per_image", "median_seconds_per_image"),
    *("images_per_second", "peak_memory_mb", "batch_size", "batch_size_backed_off"),
)
LONG = 24  # entries; longer lists are counted


def title_of(run: Run) -> str:
    """What a run is, in a few words."""
    spec = run.spec
    variant = "" if spec["variant"] == spec["suite"] else f":{spec['variant']}"
    trials = "" if spec["trials"] == 1 else f", {spec['trials']} trials"
    strategy = "" if spec["strategy"] == "exhaustive" else f", {spec['strategy']}"
    seed = f", seed {spec['seed']}" if spec["seed"] else ""
    precision = "" if spec["precision"] == "fp32" else f", {spec['precision']}"
    return f"{spec['method']}{variant}{trials}{strategy}{precision}{seed}"


def link_to(run: Run, *, up: bool, text: Content = None) -> Html:
    """A link to a run's page."""
    return link(text or title_of(run), "runs", f"{run.name}.html", up=up)


def run_list(runs: Sequence[Run], suite: str) -> str:
    """The page that lists all runs."""
    rows = [
        [
            link_to(run, up=False),
            run.spec["benchmark"],
            run.spec["subset"],
            _headline(run),
            _images(run),
            _number((run.summary or {}).get("evaluations_per_image")),
            _number((run.summary or {}).get("seconds_per_image")),
        ]
        for run in runs
    ]
    heads = ["Run", "Benchmark", "Subset", "Accuracy", "Images scored", "Evaluations per image"]
    caption = (
        "By each run's own rule and all of its trials, with 95 % Wilson intervals; of benchmarks "
        "that are about groups, the accuracy of the worst one."
    )
    return page(
        "Runs",
        table(caption, [*heads, "Seconds per image"], rows, sortable=True, label="Runs"),
        here="runs.html",
        suite=suite,
    )


def run_page(run: Run, suite: str, label: Label, *, gallery: str | None) -> str:
    """The page of a run.

    Args:
        label: the name of a class by its index in the label space.
        gallery: the file with images of its benchmark, if there is one.
    """
    spec, summary = run.spec, run.summary or {}
    coverage = summary.get("coverage", {})
    provenance = summary.get("provenance", {})
    other = {k: v for k, v in summary.items() if k not in _SUMMARY_TOLD and k not in _COST}
    benchmark: Content = spec["benchmark"]
    if gallery is not None:
        benchmark = link(benchmark, "images", gallery, up=True)
    what = [
        ("Method", f"{spec['method']}, variant {spec['variant']}"),
        ("Weights", _nested(spec["weights"])),
        ("Benchmark", benchmark),
        ("Benchmark's digest", _code(spec["benchmark_digest"])),
        ("Subset", f"{spec['subset']}: {len(spec['sample_ids']):,} images"),
        ("Samples' digest", _code(spec.get("samples_digest"))),
        ("Label space", f"{spec['label_space']}, {len(spec['classes']):,} candidate classes"),
        ("Groups", ", ".join(spec.get("metric", {}).get("fields", ()))),
    ]
    how = [(_words(k), _value(v)) for k, v in spec.items() if k not in _SPEC_TOLD]
    cost = [(_words(name), _value(summary[name])) for name in _COST if name in summary]
    sections: list[Content] = [
        element("p", f"On {spec['benchmark']}: {_headline(run)}; {_images(run)} images scored."),
        element("h2", "What was run"),
        facts(what),
        element("h2", "How"),
        facts([*how, ("Command", element("code", _command(run)))]),
    ]
    if not summary:
        sections.append(element("p", "The run is unfinished: it has no summary yet."))
    else:
        sections += [
            element("h2", "What came out"),
            _by_rule(summary["accuracy"], summary.get("default_rule"))
            if "accuracy" in summary
            else None,
            _metrics(summary.get("metrics", {}), label),
            element("h2", "What it cost"),
            facts(cost),
            element("h2", "Where it is from"),
            facts([*((_words(k), _value(v)) for k, v in provenance.items())]),
            facts([("Scores' digest", _code(summary.get("scores_digest")))]),
        ]
    if coverage.get("failures"):
        sections += [
            element("h2", "Images that failed"),
            table("Reasons", ["Image", "Reason"], list(coverage["failures"].items())),
        ]
    if other:
        sections += [element("h2", "Further records"), _nested(other)]
    sections.append(element("p", "Folder: ", element("code", run.name), class_="soft"))
    return page(title_of(run), *sections, here="runs.html", suite=suite, up=True)


def _command(run: Run) -> str:
    """The command that makes the run, with its strategy."""
    name, *options = run.spec["strategy"].split()
    if name == "exhaustive":
        return command_of(run)
    given = (f" --{option.replace('=', ' ')}" for option in options)
    return f"{command_of(run)} --strategy {name}{''.join(given)}"


def _headline(run: Run) -> str:
    metrics = (run.summary or {}).get("metrics", {})
    if "headline" not in metrics:
        return "unfinished" if run.summary is None else "—"
    value, name = metrics["headline"]["value"], metrics["headline"]["name"]
    counted = (run.summary or {}).get("accuracy", {}).get(metrics["at"])
    if name != "accuracy" or counted is None:
        return f"{value:.3f} ({name})"
    low, high = wilson_interval(counted["correct"], counted["total"])
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _images(run: Run) -> str:
    coverage = (run.summary or {}).get("coverage", {})
    total = len(run.spec["sample_ids"])
    return f"{coverage['scored']:,} of {total:,}" if coverage else f"of {total:,}"


def _by_rule(accuracy: Mapping[str, Mapping[str, int]], default: str | None) -> Html:
    rows = []
    for name, counted in accuracy.items():
        rule, _, trials = name.partition("@")
        low, high = wilson_interval(counted["correct"], counted["total"])
        share = counted["correct"] / counted["total"]
        shown = f"{rule} (default)" if rule == default else rule
        right = f"{counted['correct']:,} of {counted['total']:,}"
        rows.append([shown, trials or "—", f"{share:.3f}", f"[{low:.3f}, {high:.3f}]", right])
    heads = ["Rule", "Trials", "Accuracy", "95 % Wilson interval", "Right"]
    caption = "Top-1 accuracy by rule of combining trials and by number of trials"
    return table(caption, heads, rows, sortable=True)


def _metrics(metrics: Mapping[str, Any], label: Label) -> list[Content]:
    """Metrics of the default rule at all trials, then accuracy per class and per group."""
    named = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}
    named["class_balanced"] = "Mean of the classes' accuracies"
    shown: list[Content] = [
        facts((name, f"{metrics[key]:.3f}") for key, name in named.items() if key in metrics)
    ]
    per_class = metrics.get("per_class", {})
    if per_class:
        rows = [[label(int(c)), f"{share:.3f}"] for c, share in per_class.items()]
        caption = f"Accuracy per class, {metrics['at']}"
        shown.append(table(caption, ["Class", "Accuracy"], rows, sortable=True))
    if metrics.get("groups"):
        shown += [element("h3", "Accuracy per group"), _nested(metrics["groups"])]
    return shown


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _code(value: object) -> Content:
    return None if value is None else element("code", str(value))


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:,g}"


def _nested(values: Mapping[str, Any]) -> Html:
    return facts((_words(str(name)), _value(value)) for name, value in values.items())


def _value(value: object) -> Html:
    """Anything that JSON holds, for people to read."""
    if isinstance(value, Mapping):
        return _nested(value)
    if isinstance(value, bool):
        return markup("yes" if value else "no")
    if isinstance(value, float):
        return markup(f"{value:,.6g}")
    if isinstance(value, int):
        return markup(f"{value:,}")
    if isinstance(value, list | tuple):
        return _listed(value)
    text = "" if value is None else str(value)
    return element("code", text) if len(text) in (40, 64) and text.isalnum() else markup(text)


def _listed(values: Iterable[object]) -> Html:
    entries = list(values)
    if len(entries) > LONG:
        return markup(f"{len(entries):,} entries")
    if any(isinstance(entry, Mapping | list) for entry in entries):
        return element("ol", [element("li", _value(entry)) for entry in entries])
    return markup(", ".join(str(entry) for entry in entries))
