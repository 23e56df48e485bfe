"""Subsets: chosen by rule, balanced by class, independent of order and machine."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.bench import Benchmark, LabelSpace, Metric, Sample, content_digest
from gcbench.errors import GcbenchError

SPACE = LabelSpace("letters", tuple("abcdef"))


def benchmark(labels):
    samples = tuple(Sample(f"s{i:04d}", y, lambda: None) for i, y in enumerate(labels))
    return Benchmark("letters", "test", SPACE, tuple(sorted(set(labels))), samples, "digest")


LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@given(LABELS, st.integers(1, 8), st.sampled_from(["first", "random"]))
def test_subset_takes_n_of_each_class_or_all_there_are(labels, n, rule):
    chosen = benchmark(labels).choose(f"{rule}-{n}")
    for c, members in chosen.by_class().items():
        assert len(members) == min(n, labels.count(c))


@given(LABELS, st.integers(1, 8), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_random_subset_ignores_the_order_of_samples(labels, n, random):
    whole = benchmark(labels)
    shuffled = list(whole.samples)
    random.shuffle(shuffled)
    ids = {s.id for s in whole.choose(f"random-{n}").samples}
    assert {
        s.id for s in replace(whole, samples=tuple(shuffled)).choose(f"random-{n}").samples
    } == ids


@given(LABELS, st.integers(1, 8))
def test_smaller_random_subset_is_part_of_the_larger(labels, n):
    whole = benchmark(labels)
    small = {s.id for s in whole.choose(f"random-{n}").samples}
    assert small <= {s.id for s in whole.choose(f"random-{n + 1}").samples}


def test_first_subset_keeps_benchmark_order():
    ids = [s.id for s in benchmark([1, 0, 1, 0, 1]).choose("first-1").samples]
    assert ids == ["s0000", "s0001"]


def test_samples_digest_sees_ids_labels_and_order():
    one = benchmark([0, 1, 1])
    assert one.samples_digest == benchmark([0, 1, 1]).samples_digest
    assert one.samples_digest != benchmark([0, 1, 0]).samples_digest
    assert one.samples_digest != replace(one, samples=one.samples[::-1]).samples_digest
    assert one.samples_digest != one.choose("first-1").samples_digest


@given(LABELS, st.randoms(use_true_random=False))
def test_official_subset_is_the_first_two_in_sorted_order_under_its_own_name(labels, random):
    whole = benchmark(labels)
    shuffled = list(whole.samples)
    random.shuffle(shuffled)
    chosen = replace(whole, samples=tuple(shuffled)).choose("official-2k")
    assert chosen.subset == "official-2k"
    assert {s.id for s in chosen.samples} == {s.id for s in whole.choose("first-2").samples}


def test_seeds_choose_different_random_subsets_and_seed_0_is_the_default():
    whole = benchmark([0] * 40)
    default, zero, one = (whole.choose(f"random-5{seed}") for seed in ("", "@0", "@1"))
    assert default == zero
    assert (default.subset, one.subset) == ("random-5", "random-5@1")
    assert {s.id for s in default.samples} != {s.id for s in one.samples}


@pytest.mark.parametrize("rule", ["first-0", "first-2@1", "last-2", "first", "random-x", ""])
def test_unknown_subset_names_the_rules(rule):
    with pytest.raises(GcbenchError, match="use full, first-N or random-N"):
        benchmark([0, 1]).choose(rule)


def test_label_outside_the_candidate_classes_is_refused():
    with pytest.raises(GcbenchError, match="'s0' has label 4"):
        Benchmark("x", "test", SPACE, (0, 1), (Sample("s0", 4, lambda: None),), "digest")


def test_groups_are_columns_in_the_order_of_the_samples():
    samples = tuple(
        Sample(f"s{i}", 0, lambda: None, {"male": male}) for i, male in enumerate("0110")
    )
    assert Benchmark("x", "test", SPACE, (0,), samples, "d").groups == {"male": [*"0110"]}
    assert benchmark([0, 1]).groups == {}


def test_metric_names_the_groups_whose_worst_it_is():
    assert Metric().name == "accuracy"
    assert Metric(("male", "y")).name == "worst male x y"


def test_content_digest_ignores_order_and_sees_id_label_and_size():
    rows = [("a", 0, 10), ("b", 1, None)]
    digest = content_digest("set", rows)
    assert content_digest("set", rows[::-1]) == digest
    for changed in (("b", 1, 0), ("b", 0, None), ("c", 1, None)):
        assert content_digest("set", [rows[0], changed]) != digest
    assert content_digest("other", rows) != digest
