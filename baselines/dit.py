"""DiT as a classifier: the class that predicts the noise best (paper section 5; Li et al. 2023).

The published script's latents are drawn from the posterior anew for every timestep, by a generator
that it does not seed; ``--protocol published`` reproduces its noise, not those.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import ByHand, published
from gcbench.method import Variant

from ._diffusion import LatentDiffusion, imagenet_variant, mini_variant
from ._shifts import MINI_SHIFTS, WILDS

if TYPE_CHECKING:
    from gcbench.diffusion import Process
    from gcbench.nets.dit import DiT as Network


def wilds_variant(size: str, data_set: str) -> Variant:
    """A variant for a WILDS set, as in the paper's section 6.6 and appendix A."""
    label_space, classes = WILDS[data_set]
    batch = 128 if data_set == "fmow" else 256
    weights = ByHand(
        "the paper's models for the WILDS sets are unreleased: train one (learning rate 1e-4, "
        f"batch {batch}, 300,000 steps, random crops) or bring your own"
    )
    name = f"{size}-{data_set}"
    variant = imagenet_variant(name, size, weights, "to be trained", num_classes=classes)
    return replace(variant, label_space=label_space)


class DiT(LatentDiffusion):
    """A trial's error is that of the noise at one of the 1000 steps of DDPM."""

    name = "dit"
    summary = "diffusion transformer, error of the predicted noise over timesteps"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant("mini-dit", "16 tokens of a 4 x 8 x 8 latent"),
        *(
            mini_variant(f"mini-dit-{stem}", f"trained on mini-{stem}", f"mini-{stem}", space)
            for stem, space in MINI_SHIFTS.items()
        ),
        imagenet_variant("xl", "xl", published("dit-xl"), "its authors' release, 675 M parameters"),
        imagenet_variant(
            "xl-diffusers", "xl", published("dit-xl-diffusers"), "the same, as on the hub"
        ),
        imagenet_variant("l-paper", "l", published("dit-paper-l"), "the paper's DiT-L"),
        imagenet_variant("xl-paper", "xl", published("dit-paper-xl"), "the paper's DiT-XL"),
        imagenet_variant("b", "b", ByHand("no DiT-B is published"), "a size of your own training"),
        *(wilds_variant(size, data_set) for data_set in WILDS for size in ("b", "l")),
    )

    @property
    def process(self) -> Process:
        from gcbench.diffusion import DDPM

        return DDPM()

    def network(self) -> Network:
        from gcbench.nets.dit import DiT as Network

        return Network(**self.config("model"))
