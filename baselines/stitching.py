"""Sigma-stitching (paper Table 6; Puli et al. 2023): a margin of one instead of the widest."""

from __future__ import annotations

from typing import ClassVar

from gcbench.method import Variant

from ._shifts import ShiftViT, vit_variants


class Stitching(ShiftViT):
    """Its loss is of two classes alone, hence no FMoW, as in the paper.

    The loss is :func:`gcbench.training.stitching.sigma_stitching`, which says how sure it is.
    """

    name = "stitching"
    summary = "vision transformer trained under a shift, margins held near one"
    variants: ClassVar[tuple[Variant, ...]] = vit_variants("stitching", ("camelyon17", "celeba"))
