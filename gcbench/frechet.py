"""Frechet distance between two sets of feature vectors, each taken for a Gaussian.

Source: Heusel et al. 2017, "GANs trained by a two time-scale update rule" (FID); Dowson and Landau
1982 for the closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import GcbenchError

Vectors = NDArray[np.floating[Any]]


class Moments:
    """Mean and covariance of vectors that arrive in batches, in float64.

    Batches are merged about their means (Chan et al. 1979): sums of squares would cancel where a
    feature's mean is large against its spread.
    """

    def __init__(self, width: int):
        self.count = 0
        self.mean = np.zeros(width)  # [d]
        self._scatter = np.zeros((width, width))  # [d, d]

    def add(self, vectors: Vectors) -> None:
        """Takes in vectors [n, d]."""
        vectors = vectors.astype(np.float64)
        count = self.count + len(vectors)
        mean = vectors.mean(axis=0)
        centred, step = vectors - mean, mean - self.mean
        weight = self.count * len(vectors) / count
        self._scatter += centred.T @ centred + weight * np.outer(step, step)
        self.mean += step * len(vectors) / count
        self.count = count

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Unbiased, [d, d]. Raises GcbenchError for fewer than two vectors."""
        if self.count < 2:
            raise GcbenchError(
                f"a covariance needs at least 2 images, got {self.count}",
                hint="measure on more images",
            )
        return self._scatter / (self.count - 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m - n|^2 + tr(A) + tr(B) - 2 tr((A B)^1/2) of two Gaussians N(m, A) and N(n, B).

    The last trace is the sum of the singular values of A^1/2 B^1/2, exact to rounding also where
    covariances are nearly singular; roots of eigenvalues of the product of all would not be.

    Raises:
        GcbenchError: fewer than two vectors, or sets of different width.
    """
    if first.mean.shape != second.mean.shape:
        raise GcbenchError(
            f"features of {len(first.mean)} and of {len(second.mean)} dimensions do not compare",
            hint="take both from one network",
        )
    roots = _square_root(first.covariance) @ _square_root(second.covariance)
    cross = np.linalg.svd(roots, compute_uv=False).sum()
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    gap = first.mean - second.mean
    return max(0.0, float(gap @ gap + traces - 2 * cross))


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a symmetric positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
