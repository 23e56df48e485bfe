"""DAT's ConvNeXt, a classifier whose logits are the negative energies of a joint model.

Sources: xuwangyin/DAT (the stem); Yin et al. 2025; timm's ConvNeXt for everything else. Its input
is RGB in [0, 1] without any normalisation. Class scores are the logits; ``-logsumexp`` of them is
the energy of an image, which generation and outlier detection use and classification does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import LayerNorm2d
from timm.models.convnext import ConvNeXt
from torch import Tensor, nn


class ConvStem(nn.Module):
    """Three 3 x 3 convolutions with layer norms and GELUs in the place of one 4 x 4 patch layer.

    Args:
        width: channels of the first convolution; the second has half as many again.
        c_out: channels of the third, the width of the first stage.
    """

    def __init__(self, width: int, c_out: int) -> None:
        super().__init__()
        widths = (3, width, width * 3 // 2, c_out)
        layers: list[nn.Module] = []
        for index, stride in enumerate((2, 2, 1)):
            c_in, c = widths[index], widths[index + 1]
            layers += [nn.Conv2d(c_in, c, 3, stride, padding=1), LayerNorm2d(c), nn.GELU()]
        self.stem = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, c_out, H / 4, W / 4]``."""
        y: Tensor = self.stem(x)
        return y


class DAT(ConvNeXt):
    """ConvNeXt with :class:`ConvStem`; the defaults are ConvNeXt-L's.

    Args:
        num_classes: C.
        depths: blocks of each stage.
        dims: widths of the stages.
        stem_width: of the first convolution.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        depths: Sequence[int] = (3, 3, 27, 3),
        dims: Sequence[int] = (192, 384, 768, 1536),
        stem_width: int = 96,
    ) -> None:
        super().__init__(num_classes=num_classes, depths=tuple(depths), dims=tuple(dims))
        self.stem = ConvStem(stem_width, dims[0])  # type: ignore[assignment]

    @staticmethod
    def translated(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without the wrappers of the published trainings (a normaliser, averaged weights)."""
        plain = {}
        for name, value in tensors.items():
            while name.startswith(_WRAPPERS):
                name = name.split(".", 1)[1]
            if name != "n_averaged":
                plain[name] = value
        return plain


_WRAPPERS = ("module.", "base_model.")
