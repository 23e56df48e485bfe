"""Methods whose likelihood can stop after the first scales of an image, and so be had for less."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from gcbench.method import AutoregressiveMethod, Trials, Work
from gcbench.stages import Stage

if TYPE_CHECKING:
    import torch


class CoarseToFineMethod(AutoregressiveMethod):
    """An autoregressive method that visits an image scale by scale, the coarsest first.

    `stage_presets` are the settings of `--strategy staged` that have a name.
    """

    stage_presets: ClassVar[Mapping[str, tuple[Stage, ...]]] = {}

    @property
    @abstractmethod
    def scale_count(self) -> int:
        """S, the scales of the network."""

    @abstractmethod
    def score_scales(
        self, latent: torch.Tensor, trials: Trials, work: Work, scales: int
    ) -> torch.Tensor:
        """As `score`, by the likelihood of the first `scales` scales."""

    @abstractmethod
    def flops_of_scales(self, scales: int) -> float:
        """Floating-point operations of one evaluation on the first `scales` scales."""
