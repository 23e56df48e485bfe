"""DINOv2 and a linear probe on its features (paper Table 2; Oquab et al. 2023)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from gcbench.checkpoint import Shipped, published, read_state_dict
from gcbench.errors import GcbenchError
from gcbench.method import Variant

from ._classifier import Classifier, imagenet_variant, mini_variant

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gcbench.nets.dinov2 import DINOv2 as Backbone
    from gcbench.nets.dinov2 import LinearProbe

SIZES: dict[str, dict[str, Any]] = {
    "l": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "xl": {"embed_dim": 1152, "depth": 28, "num_heads": 16},
}
# What a probe of the official grid reads, by its width in multiples of the backbone's.
GRID: dict[int, dict[str, Any]] = {
    blocks + average: {"blocks": blocks, "average": average}
    for blocks in (1, 4)
    for average in (False, True)
}


def _paper(size: str) -> Variant:
    return imagenet_variant(
        size,
        {
            "model": {**SIZES[size], "img_size": 256, "patch_size": 16},
            "probe": {"blocks": 1, "average": True, "classes": 1000},
        },
        {"model": published("dinov2"), "probe": published("dinov2-probe")},
        "the paper's own training on ImageNet-1K, unreleased",
        size=256,
        resize=292,
        interpolation="bicubic",
    )


class DINOv2(Classifier):
    """A frozen backbone and one linear layer on its class tokens and mean patch token."""

    name = "dinov2"
    summary = "self-supervised vision transformer with a linear probe"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant(
            {"model": "mini-dinov2", "probe": "mini-dinov2-probe"},
            "4 blocks on patches of 8 x 8 pixels, trained without labels",
        ),
        _paper("l"),
        _paper("xl"),
        imagenet_variant(
            "l14-release",
            {
                "model": {**SIZES["l"], "img_size": 518, "patch_size": 14},
                "probe": {"blocks": 4, "average": True, "classes": 1000},
            },
            {"model": published("dinov2-l14"), "probe": published("dinov2-l14-probe")},
            "its authors' release: trained on LVD-142M, so no row of the paper",
            interpolation="bicubic",
        ),
    )
    model: Backbone
    probe: LinearProbe

    def build(self) -> nn.Module:
        return self.backbone()

    def backbone(self) -> Backbone:
        """The network below the probe, without its weights."""
        from gcbench.nets.dinov2 import DINOv2 as Backbone

        return Backbone(**self.config("model"))

    def load(self) -> None:
        from gcbench.nets.dinov2 import LinearProbe

        backbone, read = self.backbone(), self.read
        width = (read["blocks"] + read["average"]) * backbone.embed_dim
        if read["blocks"] > backbone.depth:
            raise GcbenchError(
                f"{self.name} ({self.variant.name}): the probe reads {read['blocks']} blocks, the "
                f"backbone has {backbone.depth}",
                hint="take the backbone that the probe was trained on",
            )
        probe = LinearProbe(width, read["classes"])
        self.model = self.load_network("model", backbone)
        self.probe = self.load_network("probe", probe)

    @cached_property
    def read(self) -> dict[str, Any]:
        """How many blocks the probe reads, whether their mean patch token, and its classes.

        A probe of one's own may be any of the official grid: its width tells which.
        """
        read = dict(self.config("probe"))
        weights = self.variant.checkpoints["probe"]
        if "blocks" not in read and isinstance(weights, Shipped):
            read |= weights.card()["chosen"]
        own = self.runtime.checkpoint_files.get("probe")
        if own is not None and "weight" in (tensors := read_state_dict(own)):
            parts, left = divmod(tensors["weight"].shape[1], self.config("model")["embed_dim"])
            if not left and parts in GRID:
                read |= GRID[parts]
        return read

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        read = self.read
        features = self.model.probe_features(batch, read["blocks"], read["average"])
        found: torch.Tensor = self.probe(features)
        return found
