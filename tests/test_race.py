"""The race's arithmetic: exact at the end, careful before, and as risky as it says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.engine.race import (
    Spread,
    budget,
    looks,
    measure_sizes,
    measure_spread,
    survivors,
)

SCORES = arrays(np.float64, (3, 6, 5), elements=st.floats(-50, 50))
MASKS = arrays(bool, (3, 5)).map(lambda mask: mask | (np.arange(5) == 2))


def stay(values, alive=None, trials=20, pooled=1.0, slope=0.0, spend=0.01, sizes=None):
    alive = np.ones((len(values), values.shape[2]), bool) if alive is None else alive
    sizes = np.ones(trials) if sizes is None else sizes
    return survivors(values, alive, sizes=sizes, spread=Spread(pooled, slope), spend=spend)


@given(st.integers(1, 300))
def test_looks_end_with_the_last_trial_and_grow(trials):
    counts = looks(trials)
    assert counts[0] == 1
    assert counts[-1] == trials
    assert all(a < b <= max(a + 1, 1.25 * a) for a, b in pairwise(counts))


@given(st.integers(1, 300), st.floats(0, 1))
def test_shares_of_the_budget_add_up_to_no_more_than_it(trials, delta):
    shares = [budget(look, trials, delta) for look in range(len(looks(trials)))]
    assert all(share >= 0 for share in shares)
    assert sum(shares) <= delta
    assert shares[-1] == 0  # after the last trial there is nothing left to risk


@given(SCORES, MASKS, st.floats(0, 10), st.floats(0, 1))
def test_leader_stays_and_the_dead_stay_dead(values, alive, pooled, spend):
    left = stay(values, alive, pooled=pooled, spend=spend)
    assert not (left & ~alive).any()
    leaders = np.where(alive, values.mean(axis=1), -np.inf).argmax(axis=1)
    assert left[np.arange(3), leaders].all()


@given(SCORES, MASKS, st.floats(0, 10))
def test_nothing_is_dropped_without_a_budget(values, alive, pooled):
    assert (stay(values, alive, pooled=pooled, spend=0.0) == alive).all()


@given(SCORES, st.floats(0, 10), st.floats(0, 1), st.floats(0, 1))
def test_larger_budget_drops_at_least_as_much(values, pooled, one, other):
    small, large = sorted((one, other))
    assert not (
        stay(values, pooled=pooled, spend=large) & ~stay(values, pooled=pooled, spend=small)
    ).any()


@given(SCORES, st.floats(0, 10), st.floats(0.001, 1))
def test_less_variance_drops_at_least_as_much(values, pooled, spend):
    steady = stay(values, pooled=pooled, spend=spend)
    noisy = stay(values, pooled=4 * pooled + 1, spend=spend)
    # As many, not the same ones: among equal chances the order decides, and it may change.
    assert (steady.sum(axis=1) <= noisy.sum(axis=1)).all()


@given(SCORES, st.floats(0.1, 10))
def test_after_the_last_trial_only_those_level_with_the_leader_are_left(values, pooled):
    left = stay(values, trials=6, pooled=pooled, spend=1e-6)
    means = values.mean(axis=1)
    behind = means < means.max(axis=1, keepdims=True) - 1e-9
    assert not (left & behind).any()


@given(SCORES, MASKS)
def test_scores_of_dropped_classes_are_not_read(values, alive):
    gone = np.where(alive[:, None], values, np.nan)
    assert (stay(gone, alive) == stay(values, alive)).all()


def test_images_are_raced_apart():
    values = np.random.default_rng(0).normal(0, 3, (8, 3, 12))
    whole = stay(values)
    for row in range(8):
        assert (stay(values[row : row + 1]) == whole[row]).all()


@given(SCORES, st.floats(0, 10), st.floats(0.001, 1))
def test_variance_that_grows_with_the_gap_drops_no_more(values, pooled, spend):
    flat = stay(values, pooled=pooled, spend=spend)
    growing = stay(values, pooled=pooled, slope=2.0, spend=spend)
    # As many, not the same ones, as above.
    assert (flat.sum(axis=1) <= growing.sum(axis=1)).all()


def test_spread_of_equal_noise_is_level():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 2, (400, 4, 6)) - 20 * np.arange(6)
    spread = measure_spread(values)
    assert spread.variance(np.array([0.0, 50.0])) == pytest.approx(2 * 2**2, rel=0.15)
    # What all classes share in a trial cancels out.
    shared = measure_spread(values + rng.normal(0, 100, (400, 4, 1)))
    assert (shared.level, shared.slope) == pytest.approx((spread.level, spread.slope))


def test_spread_of_noise_that_grows_with_the_gap_is_a_slope():
    rng = np.random.default_rng(0)
    behind = np.array([0.0, 5, 20, 60, 100, 200])
    values = rng.normal(0, 1, (2000, 4, 6)) * np.sqrt(1 + 0.5 * behind) - behind
    spread = measure_spread(values)
    assert spread.slope == pytest.approx(0.5, rel=0.2)
    assert 0 <= spread.level < 8


def test_scores_that_never_vary_have_no_spread():
    spread = measure_spread(np.tile([3.0, 1.0, 1.0, -4.0], (2, 4, 1)))
    assert (spread.level, spread.slope) == pytest.approx((0, 0))
    assert measure_spread(np.zeros((2, 4, 3))) == Spread(0, 0)
    assert measure_spread(np.zeros((2, 4, 2))) == Spread(0, 0)


@pytest.mark.parametrize("delta", [0.2, 0.02])
def test_disagreements_stay_below_delta_when_the_model_holds(delta):
    rng = np.random.default_rng(0)
    images, trials, classes, noise = 4000, 20, 8, 3.0
    values = rng.normal(0, 2, (images, 1, classes)) + rng.normal(
        0, noise, (images, trials, classes)
    )
    alive, done = np.ones((images, classes), bool), 0
    spent = 0
    for look, count in enumerate(looks(trials)):
        spent += int(alive[alive.sum(1) > 1].sum()) * (count - done)
        spend = budget(look, trials, delta)
        args = {"sizes": np.ones(trials), "spread": Spread(2 * noise**2), "spend": spend}
        alive, done = survivors(values[:, :count], alive, **args), count
    best = np.where(alive, values.mean(axis=1), -np.inf).argmax(axis=1)
    assert (best != values.mean(axis=1).argmax(axis=1)).mean() <= delta
    assert spent < 0.8 * values.size


def decaying(images=600, trials=40, classes=8, seed=0):
    """Scores whose gaps shrink from trial to trial by `sizes`, in means and in noise alike."""
    rng = np.random.default_rng(seed)
    sizes = np.linspace(2, 0.3, trials)
    ratio = rng.normal(0, 2, (images, 1, classes)) + rng.normal(0, 3, (images, trials, classes))
    return ratio * sizes[:, None], sizes / sizes.mean()


def test_sizes_are_found_from_the_scores():
    values, sizes = decaying()
    assert np.array(measure_sizes(values)) == pytest.approx(sizes, rel=0.15)
    assert np.mean(measure_sizes(values)) == pytest.approx(1)


def test_trials_that_never_vary_have_equal_sizes():
    assert measure_sizes(np.zeros((2, 4, 3))) == (1, 1, 1, 1)


def test_smallest_size_is_a_share_of_the_largest():
    values = np.zeros((3, 5, 4))
    values[:, 0] = np.arange(4)
    sizes = measure_sizes(values)
    assert min(sizes) == pytest.approx(0.1 * max(sizes))


@given(SCORES, MASKS, st.floats(0, 10), st.floats(0.001, 1), st.floats(0.01, 100))
def test_only_the_ratio_of_sizes_matters_to_equal_trials(values, alive, pooled, spend, unit):
    """Sizes in another unit give leads in another unit and the same chances."""
    one = survivors(values, alive, sizes=np.ones(20), spread=Spread(pooled), spend=spend)
    other = survivors(
        values, alive, sizes=np.full(20, unit), spread=Spread(pooled / unit**2), spend=spend
    )
    # As many, not the same ones, as above; a chance at the very limit may fall to either side.
    assert (np.abs(one.sum(axis=1) - other.sum(axis=1)) <= 1).all()


def test_disagreements_stay_below_delta_with_trials_of_different_sizes():
    values, sizes = decaying(images=4000)
    trials, delta = values.shape[1], 0.05
    spread = measure_spread(values[:50], tuple(sizes.tolist()))
    alive, done, spent = np.ones((4000, 8), bool), 0, 0
    for look, count in enumerate(looks(trials)):
        spent += int(alive[alive.sum(1) > 1].sum()) * (count - done)
        args = {"sizes": sizes, "spread": spread, "spend": budget(look, trials, delta)}
        alive, done = survivors(values[:, :count], alive, **args), count
    best = np.where(alive, values.mean(axis=1), -np.inf).argmax(axis=1)
    assert (best != values.mean(axis=1).argmax(axis=1)).mean() <= delta
    assert spent < 0.7 * values.size
