"""Rounds: who is evaluated when, in which batches; the fixed schedule of Li et al."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.engine.adaptive import best, new_trials, spread_timesteps
from gcbench.engine.race import Spread
from gcbench.engine.rounds import flat_batches, schedule
from gcbench.strategy import strategy_named


@given(arrays(bool, (4, 7)), st.integers(1, 40), st.integers(1, 3))
def test_batches_hold_every_living_class_once_and_are_nearly_equal(alive, size, steps):
    images = np.flatnonzero(alive.any(axis=1))
    if not len(images):
        return
    classes = torch.arange(7) + 10
    trials = [5, 2, 9][:steps]
    seen, sizes = [], []
    for work, (image, trial, column) in flat_batches(alive, images, trials, classes, size):
        pair = work.pair_of_evaluation()
        assert (work.image[pair].numpy() == image).all()
        assert (work.trial[pair].numpy() == trial).all()
        assert (work.classes.numpy() == column + 10).all()
        assert work.offsets[0] == 0
        assert (work.offsets.diff() > 0).all()
        seen += zip(image.tolist(), trial.tolist(), column.tolist(), strict=True)
        sizes.append(len(work.classes))
    assert seen == [(i, k, c) for i in images for k in trials for c in np.flatnonzero(alive[i])]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("trials", [1, 2, 20, 250])
def test_race_visits_every_trial_once_in_the_order_given(trials):
    order = np.random.default_rng(0).permutation(trials).tolist()
    rounds, _ = schedule(strategy_named("race"), order, spread=Spread(1.0))
    assert [k for trials in rounds for k in trials] == order


def test_stages_spread_their_trials_and_reuse_those_of_before():
    assert spread_timesteps(4, 1000) == [125, 375, 625, 875]
    assert new_trials([2, 4, 8], 8) == [[2, 6], [1, 3, 5, 7], [0, 4]]
    assert new_trials([3, 20], 20)[0] == [3, 9, 15]


@given(arrays(np.float64, (3, 4, 6), elements=st.floats(-9, 9)), st.integers(1, 6))
def test_best_classes_by_their_means_go_on(values, keep):
    alive = np.ones((3, 6), bool)
    kept = best(values, alive, keep)
    assert (kept.sum(axis=1) == keep).all()
    means = values.mean(axis=1)
    for row in range(3):
        assert keep == 6 or means[row][kept[row]].min() >= means[row][~kept[row]].max()


def test_dropped_classes_do_not_come_back():
    values = np.zeros((1, 2, 4))
    values[0, :, 0] = 9
    alive = np.array([[False, True, True, False]])
    assert best(values, alive, 1).tolist() == [[False, True, False, False]]
    assert best(values, alive, 3).tolist() == alive.tolist()
