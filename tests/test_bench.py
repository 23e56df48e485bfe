"""Subsets: chosen by rule, balanced by class, independent of order and machine."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.bench import Benchmark, LabelSpace, Sample
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
    assert {s.id for s in replace(whole, samples=tuple(shuffled)).choose(f"random-{n}").samples} == ids


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


@pytest.mark.parametrize("rule", ["first-0", "last-2", "first", "random-x", ""])
def test_unknown_subset_names_the_rules(rule):
    with pytest.raises(GcbenchError, match="use full, first-N or random-N"):
        benchmark([0, 1]).choose(rule)


def test_label_outside_the_candidate_classes_is_refused():
    with pytest.raises(GcbenchError, match="'s0' has label 4"):
        Benchmark("x", "test", SPACE, (0, 1), (Sample("s0", 4, lambda: None),), "digest")
