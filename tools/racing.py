"""The table of docs/racing.md: what strategies save, and how often they answer as the whole grid.

    python -m tools.racing results/racing results/mini            prints it
    python -m tools.racing results/racing results/mini --update   writes it into docs/racing.md

A run is compared with the exhaustive run of the same method, images, trials and seed in any of the
folders, and for its time with one in fp32 on the reference path, of any images and trials: that
one's seconds per evaluation, as often as the grid has evaluations. All need only the files that are
committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from gcbench.stats import wilson_interval
from gcbench.store import Run, Store

PAGE = Path(__file__).parents[1] / "docs" / "racing.md"
MARKS = ("<!-- measured -->\n", "<!-- /measured -->\n")
SAME = (
    "method",
    "variant",
    "weights",
    "benchmark_digest",
    "samples_digest",
    "classes",
    "preprocessing",
    "protocol",
    "trials",
    "seed",
)
MODEL = ("method", "variant", "weights", "benchmark", "classes")
SECONDS = "median_seconds_per_image"
HEADINGS = (
    "method",
    "benchmark",
    "classes",
    "images",
    "strategy",
    "evaluations / image",
    "fewer by",
    "same answer",
    "accuracy",
    "whole grid",
    "s / image",
    "faster by",
    "than fp32 reference",
)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--update", is_flag=True, help="Write the table into docs/racing.md.")
def main(folders: tuple[Path, ...], update: bool) -> None:
    """Print or write the table of measured strategies."""
    table = measured_table([run for folder in folders for run in Store(folder).runs()])
    if update:
        PAGE.write_text(with_table(PAGE.read_text(), table))
    else:
        click.echo(table, nl=False)


def measured_table(runs: Sequence[Run]) -> str:
    """One Markdown row per finished run that left evaluations out, in the order of the key."""
    whole = {identity(run): run for run in runs if run.exhaustive}
    raced = [run for run in runs if not run.exhaustive and run.summary]
    raced.sort(key=lambda run: (*(run.spec[k] for k in ("method", "benchmark")), order(run)))
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    plain = [run for run in whole.values() if run.spec.get("path") == "reference" and run.summary]
    lines += [row(run, whole[identity(run)], plain) for run in raced if identity(run) in whole]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def row(run: Run, whole: Run, plain: Sequence[Run]) -> tuple[str, ...]:
    """What a run saved, against its exhaustive counterpart and against the reference path."""
    spec, summary, full = run.spec, run.summary, whole.summary
    assert summary is not None
    assert full is not None
    rule = f"mean@{spec['trials']}"
    decided = run.predictions().set_index("sample_id")["decision"]
    expected = whole.predictions().set_index("sample_id")[rule]
    same = int((decided == expected[decided.index]).sum())
    low, high = wilson_interval(same, len(decided))
    gain = summary["strategy"]["gain"]
    faster = "-"
    if alike(run, whole):
        ratio = full[SECONDS] / summary[SECONDS]
        faster = f"{ratio:.1f}x ({ratio / gain:.0%})"
    shares = (s["correct"] / s["total"] for s in (summary["accuracy"]["decision"],
                                                  full["accuracy"][rule]))  # fmt: skip
    accuracy, reference = (f"{share:.3f}" for share in shares)
    return (
        spec["method"],
        f"{spec['benchmark']} ({spec['subset']})",
        str(len(spec["classes"])),
        f"{len(decided):,}",
        f"`{spec['strategy']}`",
        f"{summary['evaluations_per_image']:.1f}",
        f"{gain:.1f}x",
        f"{same:,} of {len(decided):,} [{low:.2%}, {high:.2%}]",
        accuracy,
        reference,
        f"{summary[SECONDS]:.3f}",
        faster,
        against_reference(run, plain),
    )


def against_reference(run: Run, plain: Sequence[Run]) -> str:
    """How much faster a run is than the whole grid in fp32 on the reference path would be."""
    assert run.summary is not None
    for other in plain:
        same = all(other.spec[field] == run.spec[field] for field in MODEL)
        if same and other.spec["precision"] == "fp32" and same_machine(run, other):
            assert other.summary is not None
            each = other.summary[SECONDS] / other.summary["evaluations_per_image"]
            grid = run.summary["strategy"]["grid_evaluations_per_image"]
            return f"{each * grid / run.summary[SECONDS]:.0f}x"
    return "-"


def identity(run: Run) -> str:
    """What a run and its exhaustive counterpart have in common."""
    return repr([run.spec[field] for field in SAME])


def order(run: Run) -> tuple[str, float]:
    """Strategies by name, races from careful to bold."""
    name, *parameters = run.spec["strategy"].split()
    delta = dict(p.split("=") for p in parameters).get("delta", "0")
    return name, float(delta)


def alike(run: Run, whole: Run) -> bool:
    """Whether the seconds of two runs may be compared: same path, precision, device, threads."""
    if any(run.spec.get(field) != whole.spec.get(field) for field in ("path", "precision")):
        return False
    return same_machine(run, whole)


def same_machine(run: Run, whole: Run) -> bool:
    """Whether two runs were timed on the same device with the same number of threads."""
    if SECONDS not in (whole.summary or {}):
        return False
    ours, theirs = ((r.summary or {})["provenance"] for r in (run, whole))
    return all(ours.get(field) == theirs.get(field) for field in ("device", "threads"))


def with_table(page: str, table: str) -> str:
    """The page with the table between its marks."""
    before, rest = page.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return before + MARKS[0] + table + MARKS[1] + after


if __name__ == "__main__":
    main()
