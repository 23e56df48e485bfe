"""Rules that combine trials: properties that hold for any scores."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gcbench.errors import GcbenchError
from gcbench.scores import RULES, Scores, TrialDesign, rule_for, rule_named, trial_ladder

SCORES = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, max_side=6),
    elements=st.floats(-3000, 0, width=32),
)


def record(values):
    count, _, classes = values.shape
    ids = tuple(f"s{i}" for i in range(count))
    return Scores(ids, np.zeros(count, np.int64), np.arange(classes) * 3, values)


@given(SCORES)
def test_all_rules_agree_on_a_single_trial(values):
    one = values[:, :1].astype(np.float64)
    mean = rule_named("mean")(one)
    np.testing.assert_array_equal(mean, one[:, 0])
    np.testing.assert_allclose(rule_named("log-mean-exp")(one), mean, rtol=1e-12)
    posterior = rule_named("mean-posterior")(one)
    np.testing.assert_allclose(np.exp(posterior).sum(-1), 1, rtol=1e-9)
    np.testing.assert_allclose(posterior - posterior[:, :1], mean - mean[:, :1], atol=1e-6)


@given(SCORES)
def test_mean_is_a_lower_bound_of_log_mean_exp(values):
    mean, bound = rule_named("mean")(values), rule_named("log-mean-exp")(values)
    assert (bound >= mean - 1e-6).all()
    assert (bound <= values.max(axis=1).astype(np.float64) + 1e-6).all()


@given(SCORES, st.permutations(range(6)))
def test_rules_ignore_the_order_of_trials(values, order):
    shuffled = values[:, [i for i in order if i < values.shape[1]]]
    for rule in RULES.values():
        np.testing.assert_allclose(rule(shuffled), rule(values), rtol=1e-9, atol=1e-9)


@given(SCORES, st.floats(-100, 100))
def test_rules_do_not_react_to_a_constant_added_to_all_classes_of_all_trials(values, shift):
    for name in RULES:
        before, after = rule_named(name)(values), rule_named(name)(values.astype(float) + shift)
        moved = after - before
        np.testing.assert_allclose(moved, moved[:, :1] + 0 * moved, atol=1e-6)


def test_rules_stay_finite_where_a_softmax_underflows():
    values = np.array([[[-9000.0, -100.0], [-100.0, -9000.0]]])
    for rule in RULES.values():
        assert np.isfinite(rule(values)).all()


def test_ties_go_to_the_lowest_class():
    assert record(np.zeros((1, 2, 3), np.float32)).predictions().tolist() == [0]


def test_predictions_are_label_space_indices():
    values = np.array([[[0.0, 1.0, 0.5]]], np.float32)
    assert record(values).predictions().tolist() == [3]


def test_unknown_rule_suggests_the_nearest():
    with pytest.raises(GcbenchError, match="did you mean 'mean'"):
        rule_named("meen")


def test_more_trials_than_stored_are_refused():
    with pytest.raises(GcbenchError, match="asked for 3 trials of a run that holds 2"):
        record(np.zeros((1, 2, 3), np.float32)).combined(trials=3)


def test_shape_that_does_not_fit_is_refused():
    with pytest.raises(GcbenchError, match="scores have shape"):
        Scores(("a",), np.zeros(1, np.int64), np.arange(2), np.zeros((1, 2, 3), np.float32))


@pytest.mark.parametrize(
    ("trials", "ladder"),
    [
        (1, (1,)),
        (4, (1, 2, 4)),
        (20, (1, 2, 5, 10, 20)),
        (250, (1, 2, 5, 10, 20, 50, 100, 200, 250)),
    ],
)
def test_ladder_counts(trials, ladder):
    assert trial_ladder(trials) == ladder


DESIGN = TrialDesign(
    nested={1: (1,), 4: (0, 1, 2, 3)}, weights={"early": (2.0, 1.0, 0.0, 0.0), "flat": (1.0,) * 4}
)


def designed(values):
    count, _, classes = values.shape
    return Scores(
        tuple(map(str, range(count))),
        np.zeros(count, int),
        np.arange(classes),
        values,
        True,
        DESIGN,
    )


def test_a_design_says_which_trials_make_up_a_smaller_run():
    scores = designed(np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32))
    assert scores.ladder == (1, 4)
    np.testing.assert_array_equal(scores.combined("mean", 1), scores.values[:, 1])
    with pytest.raises(GcbenchError, match=r"asked for 2 trials of a run of 4.*it contains 1, 4"):
        scores.combined("mean", 2)


def test_a_design_brings_its_own_weighted_rules():
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    scores = designed(values)
    assert scores.rules == ("mean", "early", "flat")
    expected = (2 * values[:, 0].astype(float) + values[:, 1]) / 4
    np.testing.assert_allclose(scores.combined("early"), expected, rtol=1e-12)
    np.testing.assert_allclose(scores.combined("flat"), scores.combined("mean"), rtol=1e-12)
    np.testing.assert_allclose(rule_for("early", DESIGN)(values), expected, rtol=1e-12)
    with pytest.raises(GcbenchError, match=r"unknown rule 'log-mean-exp'"):
        scores.combined("log-mean-exp")


def test_a_design_survives_json():
    assert TrialDesign.from_json(json.loads(json.dumps(DESIGN.as_json()))) == DESIGN
