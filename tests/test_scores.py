"""Rules that combine trials: properties that hold for any scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gcbench.errors import GcbenchError
from gcbench.scores import RULES, Scores, rule_named, trial_ladder

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
