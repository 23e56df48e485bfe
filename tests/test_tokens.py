"""Running sums say the same as all log-likelihoods at once."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.tokens import TokenResults, TokenSums, joined, spread, summed_up


def summed(log_likelihood, orders):
    sums = TokenSums(*log_likelihood.shape[1:])
    for tokens, order in zip(log_likelihood, orders, strict=True):
        sums.add(tokens, order)
    return sums


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(2, 4), st.integers(1, 7)),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_results_from_sums_are_those_from_every_log_likelihood(shape, seed, data):
    """Values are eighths, so that no order of summation rounds, and ties happen."""
    trials, classes, tokens = shape
    rng = np.random.default_rng(seed)
    visited = rng.integers(-40, 0, shape) / 8  # [K, C, N] in the order of visits
    orders = np.stack([rng.permutation(tokens) for _ in range(trials)])  # [K, N]
    true = data.draw(st.integers(0, classes - 1))
    false = data.draw(st.sampled_from([c for c in range(classes) if c != true]))
    found = summed(visited.astype(np.float32), orders).results(true, false)

    placed = np.empty(shape)
    for k, order in enumerate(orders):
        placed[k][:, order] = visited[k]
    for n in range(tokens):
        assert found["position_right"][n] == (placed[:, :, n].sum(0).argmax() == true)
        assert found["rank_right"][n] == (visited[:, :, n].sum(0).argmax() == true)
        first, last = visited[:, :, : n + 1], visited[:, :, tokens - n - 1 :]
        assert found["first_right"][n] == (first.sum((0, 2)).argmax() == true)
        assert found["last_right"][n] == (last.sum((0, 2)).argmax() == true)
    scores = visited.sum((0, 2))
    assert found["rival"] != true
    assert scores[found["rival"]] == max(s for c, s in enumerate(scores) if c != true)
    for name, other in (("against_false", false), ("against_rival", found["rival"])):
        expected = placed[:, true].mean(0) - placed[:, other].mean(0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-6)


def results(rng, images, trials=2, tokens=4):
    def right():
        return rng.random((images, trials, tokens)) < 0.5

    names = np.array([f"class {i}" for i in range(9)])
    return TokenResults(
        trials=np.array([1, 2]),
        sides=np.array([2]),
        position_right=right(),
        rank_right=right(),
        first_right=right(),
        last_right=right(),
        false_class=rng.integers(9, size=images),
        rival=rng.integers(9, size=(images, trials)),
        against_false=rng.normal(size=(images, trials, tokens)).astype(np.float16),
        against_rival=rng.normal(size=(images, trials, tokens)).astype(np.float16),
        true_name=names[rng.integers(9, size=images)],
        false_name=names[rng.integers(9, size=images)],
        rival_name=names[rng.integers(9, size=(images, trials))],
        picture=rng.integers(256, size=(images, 3, 3, 3)).astype(np.uint8),
    )


def test_summary_counts_all_images_and_shows_a_few():
    rng = np.random.default_rng(0)
    one, two = results(rng, 5), results(rng, 3)
    whole = joined([one, two])
    np.testing.assert_array_equal(whole.rival[5:], two.rival)
    labels = [4, 4, 4, 7, 7, 1, 1, 1]
    ids = [f"image-{i}" for i in range(8)]
    found = summed_up(whole, ids, labels, shown=4)
    assert found.total == 8
    for name in ("position_right", "rank_right", "first_right", "last_right"):
        expected = getattr(one, name).sum(0) + getattr(two, name).sum(0)
        np.testing.assert_array_equal(getattr(found, name), expected)
    assert found.sample_ids.tolist() == ["image-5", "image-0", "image-3"]
    assert found.labels.tolist() == [1, 4, 7]
    np.testing.assert_array_equal(found.picture, whole.picture[[5, 0, 3]])
    assert not any(getattr(found, f.name).dtype.hasobject for f in fields(found))


@pytest.mark.parametrize(
    ("labels", "count", "expected"),
    [
        ([3, 3, 1, 1, 1], 4, [2, 0, 3, 1]),  # a second round after one of each class
        ([3, 1, 1, 1], 4, [1, 0, 2]),  # no second one of class 3
        (list(range(10)), 4, [0, 2, 5, 7]),
        ([], 4, []),
    ],
)
def test_few_images_are_spread_over_the_classes(labels, count, expected):
    assert spread(labels, count) == expected
