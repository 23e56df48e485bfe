"""The Frechet distance: closed forms, the textbook formula, and batches that do not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.errors import GcbenchError
from gcbench.frechet import Moments, frechet_distance


def moments(vectors, batch=None):
    found = Moments(vectors.shape[1])
    for start in range(0, len(vectors), batch or len(vectors)):
        found.add(vectors[start : start + (batch or len(vectors))])
    return found


def gaussian(mean, covariance):
    """Moments of a set that has exactly this mean and this (unbiased) covariance."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, float))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    points = np.concatenate([root.T, -root.T]) * np.sqrt((2 * len(root) - 1) / 2)
    return moments(points + np.asarray(mean, float))


def sets(seed, width=6):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(2, width, width))
    return [rng.normal(size=(40, width)) @ mixing[i] + rng.normal(size=width) for i in range(2)]


def test_moments_are_those_of_numpy_however_the_vectors_arrive():
    vectors = sets(0)[0].astype(np.float32) + 1000
    for batch in (1, 7, 40):
        found = moments(vectors, batch)
        exact = vectors.astype(np.float64)
        np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(exact, rowvar=False), rtol=1e-9)


@given(seed=st.integers(0, 999))
def test_a_set_has_no_distance_from_itself_and_the_order_of_two_does_not_matter(seed):
    first, second = map(moments, sets(seed))
    scale = np.trace(first.covariance) + np.trace(second.covariance)
    assert frechet_distance(first, first) <= 1e-10 * scale
    there, back = frechet_distance(first, second), frechet_distance(second, first)
    assert there == pytest.approx(back, rel=1e-9)
    assert there > 0


@given(seed=st.integers(0, 999))
def test_it_is_the_formula_with_a_general_matrix_square_root(seed):
    from scipy.linalg import sqrtm

    first, second = map(moments, sets(seed))
    gap = first.mean - second.mean
    root = sqrtm(first.covariance @ second.covariance)
    expected = gap @ gap + np.trace(first.covariance + second.covariance - 2 * root.real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_gaussians_in_one_dimension_have_a_closed_form():
    # (m - n)^2 + (s - r)^2 for standard deviations s and r
    distance = frechet_distance(gaussian([1], [[4]]), gaussian([4], [[25]]))
    assert distance == pytest.approx(9 + 9)


def test_gaussians_with_commuting_covariances_have_a_closed_form():
    rotation = np.array([[3, -4], [4, 3]]) / 5
    first = gaussian([0, 0], rotation @ np.diag([1, 9]) @ rotation.T)
    second = gaussian([2, -1], rotation @ np.diag([16, 4]) @ rotation.T)
    assert frechet_distance(first, second) == pytest.approx(5 + (1 - 4) ** 2 + (3 - 2) ** 2)


def test_fewer_images_than_dimensions_give_a_finite_distance():
    first, second = (moments(vectors[:3]) for vectors in sets(1, width=8))
    assert 0 < frechet_distance(first, second) < np.inf
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_one_image_and_unequal_features_are_refused():
    vectors = np.ones((4, 3))
    with pytest.raises(GcbenchError, match="at least 2 images, got 1"):
        frechet_distance(moments(vectors[:1]), moments(vectors))
    with pytest.raises(GcbenchError, match="of 3 and of 2 dimensions"):
        frechet_distance(moments(vectors), moments(vectors[:, :2]))


def test_it_agrees_with_torch_fidelity():
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid")
    first, second = map(moments, sets(2))
    statistics = [{"mu": m.mean, "sigma": m.covariance} for m in (first, second)]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert frechet_distance(first, second) == pytest.approx(
        theirs["frechet_inception_distance"], rel=1e-9
    )
