"""SiT as a classifier: DiT's transformer on the straight path from noise to data.

The published script turns its times, which lie between 0 and 1, into integers before the network
sees them: the network is told "pure noise" whatever it looks at. ``--protocol published`` does
that too; the default gives the network the true time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import published
from gcbench.method import Variant

from ._diffusion import LatentDiffusion, imagenet_variant, mini_variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gcbench.diffusion import Process
    from gcbench.nets.dit import DiT as Network


class SiT(LatentDiffusion):
    """A trial's error is that of the noise which the predicted velocity amounts to."""

    name = "sit"
    summary = "scalable interpolant transformer, error of the noise along the straight path"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant("mini-sit", "16 tokens of a 4 x 8 x 8 latent"),
        imagenet_variant("xl", "xl", published("sit-xl"), "its authors' release, 675 M parameters"),
    )

    @property
    def process(self) -> Process:
        from gcbench.diffusion import LinearFlow

        return LinearFlow(data_at=1)

    def network(self) -> Network:
        from gcbench.nets.sit import SiT as Network

        return Network(**self.config("model"))

    def network_time(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        time = super().network_time(steps)
        return time * 0 if self.runtime.protocol == "published" else time
