"""Empirical risk minimisation (paper Table 6): a ViT trained by plain cross-entropy."""

from __future__ import annotations

from typing import ClassVar

from gcbench.method import Variant

from ._shifts import ShiftViT, vit_variants


class ERM(ShiftViT):
    """What the other discriminative rows are compared with; three trainings are averaged."""

    name = "erm"
    summary = "vision transformer trained under a shift, plain cross-entropy"
    variants: ClassVar[tuple[Variant, ...]] = vit_variants("erm")
