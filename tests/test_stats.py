"""Intervals and tests."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.errors import GcbenchError
from gcbench.stats import bootstrap_difference, holm, mcnemar_exact, wilson_interval


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    total = draw(st.integers(1, 100_000))
    return draw(st.integers(0, total)), total


outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60).map(np.array)
p_values = st.lists(st.floats(0, 1), max_size=30)


def test_wilson_interval_matches_a_published_example() -> None:
    # 81 of 263: Newcombe 1998, Table I, method 3 (score).
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    # 0 of 20: high is z^2 / (n + z^2).
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(counts())
def test_wilson_interval_holds_the_proportion_and_stays_a_proportion(case: tuple[int, int]) -> None:
    low, high = wilson_interval(*case)
    assert 0 <= low <= case[0] / case[1] <= high <= 1
    assert low < high


@given(counts())
def test_wilson_interval_is_symmetric_in_right_and_wrong(case: tuple[int, int]) -> None:
    correct, total = case
    low, high = wilson_interval(correct, total)
    assert wilson_interval(total - correct, total) == pytest.approx((1 - high, 1 - low))


@given(counts())
def test_wilson_interval_shrinks_with_more_images(case: tuple[int, int]) -> None:
    correct, total = case
    few, many = wilson_interval(correct, total), wilson_interval(2 * correct, 2 * total)
    assert many[1] - many[0] < few[1] - few[0]


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_impossible_counts(correct: int, total: int) -> None:
    with pytest.raises(GcbenchError, match=f"{correct} correct of {total}"):
        wilson_interval(correct, total)


def test_mcnemar_counts_only_discordant_images() -> None:
    first = np.array([True] * 9 + [False] * 1 + [True] * 50)
    second = np.array([False] * 9 + [True] * 1 + [True] * 50)
    test = mcnemar_exact(first, second)
    assert (test.only_first, test.only_second) == (9, 1)
    # 2 * (C(10,0) + C(10,1)) / 2^10
    assert test.p_value == pytest.approx(22 / 1024)


def test_mcnemar_of_equal_outcomes_is_one() -> None:
    same = np.array([True, False, True])
    assert mcnemar_exact(same, same).p_value == 1.0


@given(outcomes)
def test_mcnemar_is_symmetric_and_a_probability(pairs: np.ndarray) -> None:
    one, other = mcnemar_exact(pairs[:, 0], pairs[:, 1]), mcnemar_exact(pairs[:, 1], pairs[:, 0])
    assert one.p_value == other.p_value
    assert 0 < one.p_value <= 1
    assert (one.only_first, one.only_second) == (other.only_second, other.only_first)


def test_paired_tests_refuse_different_numbers_of_images() -> None:
    with pytest.raises(GcbenchError, match="same samples"):
        mcnemar_exact(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(GcbenchError, match="same samples"):
        bootstrap_difference(np.ones(3, bool), np.ones(4, bool), np.random.default_rng(0))


def test_bootstrap_of_a_seed_is_repeatable_and_covers_the_difference() -> None:
    draws = np.random.default_rng(3)
    first, second = draws.random(400) < 0.8, draws.random(400) < 0.7
    one = bootstrap_difference(first, second, np.random.default_rng(0))
    assert one == bootstrap_difference(first, second, np.random.default_rng(0))
    assert one.value == pytest.approx(first.mean() - second.mean())
    assert one.low < one.value < one.high


def test_bootstrap_equals_resampling_the_images_themselves() -> None:
    draws = np.random.default_rng(5)
    first, second = draws.random(300) < 0.8, draws.random(300) < 0.75
    picked = draws.integers(0, 300, size=(20_000, 300))
    plain = (first[picked].mean(axis=1) - second[picked].mean(axis=1)).astype(float)
    fast = bootstrap_difference(first, second, np.random.default_rng(1), resamples=20_000)
    # Both are estimates from 20,000 resamples on a grid of 1/300.
    assert (fast.low, fast.high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=2 / 300)


def test_bootstrap_needs_an_image() -> None:
    with pytest.raises(GcbenchError, match="without samples"):
        bootstrap_difference(np.ones(0, bool), np.ones(0, bool), np.random.default_rng(0))


def test_holm_matches_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(p_values)
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(raw: list[float]) -> None:
    adjusted = holm(raw)
    ranked = sorted(range(len(raw)), key=raw.__getitem__)
    assert all(adjusted[a] <= adjusted[b] for a, b in pairwise(ranked))
    for before, after in zip(raw, adjusted, strict=True):
        assert before <= after <= min(1.0, len(raw) * before)
