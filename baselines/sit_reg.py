"""SiT trained with REG: beside the latent it denoises the class token of a DINOv2.

The paper (section 5.4) does not say which class token its classifier feeds. Here it is the one of
the image under test, noised like the latent, and only the error of the latent's noise counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import Shipped, published
from gcbench.errors import GcbenchError
from gcbench.method import SampleKey, Trials, Variant, Work

from ._diffusion import imagenet_variant, mini_variant
from .sit_repa import REPA

if TYPE_CHECKING:
    import torch

    from gcbench.nets.class_token import ClassToken, EmbeddedClassToken
    from gcbench.nets.sit import REG as Network


def reg_variant(name: str, size: str, note: str) -> Variant:
    """A published model with its teacher."""
    variant = imagenet_variant(name, size, published("sit-xl-reg"), note)
    return replace(
        variant,
        config={**variant.config, "teacher": {}},
        checkpoints={**variant.checkpoints, "teacher": published("dinov2-b14")},
    )


def _mini_variant() -> Variant:
    variant = mini_variant("mini-sit-reg", "mini-sit-repa with mini-dinov2's class token")
    own = {"teacher": Shipped("mini-dinov2")}
    return replace(variant, checkpoints={**variant.checkpoints, **own})


class REG(REPA):
    """As REPA, with one more token."""

    name = "sit-reg"
    summary = "REPA that also denoises the class token of its teacher"
    variants: ClassVar[tuple[Variant, ...]] = (
        _mini_variant(),
        reg_variant("xl", "xl", "its authors' release, 4 M steps"),
    )
    further_tokens = 1
    model: Network
    teacher: ClassToken | EmbeddedClassToken

    def network(self) -> Network:
        from gcbench.nets.sit import REG as Network

        return Network(**self.config("model"))

    def load(self) -> None:
        from gcbench.nets.class_token import ClassToken, EmbeddedClassToken

        super().load()
        own = isinstance(self.variant.checkpoints["teacher"], Shipped)
        teacher = (EmbeddedClassToken if own else ClassToken)(**self.config("teacher"))
        if teacher.width != self.token_width:
            raise GcbenchError(
                f"{self.name} ({self.variant.name}): the network takes class tokens of width "
                f"{self.token_width}, its teacher makes {teacher.width}",
                hint="take the teacher that the network was trained with",
            )
        self.teacher = self.load_network("teacher", teacher)

    @property
    def token_width(self) -> int:
        """z, the width of a class token."""
        return self.model.cls_projectors2.in_features

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Moments of the latent and the class token, one after the other, [B, 2 C h w + z]."""
        import torch

        return torch.cat([super().encode(batch).flatten(1), self.teacher(batch)], dim=1)

    def moments(self, latent: torch.Tensor) -> torch.Tensor:
        side = self.model.side * self.model.patch_size
        return latent[:, : -self.token_width].unflatten(1, (2, -1, side, side))

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        """As of the other families, and the noise of the class token [B, K, z]."""
        drawn = super().trials(count, samples, seed)
        noise = self.named_noise("class token", count, samples, seed, (self.token_width,))
        return Trials(count, {**drawn.draws, "class_token": noise})

    def embed(
        self,
        noisy: torch.Tensor,
        latent: torch.Tensor,
        trials: Trials,
        work: Work,
        alpha: torch.Tensor,
        sigma: torch.Tensor,
    ) -> torch.Tensor:
        noise = trials.draws["class_token"][work.image, work.trial].to(latent.device)
        token = latent[:, -self.token_width :]  # [P, z]
        return self.model.embed_with(noisy, alpha[:, :, 0, 0] * token + sigma[:, :, 0, 0] * noise)
