"""The measured table of docs/racing.md: made from committed runs, and right about them."""

import re

import numpy as np
import pytest
from checkout import ROOT

from gcbench.engine.run import execute
from gcbench.store import Run, Store
from gcbench.strategy import strategy_named
from tools.racing import PAGE, measured_table, with_table

RUNS = [run for name in ("racing", "mini") for run in Store(ROOT / "results" / name).runs()]
RACED = [run for run in RUNS if run.spec["strategy"] != "exhaustive"]


def cells(table: str) -> list[dict[str, str]]:
    head, _, *rows = (
        [c.strip() for c in line.strip("|\n").split("|")] for line in table.split("\n")[:-1]
    )
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.fixture
def toys(plan_toy) -> list[Run]:
    runs = []
    for strategy in (
        strategy_named("exhaustive"),
        strategy_named("race", delta=0.01),
        strategy_named("race", delta=0.001),
        strategy_named("adaptive-li2023", stages="1:1"),
    ):
        planned = plan_toy("toys", trials=20, strategy=strategy)
        execute(planned)
        runs.append(planned.run)
    return runs


def test_row_says_what_was_saved_and_how_often_the_answer_is_the_same(toys):
    whole = toys[0].scores()
    rows = cells(measured_table(toys))
    assert [row["strategy"] for row in rows] == [
        "`adaptive-li2023 stages=1:1`",
        "`race delta=0.001`",
        "`race delta=0.01`",
    ]
    first = rows[0]
    assert (first["evaluations / image"], first["fewer by"]) == ("5.0", "20.0x")
    middle = whole.classes[whole.values[:, 10].argmax(axis=1)]  # the one trial of the stage
    same = int((middle == whole.predictions()).sum())
    assert first["same answer"].startswith(f"{same} of 80 [")
    assert same < 80
    correct = (whole.predictions() == whole.labels).mean()
    assert first["whole grid"] == f"{correct:.3f}"
    assert re.fullmatch(r"[\d.]+x \(\d+%\)", first["faster by"])


def test_run_without_an_exhaustive_counterpart_has_no_row(toys):
    assert len(cells(measured_table(toys[1:]))) == 0


def test_seconds_of_other_conditions_are_not_compared(toys):
    spec = {**toys[0].spec, "path": "fast"}
    toys[0].__dict__["spec"] = spec
    assert {row["faster by"] for row in cells(measured_table(toys))} == {"-"}


def test_committed_table_is_made_from_the_committed_runs():
    page = PAGE.read_text()
    assert with_table(page, measured_table(RUNS)) == page
    assert len(cells(measured_table(RUNS))) == len(RACED) > 0


@pytest.mark.parametrize("run", RACED, ids=lambda run: run.name)
def test_committed_race_is_whole_and_of_the_shipped_data(run, registry):
    frame, summary, spec = run.predictions(), run.summary, run.spec
    assert list(frame["sample_id"]) == spec["sample_ids"]
    counts = summary["accuracy"]["decision"]
    assert counts["correct"] == int((frame["decision"] == frame["label"]).sum())
    parts = summary["strategy"]["evaluations_per_image"]
    assert parts["race"] == pytest.approx(np.mean(frame["evaluations"]), abs=1e-3)
    assert summary["evaluations_per_image"] == pytest.approx(sum(parts.values()), abs=0.01)
    benchmark = registry.benchmark(spec["benchmark"]).choose(spec["subset"])
    assert spec["samples_digest"] == benchmark.samples_digest
    assert spec["benchmark_digest"] == benchmark.digest
    assert summary["provenance"]["dirty"] is False
