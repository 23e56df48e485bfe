"""Noising processes of the diffusion families: schedules, timestep grids, loss weightings.

A noisy latent is ``x_t = alpha x + sigma eps``. Time is counted in *steps* of 1/1000 along each
family's own axis, whichever way that runs: 0 is (almost) data for DDPM and REPA, and noise for SiT.
Pure numpy, except for the functions that are handed tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import GcbenchError

if TYPE_CHECKING:
    import torch

STEPS = 1000
Array = NDArray[np.float64]

# Of DDPM's linear schedule.
_BETA_START, _BETA_END = 1e-4, 0.02
_MIN_SNR_GAMMA = 5.0


class Process(Protocol):
    """How a family noises latents, and what its network predicts."""

    def alpha_sigma(self, steps: NDArray[np.generic]) -> tuple[Array, Array]:
        """Coefficients of data and noise at these steps."""

    def rate(self, steps: NDArray[np.generic]) -> Array:
        """``-d lambda / dt`` up to a constant, lambda the log signal-to-noise ratio, t its time."""

    def network_time(self, steps: NDArray[np.generic]) -> NDArray[np.float32]:
        """What the network's timestep embedder is given."""

    def target(self, data: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the network is trained to predict."""

    def noise(
        self, noisy: torch.Tensor, prediction: torch.Tensor, alpha: torch.Tensor
    ) -> torch.Tensor:
        """The noise that a prediction at ``noisy`` amounts to; ``alpha`` broadcasts to it."""


@dataclass(frozen=True)
class DDPM:
    """DiT's: 1000 integer steps, betas rising linearly; the network predicts the noise.

    Source: facebookresearch/DiT ``diffusion/gaussian_diffusion.py`` (schedule "linear").
    """

    @property
    def betas(self) -> Array:
        """``[1000]``."""
        return np.linspace(_BETA_START, _BETA_END, STEPS, dtype=np.float64)

    @property
    def alphas_cumprod(self) -> Array:
        """``[1000]``; that of step 0 is one step of noise already."""
        return np.cumprod(1.0 - self.betas, dtype=np.float64)

    def alpha_sigma(self, steps: NDArray[np.generic]) -> tuple[Array, Array]:
        kept = self.alphas_cumprod[steps.astype(np.int64)]
        return np.sqrt(kept), np.sqrt(1.0 - kept)

    def rate(self, steps: NDArray[np.generic]) -> Array:
        index = steps.astype(np.int64)
        return self.betas[index] / (1.0 - self.alphas_cumprod[index])

    def network_time(self, steps: NDArray[np.generic]) -> NDArray[np.float32]:
        return steps.astype(np.int64).astype(np.float32)

    def target(self, data: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return noise

    def noise(
        self, noisy: torch.Tensor, prediction: torch.Tensor, alpha: torch.Tensor
    ) -> torch.Tensor:
        return prediction


@dataclass(frozen=True)
class LinearFlow:
    """The straight path between data and noise; the network predicts the velocity ``dx_t / dt``.

    SiT has its data at t = 1; REPA, iREPA and REG have it at t = 0, so that the velocity has the
    other sign. A network given the other family's time puts out nonsense without an error.

    Source: willisma/SiT ``transport/path.py``; sihyun-yu/REPA ``loss.py``.
    """

    data_at: Literal[0, 1]

    def alpha_sigma(self, steps: NDArray[np.generic]) -> tuple[Array, Array]:
        t = steps.astype(np.float64) / STEPS
        return (t, 1.0 - t) if self.data_at else (1.0 - t, t)

    def rate(self, steps: NDArray[np.generic]) -> Array:
        alpha, sigma = self.alpha_sigma(steps)
        return 1.0 / (alpha * sigma)

    def network_time(self, steps: NDArray[np.generic]) -> NDArray[np.float32]:
        return (steps.astype(np.float64) / STEPS).astype(np.float32)

    def target(self, data: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return data - noise if self.data_at else noise - data

    def noise(
        self, noisy: torch.Tensor, prediction: torch.Tensor, alpha: torch.Tensor
    ) -> torch.Tensor:
        return noisy - alpha * prediction if self.data_at else noisy + alpha * prediction


def timestep_grid(count: int) -> NDArray[np.int64]:
    """``count`` equidistant steps of 1000, the first half a stride from 0, ``[count]``.

    Source: ar-classifier ``scripts/DiT_classifier.py`` (start ``step // 2``, stride ``step``).

    Raises:
        GcbenchError: ``count`` does not divide 1000.
    """
    if count < 1 or STEPS % count:
        fitting = [n for n in range(1, STEPS + 1) if STEPS % n == 0]
        raise GcbenchError(
            f"{count} timesteps do not fit the {STEPS} of the process",
            hint=f"expected one of {', '.join(map(str, fitting))}",
        )
    stride = STEPS // count
    return np.arange(stride // 2, STEPS, stride)


def nested_grids(count: int) -> Mapping[int, NDArray[np.int64]]:
    """Which grids a grid of ``count`` steps contains: size to positions in it, ``[size]``.

    A grid nests in another when its stride is a multiple of the other's and the halves of the
    strides fall on the other's steps: every odd multiple, and every multiple of a stride of 1.
    """
    fine = timestep_grid(count)
    found = {}
    for size in range(1, count + 1):
        if count % size == 0 and np.isin(coarse := timestep_grid(size), fine).all():
            found[size] = np.searchsorted(fine, coarse)
    return found


def golden_order(sizes: Array) -> NDArray[np.int64]:
    """A permutation of steps whose every beginning is spread over them in proportion to size.

    Steps of equal sizes are visited in the order of the fractional parts of multiples of the golden
    ratio, hence evenly; others as in sequential Poisson sampling (Ohlsson 1998), with these ranks
    in the place of random numbers.

    Args:
        sizes: positive, ``[T]``.
    """
    golden = (sqrt(5.0) - 1.0) / 2.0
    keys = (np.arange(len(sizes)) + 0.5) * golden % 1.0  # [T]
    return np.argsort((np.argsort(keys, kind="stable") + 0.5) / sizes, kind="stable")


def loss_weights(process: Process, steps: NDArray[np.generic]) -> dict[str, Array]:
    """Weights of the squared noise errors at ``steps`` for each published loss, ``[T]`` each.

    Each is ``w(lambda) * rate`` of Kingma and Gao 2023, "Understanding Diffusion Objectives as the
    ELBO with Simple Data Augmentation", constants left out (they move no decision); their
    ``w`` is 1 for the ELBO and ``exp(-lambda / 2)`` for FM-OT. The paper's "SNR-1" (Table 8) is
    read as SNR to the power -1: a uniform loss on the predicted data.
    """
    alpha, sigma = process.alpha_sigma(steps)
    inverse_snr = (sigma / alpha) ** 2
    return {
        "elbo": process.rate(steps),
        "inverse-snr": inverse_snr,
        "min-snr-5": np.minimum(1.0, _MIN_SNR_GAMMA * inverse_snr),
        "fm-ot": sigma / alpha * process.rate(steps),
    }
