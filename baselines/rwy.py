"""RWY (paper Table 6; Idrissi et al. 2022): every class is drawn equally often in training."""

from __future__ import annotations

from typing import ClassVar

from gcbench.method import Variant

from ._shifts import ShiftViT, vit_variants


class RWY(ShiftViT):
    """ERM on resampled classes; the groups within a class are left as they are."""

    name = "rwy"
    summary = "vision transformer trained under a shift, classes drawn uniformly"
    variants: ClassVar[tuple[Variant, ...]] = vit_variants("rwy")
