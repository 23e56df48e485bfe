"""RandAR trained and evaluated on the raster order alone: the paper's fixed-order comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gcbench.method import SampleKey, Trials

from .randar import RandAR, mini_variant


class RandARRaster(RandAR):
    """The same network as `randar`; its one trial is the raster order."""

    name = "randar-raster"
    summary = "the same transformer, trained and evaluated on the raster order only"
    variants = (mini_variant("mini-randar-raster", "trained on the raster order"),)
    default_trials = 1
    max_trials: ClassVar[int | None] = 1

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        from gcbench.orders import raster_orders

        steps = self.variant.config["model"]["block_size"]
        return Trials(count, {"order": raster_orders(len(samples), steps)})
