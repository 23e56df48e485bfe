"""Pairs of garments: balanced, made of the embedded images, and the same everywhere."""

from collections import Counter

import numpy as np
import pytest

DIGEST = "0c652f9e4fad8e42ab89eb96d1ee626c8155081712b7f2981a59532b004c6d6e"


@pytest.fixture(scope="module")
def pairs(registry):
    return registry.benchmark("mini-pairs")


def test_pixels_and_labels_are_those_of_every_machine(pairs):
    assert pairs.digest == DIGEST


def test_every_image_is_once_a_left_and_once_a_right_half(pairs, registry):
    singles = sorted(s.id for s in registry.benchmark("mini-val").samples)
    halves = [sample.id.split("+") for sample in pairs.samples]
    assert sorted(left for left, _ in halves) == singles
    assert sorted(right for _, right in halves) == singles
    assert all(left != right for left, right in halves)


def test_classes_are_pairs_of_classes_equally_often_in_every_hundred(pairs, registry):
    label = {s.id: s.label for s in registry.benchmark("mini-val").samples}
    for sample in pairs.samples:
        left, right = sample.id.split("+")
        assert sample.label == 10 * label[left] + label[right]
    for start in range(0, 2000, 100):
        assert Counter(s.label for s in pairs.samples[start : start + 100]) == Counter(range(100))
    assert pairs.label_space.labels[23] == "Pullover | Dress"


def test_halves_are_the_scaled_images(pairs, registry):
    singles = {s.id: s for s in registry.benchmark("mini-val").samples}
    sample = pairs.samples[123]
    image = np.asarray(sample.load().convert("L"), float)
    assert image.shape == (32, 32)
    for half, id in zip((image[:, :16], image[:, 16:]), sample.id.split("+"), strict=True):
        single = np.asarray(singles[id].load().convert("L"), float)
        assert half.mean() == pytest.approx(single.mean(), abs=1.5)
        # Bicubic shrinking by 28 / 16: columns follow those of the source.
        blocks = single.mean(axis=0).reshape(4, 7).mean(axis=1)
        np.testing.assert_allclose(half.mean(axis=0).reshape(4, 4).mean(axis=1), blocks, atol=12)


def test_pairs_stay_out_of_the_suite_that_stands_for_the_paper(registry):
    (family,) = [f for f in registry.families if "mini-pairs" in f.names]
    assert family.suite not in ("mini", "imagenet", "wilds")
