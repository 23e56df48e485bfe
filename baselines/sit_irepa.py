"""SiT trained with iREPA: REPA with a convolution as projector and standardised teacher features.

Its latents are standardised channel by channel with statistics of their own
(End2End-Diffusion/iREPA ``ldm/train.py``) instead of Stable Diffusion's one number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import published
from gcbench.method import Variant

from ._diffusion import imagenet_variant, mini_variant
from .sit_repa import REPA

if TYPE_CHECKING:
    import torch

    from gcbench.nets.dit import DiT as Network
    from gcbench.nets.vae import LatentStatistics


def irepa_variant(name: str, size: str, note: str) -> Variant:
    """A published model: its own packaging of the autoencoder, and the latents' statistics."""
    variant = imagenet_variant(name, size, published("sit-xl-irepa"), note)
    own = {
        "autoencoder": published("irepa-vae"),
        "statistics": published("irepa-vae-statistics"),
    }
    return replace(
        variant,
        config={**variant.config, "statistics": {}},
        checkpoints={**variant.checkpoints, **own},
    )


class IREPA(REPA):
    """As REPA, on latents of zero mean and unit deviation in every channel."""

    name = "sit-irepa"
    summary = "REPA with a convolutional projector, on standardised latents"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant("mini-sit-irepa", "mini-sit-repa, iREPA's projector and features"),
        irepa_variant("xl", "xl", "400 k steps; the paper does not name its teacher"),
    )
    statistics: LatentStatistics

    def network(self) -> Network:
        from gcbench.nets.sit import IREPA as Network

        return Network(**self.config("model"))

    def load(self) -> None:
        from gcbench.nets.vae import LatentStatistics

        super().load()
        if "statistics" in self.variant.checkpoints:
            statistics = LatentStatistics(**self.config("statistics"))
            self.statistics = self.load_network("statistics", statistics)
        else:  # mini-vae's latents are standardised by its weights
            statistics = LatentStatistics(self.autoencoder.latent_channels)
            self.statistics = statistics.to(self.runtime.device)

    @property
    def latent_scale(self) -> torch.Tensor:
        return self.statistics.latents_scale[:, None, None]

    @property
    def latent_bias(self) -> torch.Tensor:
        return self.statistics.latents_bias[:, None, None]
