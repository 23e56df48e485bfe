"""Strategies end to end on the toy method: what is evaluated, decided, stored and reported."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gcbench.engine.audit import audit_of, compare
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.method import DiscriminativeMethod, Runtime, Variant
from gcbench.plan import plan
from gcbench.scores import decide
from gcbench.store import Store
from gcbench.strategy import NAMES, Strategy, strategy_named

RACE = strategy_named("race", delta=0.01)


def raced(plan_toy, folder="race", strategy=RACE, **options):
    planned = plan_toy(folder, trials=20, strategy=strategy, **options.pop("plan", {}))
    execute(planned, **options)
    return planned


@pytest.fixture
def exhaustive(plan_toy):
    planned = plan_toy("whole", trials=20)
    execute(planned)
    return planned.run


def test_raced_scores_are_those_of_the_grid_where_they_were_evaluated(plan_toy, exhaustive):
    scores = raced(plan_toy).run.scores()
    made = np.isfinite(scores.values)
    assert 0 < made.mean() < 1
    np.testing.assert_array_equal(scores.values[made], exhaustive.scores().values[made])
    assert made[:, 0].all()  # the first trial sees every class


def test_race_decides_as_the_grid_with_fewer_evaluations(plan_toy, exhaustive):
    run = raced(plan_toy).run
    whole = exhaustive.scores().predictions()
    assert (run.scores().decisions() == whole).mean() >= 0.99
    assert run.summary["evaluations_per_image"] < exhaustive.summary["evaluations_per_image"]


def test_race_without_risk_is_the_grid_until_one_class_is_left(plan_toy, exhaustive):
    scores = raced(plan_toy, strategy=strategy_named("race", delta=0.0)).run.scores()
    np.testing.assert_array_equal(scores.values, exhaustive.scores().values)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_batch_size_moves_neither_scores_nor_decisions(plan_toy, size):
    expected = raced(plan_toy, "a").run.scores().values
    got = raced(plan_toy, "b", batch_size=size).run.scores().values
    np.testing.assert_array_equal(got, expected)


def test_image_is_raced_alike_in_any_company(plan_toy, registry):
    benchmark = registry.benchmark("greys")
    backwards = replace(benchmark, samples=benchmark.samples[::-1])
    expected = raced(plan_toy, "a").run.scores().values
    got = raced(plan_toy, "b", plan={"benchmark": backwards}).run.scores().values
    np.testing.assert_array_equal(got[::-1], expected)


def test_interrupted_race_goes_on_with_the_calibration_it_began_with(plan_toy):
    whole = raced(plan_toy, "whole").run
    cut = plan_toy("cut", trials=20, strategy=RACE)
    seen = []

    def stop(shard):
        seen.append(shard.index)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(cut, on_shard=stop)
    before = cut.run.calibration
    again = plan_toy("cut", trials=20, strategy=RACE)
    execute(again)
    assert again.run.calibration == before
    assert again.run.summary["scores_digest"] == whole.summary["scores_digest"]


def test_out_of_memory_halves_the_batch_of_a_race_too(plan_toy, monkeypatch):
    expected = raced(plan_toy, "a").run.scores().values
    monkeypatch.setenv("TOY_MEMORY", "40")
    planned = raced(plan_toy, "b", batch_size=256)
    assert planned.run.summary["batch_size"] == 32
    np.testing.assert_array_equal(planned.run.scores().values, expected)


def test_every_evaluation_is_counted(plan_toy):
    run = raced(plan_toy).run
    made = np.isfinite(run.scores().values)
    calibration = run.calibration
    assert calibration["evaluations"] == 16 * 4 * 5
    total = run.summary["evaluations_per_image"] * len(made)
    assert total == pytest.approx(made.sum() + calibration["evaluations"], abs=1)
    assert run.summary["strategy"]["gain"] == pytest.approx(100 * len(made) / total, rel=1e-3)
    frame = run.predictions()
    assert (frame["evaluations"] == made.sum(axis=(1, 2))).all()


def test_predictions_and_summary_hold_the_decision_alone(plan_toy):
    run = raced(plan_toy).run
    frame = run.predictions()
    assert list(frame.columns) == ["sample_id", "label", "decision", "evaluations"]
    correct = int((frame["decision"] == frame["label"]).sum())
    assert run.summary["accuracy"] == {"decision": {"correct": correct, "total": 80}}
    assert run.summary["metrics"]["at"] == "decision"


def test_no_rule_applies_to_scores_with_gaps(plan_toy):
    scores = raced(plan_toy).run.scores()
    for rule in ("mean", "log-mean-exp"):
        with pytest.raises(GcbenchError, match="did not evaluate every class"):
            scores.predictions(rule)


def test_fixed_schedule_evaluates_its_stages(plan_toy):
    strategy = strategy_named("adaptive-li2023", stages="2:3,20:1")
    run = raced(plan_toy, strategy=strategy).run
    made = np.isfinite(run.scores().values)
    assert (made.sum(axis=1).max(axis=1) == 20).all()
    assert (made.sum(axis=(1, 2)) == 2 * 5 + 18 * 3).all()
    assert run.calibration is None


def test_strategies_are_different_runs(plan_toy):
    refused = {"propose+race", "prefix+race", "staged"}  # by the toy method
    chosen = [strategy_named(name) for name in NAMES if name not in refused]
    chosen += [strategy_named("race", delta=0.1), strategy_named("adaptive-li2023", stages="20:1")]
    keys = {plan_toy(trials=20, strategy=strategy).spec.key for strategy in chosen}
    assert len(keys) == len(chosen)


def test_strategy_is_written_out_in_the_key(plan_toy):
    assert plan_toy(trials=20, strategy=RACE).spec.strategy == "race delta=0.01"
    schedule = plan_toy(trials=20, strategy=strategy_named("adaptive-li2023"))
    assert schedule.spec.strategy == "adaptive-li2023 stages=2:5,20:1"


def test_proposal_is_refused_where_the_method_has_none(plan_toy):
    with pytest.raises(GcbenchError, match="grey-level has no cheap proposal"):
        plan_toy(strategy=strategy_named("propose+race"))


class OnePass(DiscriminativeMethod):
    name = "one-pass"
    variants = (Variant("tiny", "grey-5", {}, {}, 4),)
    preprocessing = "none"

    def load(self):
        raise AssertionError("refused before it is loaded")

    preprocess = scores = load


def test_race_is_refused_where_one_pass_gives_all_classes(registry, tmp_path):
    method = OnePass(OnePass.variants[0], Runtime())
    with pytest.raises(GcbenchError, match="one-pass needs one pass for all classes"):
        plan(
            [method],
            [registry.benchmark("greys")],
            Store(tmp_path),
            trials=None,
            seed=0,
            strategy=RACE,
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rase"}, "unknown strategy 'rase'.*did you mean 'race'"),
        ({"name": "race", "delta": 1.0}, "--delta 1: expected a chance"),
        ({"name": "race", "delta": -0.1}, "--delta -0.1: expected a chance"),
        ({"name": "exhaustive", "delta": 0.1}, "--delta 0.1 is no parameter of"),
        ({"name": "race", "keep": 4}, "--keep 4 is no parameter of --strategy race"),
        ({"name": "race", "stages": "2:1"}, "--stages 2:1 is no parameter"),
        ({"name": "adaptive-li2023", "stages": "2-1"}, "expected TRIALS:CLASSES pairs"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(GcbenchError, match=message):
        strategy_named(**arguments)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("2:6,20:1", "stage 1 keeps 6 classes, expected 1 to 5"),
        ("4:3,4:1", "stage 2 ends after 4 trials, expected 5 to 20"),
        ("2:3,21:1", "stage 2 ends after 21 trials, expected 3 to 20"),
        ("2:2,4:3", "stage 2 keeps 3 classes, expected 1 to 2"),
        ("2:3,4:2", "the last stage keeps 2 classes, expected 1"),
    ],
)
def test_impossible_schedules_are_named(stages, message):
    with pytest.raises(GcbenchError, match=message):
        strategy_named("adaptive-li2023", stages=stages).resolved(trials=20, classes=5)


def test_proposal_keeps_some_of_the_classes():
    assert strategy_named("propose+race", keep=7).resolved(20, 100).keep == 7
    assert 1 <= strategy_named("propose+race").resolved(20, 3).keep <= 3
    with pytest.raises(GcbenchError, match="--keep 101: expected 1 to 100"):
        strategy_named("propose+race", keep=101).resolved(20, 100)


def test_audit_is_the_exhaustive_run_of_some_images(plan_toy, exhaustive):
    planned = raced(plan_toy)
    audit = audit_of(planned, 0.25)
    execute(audit)
    assert len(audit.benchmark) == 20
    scores, whole = audit.run.scores(), exhaustive.scores()
    rows = [whole.sample_ids.index(id) for id in scores.sample_ids]
    np.testing.assert_array_equal(scores.values, whole.values[rows])
    found = compare(planned, audit)
    same = planned.run.scores().decisions()[rows] == scores.predictions()
    assert (found["agreed"], found["total"]) == (int(same.sum()), 20)
    assert audit.run.path.is_relative_to(planned.run.path)


def test_larger_audit_takes_in_the_smaller(plan_toy):
    planned = plan_toy(trials=20, strategy=RACE)
    few, many = (audit_of(planned, share).benchmark.samples for share in (0.1, 0.5))
    assert {s.id for s in few} < {s.id for s in many}
    assert [s.id for s in many] == sorted(s.id for s in many)


def test_command_reports_gain_and_agreement(gcbench, tmp_path):
    command = ("run", "--method", "grey-level", "--bench", "greys", "--trials", 20)
    command += ("--results", tmp_path / "r", "--strategy", "race", "--audit", 0.2)
    done = gcbench(*command)
    assert done.exit_code == 0, done.output
    assert "(race delta=0.001, K=20)" in done.output
    assert "x fewer than 100" in done.output
    assert "audit: 16/16 agree [0.806, 1.000]" in done.output
    (summary,) = (tmp_path / "r/runs").glob("*/summary.json")
    assert json.loads(summary.read_text())["audit"]["total"] == 16


def test_bill_of_a_race_is_an_upper_bound(gcbench, tmp_path):
    command = ("run", "--method", "grey-level", "--bench", "greys", "--results", tmp_path / "r")
    done = gcbench(*command, "--strategy", "race", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "at most: race delta=0.001" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--audit", "0.2"), "compares a strategy with the exhaustive one"),
        (("--strategy", "race", "--audit", "0"), "above 0 up to 1"),
        (("--strategy", "race", "--audit", "1.5"), "above 0 up to 1"),
        (("--strategy", "race", "--audit", "1", "--protocol", "published"), "images before"),
        (("--strategy", "race", "--rule", "log-mean-exp"), "decides by the mean"),
    ],
)
def test_contradicting_options_are_refused(gcbench, tmp_path, options, message):
    command = ("run", "--method", "grey-level", "--bench", "greys", "--results", tmp_path / "r")
    done = gcbench(*command, *options)
    assert done.exit_code != 0
    assert message in done.output
    assert not (tmp_path / "r").exists()


def test_decision_is_the_best_of_the_classes_with_most_trials():
    nan = np.nan
    values = np.array([[[9.0, 1.0, 2.0], [nan, 1.0, 2.5]], [[3.0, 1.0, 2.0], [0.0, 1.0, nan]]])
    assert decide(values).tolist() == [2, 0]
    whole = np.random.default_rng(0).normal(size=(50, 4, 6))
    assert (decide(whole) == whole.mean(axis=1).argmax(axis=1)).all()


def test_strategy_without_parameters_is_its_name():
    assert Strategy().label == "exhaustive"
