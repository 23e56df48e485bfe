"""SiT and its descendants REPA, iREPA and REG: DiT's transformer, predicting a velocity.

Source: willisma/SiT ``models.py``; sihyun-yu/REPA ``models/sit.py``; End2End-Diffusion/iREPA
``ldm/models/sit.py``; Martinser/REG ``models/sit.py`` (parameter names, order of operations).

The official SiT has its data at t = 1, the others have it at t = 0
(:class:`gcbench.diffusion.LinearFlow`). SiT's parameters are named and shaped as DiT's, so nothing
tells one's checkpoint from the other's; those trained with aligned features bring projectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gcbench.nets.dit import DiT, FinalLayer


class SiT(DiT):
    """Scalable interpolant transformer; the first C output channels are the velocity."""

    def misfit(self, tensors: Mapping[str, Tensor]) -> str | None:
        """What tells a checkpoint whose time runs the other way, None when nothing does."""
        if any(name.startswith("projectors.") for name in tensors):
            return "it was trained with REPA (keys projectors.*), whose time runs the other way"
        return None


class ConvProjector(nn.Module):
    """iREPA's projector: one 3 x 3 convolution over the grid of tokens."""

    def __init__(self, dim: int, z_dim: int) -> None:
        super().__init__()
        self.projection_layer = nn.Conv2d(dim, z_dim, 3, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, N, dim]`` in raster order to ``[B, N, z_dim]``."""
        side = round(tokens.shape[1] ** 0.5)
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        y: Tensor = self.projection_layer(grid).flatten(2).transpose(1, 2)
        return y


class REPA(DiT):
    """SiT whose tokens after block ``encoder_depth`` are aligned to features of other networks.

    The projectors matter in training only; a checkpoint must nevertheless bring them.

    Args:
        encoder_depth: blocks before the projectors (published: 8, in B/2 4).
        z_dims: width of each teacher's features (DINOv2-B: 768).
        projector_dim: width of the projectors' hidden layers.
        kwargs: as :class:`DiT`'s; the head puts out no variances.
    """

    def __init__(
        self,
        encoder_depth: int = 8,
        z_dims: Sequence[int] = (768,),
        projector_dim: int = 2048,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"learn_sigma": False, **kwargs})
        self.encoder_depth = encoder_depth
        dim = self.pos_embed.shape[2]
        self.projectors = nn.ModuleList(self.projector(dim, projector_dim, z) for z in z_dims)
        self.reset_parameters()

    def projector(self, dim: int, hidden: int, z_dim: int) -> nn.Module:
        """The map of one teacher: three linear layers."""
        return nn.Sequential(
            nn.Linear(dim, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, z_dim),
        )

    def encode_and_project(
        self, tokens: Tensor, condition: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens after all blocks ``[B, N, dim]``, and the features ``[B, N, z]`` per teacher."""
        features: tuple[Tensor, ...] = ()
        for depth, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, condition)
            if depth == self.encoder_depth:
                features = tuple(projector(tokens) for projector in self.projectors)
        return tokens, features

    def with_features(
        self, x: Tensor, t: Tensor, classes: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The velocity as of :meth:`forward`, and the projected features of each teacher."""
        condition = self.condition(t, classes)
        tokens, features = self.encode_and_project(self.embed(x), condition)
        return self.unpatchify(self.final_layer(tokens, condition)), features

    def misfit(self, tensors: Mapping[str, Tensor]) -> str | None:
        """What tells a checkpoint whose time runs the other way, None when nothing does."""
        if not any(name.startswith("projectors.") for name in tensors):
            return "it has no projectors, as SiT's, whose time runs the other way"
        return None

    def translated(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Early checkpoints split the blocks into two lists, which are joined here."""
        renamed = {}
        for name, tensor in super().translated(tensors).items():
            if name.startswith("decoder_blocks."):
                _, index, rest = name.split(".", 2)
                name = f"blocks.{int(index) + self.encoder_depth}.{rest}"
            renamed[name] = tensor
        return renamed


class IREPA(REPA):
    """REPA with a convolution as projector; the difference matters in training only."""

    def projector(self, dim: int, hidden: int, z_dim: int) -> nn.Module:
        """The map of one teacher: a 3 x 3 convolution, without a hidden layer."""
        return ConvProjector(dim, z_dim)


class ClassTokenFinalLayer(FinalLayer):
    """The final layer, with a linear layer of its own for the class token."""

    def __init__(self, dim: int, patch_values: int, z_dim: int) -> None:
        super().__init__(dim, patch_values)
        self.linear_cls = nn.Linear(dim, z_dim)


class REG(REPA):
    """REPA with one more token: the noisy class token of the teacher, denoised along.

    `denoise` and `prediction` take the N + 1 tokens of :meth:`embed_with`.
    """

    def __init__(self, z_dims: Sequence[int] = (768,), **kwargs: Any) -> None:
        super().__init__(z_dims=z_dims, **kwargs)
        dim, z_dim = self.pos_embed.shape[2], z_dims[0]
        self.cls_projectors2 = nn.Linear(z_dim, dim)
        self.wg_norm = nn.LayerNorm(dim, eps=1e-6)
        self.pos_embed = torch.cat([torch.zeros(1, 1, dim), self.pos_embed], dim=1)  # [1, N+1, D]
        patch_values = self.patch_size**2 * self.out_channels
        self.final_layer = ClassTokenFinalLayer(dim, patch_values, z_dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """As DiT's, the class token's output zero too."""
        super().reset_parameters()
        if isinstance(self.final_layer, ClassTokenFinalLayer):
            nn.init.zeros_(self.final_layer.linear_cls.weight)

    def embed_with(self, x: Tensor, class_token: Tensor) -> Tensor:
        """Tokens ``[B, N + 1, dim]`` of noisy latents and noisy class tokens ``[B, z]``."""
        first = self.wg_norm(self.cls_projectors2(class_token))[:, None]
        return torch.cat([first, self.x_embedder(x)], dim=1) + self.pos_embed

    def outputs(self, tokens: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities of the latent ``[B, C, h, w]`` and of the class token ``[B, z]``."""
        normed = self.final_layer.normed(tokens, condition)
        patches = self.unpatchify(self.final_layer.linear(normed[:, 1:]))
        assert isinstance(self.final_layer, ClassTokenFinalLayer)
        return patches, self.final_layer.linear_cls(normed[:, 0])

    def denoise(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Velocity of the latent ``[B, C, h, w]`` from :meth:`embed_with`, :meth:`condition`."""
        for block in self.blocks:
            tokens = block(tokens, condition)
        return self.outputs(tokens, condition)[0]

    def with_class_token(
        self, x: Tensor, t: Tensor, classes: Tensor, class_token: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Velocities of latent and class token, and the projected features ``[B, N + 1, z]``."""
        condition = self.condition(t, classes)
        tokens, features = self.encode_and_project(self.embed_with(x, class_token), condition)
        return *self.outputs(tokens, condition), features

    def forward(self, x: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """Refused: without a class token the network is another one."""
        raise TypeError("REG needs a class token: call with_class_token")
