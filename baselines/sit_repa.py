"""SiT trained with REPA, its features aligned to DINOv2's (paper section 5.4; Yu et al. 2025).

Its time runs from data to noise, the other way than SiT's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import published
from gcbench.method import Variant

from ._diffusion import LatentDiffusion, imagenet_variant, mini_variant

if TYPE_CHECKING:
    from gcbench.diffusion import Process
    from gcbench.nets.dit import DiT as Network


class REPA(LatentDiffusion):
    """As SiT; the projectors that aligned its features are loaded and not used."""

    name = "sit-repa"
    summary = "SiT aligned to the features of a self-supervised encoder"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant("mini-sit-repa", "mini-sit aligned to mini-dinov2"),
        imagenet_variant("xl", "xl", published("sit-xl-repa"), "its authors' release, 4 M steps"),
    )

    @property
    def process(self) -> Process:
        from gcbench.diffusion import LinearFlow

        return LinearFlow(data_at=0)

    def network(self) -> Network:
        from gcbench.nets.sit import REPA as Network

        return Network(**self.config("model"))
