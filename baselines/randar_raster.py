"""RandAR trained and evaluated on the raster order alone: the paper's fixed-order comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gcbench.checkpoint import published
from gcbench.method import SampleKey, Trials, Variant

from ._tokens import imagenet_variant, mini_variant
from .randar import SIZES, RandAR


class RandARRaster(RandAR):
    """The same network as `randar`; its one trial is the raster order."""

    name = "randar-raster"
    summary = "the same transformer, trained and evaluated on the raster order only"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant("mini-randar-raster", "trained on the raster order"),
        imagenet_variant("l", SIZES["l"], published("randar-raster-l"), "the paper's RandAR-L"),
    )
    preprocessing_options = frozenset()
    default_trials = 1
    max_trials: ClassVar[int | None] = 1

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        from gcbench.orders import raster_orders

        return Trials(count, {"order": raster_orders(len(samples), self.steps)})
