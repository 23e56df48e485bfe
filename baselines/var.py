"""VAR, a transformer that predicts an image scale by scale (paper section 5; Tian et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import Shipped, published
from gcbench.errors import GcbenchError
from gcbench.method import SampleKey, TokenScores, Trials, Variant, Work
from gcbench.scales import CoarseToFineMethod

from ._tokens import check_vocabulary

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from gcbench.nets.var import VAR as Network
    from gcbench.nets.var_vqvae import VQVAE

# Of the published models at 256 px.
SCALES = 10

# For the embedded images: 32 px, six scales from 1 x 1 to 8 x 8. The pixels are those that all
# methods see of them, not those of VAR's own transform.
MINI = Variant(
    name="mini",
    label_space="fashion-10",
    config={
        "image": {"grey": True, "transform": "adm-centre-crop"},
        "likelihood": {"scales": 6},
    },
    checkpoints={"model": Shipped("mini-var"), "tokenizer": Shipped("mini-var-vqvae")},
    image_size=32,
    note="all 6 scales: 130 codes",
)


def imagenet_variant(
    name: str, depth: int, weights: str, note: str, scales: int = SCALES
) -> Variant:
    """A published model; the likelihood is that of its first `scales` scales."""
    return Variant(
        name=name,
        label_space="imagenet-1k",
        config={
            "model": {"depth": depth},
            "tokenizer": {},
            "image": {"grey": False},
            "likelihood": {"scales": scales},
        },
        checkpoints={"model": published(weights), "tokenizer": published("var-vqvae")},
        image_size=256,
        note=note,
    )


class VAR(CoarseToFineMethod):
    """Scores are log p(codes of the scales | class) in nats; there is one trial."""

    name = "var"
    family = "autoregressive"
    summary = "next-scale transformer, likelihood over all spatial scales"
    variants: ClassVar[tuple[Variant, ...]] = (
        MINI,
        imagenet_variant("d16", 16, "var-d16", "310 M parameters, all 10 scales"),
        imagenet_variant("d20", 20, "var-d20", "601 M parameters, all 10 scales"),
        imagenet_variant("d24", 24, "var-d24", "1.0 B parameters, all 10 scales"),
        imagenet_variant("d30", 30, "var-d30", "2.0 B parameters, all 10 scales"),
        imagenet_variant("d16-first6", 16, "var-d16", "d16, first 6 scales: 91 of 680 codes", 6),
    )
    tokenizer: VQVAE
    model: Network

    @property
    def preprocessing(self) -> str:
        grey = "grey, " if self.config("image")["grey"] else ""
        return f"{grey}{self._transform}-{self.variant.image_size}"

    @property
    def _transform(self) -> str:
        return str(self.config("image").get("transform", "var-validation"))

    def load(self) -> None:
        from gcbench.nets.var import VAR as Network
        from gcbench.nets.var_vqvae import VQVAE

        tokenizer, model = VQVAE(**self.config("tokenizer")), Network(**self.config("model"))
        check_vocabulary(self, model.vocab_size, tokenizer.quantize.embedding.num_embeddings)
        if model.patch_nums != tokenizer.patch_nums:
            raise GcbenchError(
                f"{self.name} ({self.variant.name}): the network has scales of sides "
                f"{list(model.patch_nums)}, its tokenizer {list(tokenizer.patch_nums)}",
                hint="take the tokenizer that the network was trained on",
            )
        if not 1 <= self.scales <= len(model.patch_nums):
            raise GcbenchError(
                f"{self.name} ({self.variant.name}): the likelihood of the first {self.scales} "
                f"scales is asked for, the network has {len(model.patch_nums)}",
                hint=f"expected 1 to {len(model.patch_nums)}",
            )
        self.tokenizer = self.load_network("tokenizer", tokenizer)
        self.model = self.load_network("model", model)

    @property
    def scales(self) -> int:
        """How many scales, from the coarsest, the likelihood covers."""
        return int(self.config("likelihood")["scales"])

    def preprocess(self, image: Image) -> torch.Tensor:
        from gcbench.preprocess import (
            centre_crop,
            luminance,
            to_tensor,
            var_validation_transform,
        )

        if self.config("image")["grey"]:
            image = luminance(image)
        if self._transform == "adm-centre-crop":
            return to_tensor(centre_crop(image, self.variant.image_size))
        return var_validation_transform(image, self.variant.image_size)

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.encode(batch)

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        return Trials(count, {})

    def codes(self, latent: torch.Tensor, trials: Trials, work: Work) -> torch.Tensor:
        """Codes of all scales of each pair of `work`, int64 [P, L]."""
        return latent[work.image.to(latent.device)]

    @property
    def token_sides(self) -> tuple[int, ...]:
        return tuple(self.model.patch_nums[: self.scales])

    def token_scores(self, latent: torch.Tensor, trials: Trials, work: Work) -> TokenScores:
        """The codes are visited scale by scale, from coarse to fine."""
        import torch

        codes = self.codes(latent, trials, work)  # [P, L]
        scores = self.log_likelihood(codes, work, self.scales)
        return TokenScores(scores, torch.arange(scores.shape[1]).expand(len(codes), -1))

    @property
    def scale_count(self) -> int:
        from gcbench.nets.var import PATCH_NUMS_256

        return len(self.config("model").get("patch_nums", PATCH_NUMS_256))

    def score_scales(
        self, latent: torch.Tensor, trials: Trials, work: Work, scales: int
    ) -> torch.Tensor:
        return self.log_likelihood(self.codes(latent, trials, work), work, scales).sum(-1)

    def log_likelihood(self, tokens: torch.Tensor, work: Work, scales: int) -> torch.Tensor:
        """log p(code | class, coarser scales) of the l codes of the first `scales` scales.

        Args:
            tokens: codes of all scales of each pair of `work`, int64 [P, L].

        Returns:
            fp32 [E, l], from the coarsest scale to the finest.
        """
        from gcbench.nets.var import scale_ends

        tokens = tokens[:, : scale_ends(self.model.patch_nums)[scales - 1]]
        var_input = self.tokenizer.quantize.var_input(tokens)  # [P, L - 1, e]
        pair = work.pair_of_evaluation().to(tokens.device)  # [E]
        with self.arithmetic():
            return self.model.token_log_likelihood(
                tokens[pair], var_input[pair], work.classes.to(tokens.device)
            )

    def flops_per_evaluation(self) -> float:
        return self.flops_of_scales(self.scales)

    def flops_of_scales(self, scales: int) -> float:
        """Matrix products and block-causal attention of one sequence of codes."""
        from gcbench.nets.var import PATCH_NUMS_256, scale_ends

        model = {"vocab_size": 4096, "patch_nums": PATCH_NUMS_256, **self.config("model")}
        depth, sides = model["depth"], model["patch_nums"][:scales]
        dim = model.get("embed_dim") or 64 * depth
        ends = scale_ends(sides)
        visible = sum(side * side * end for side, end in zip(sides, ends, strict=True))
        layers = depth * (2 * ends[-1] * 12 * dim * dim + 2 * 6 * dim * dim + 4 * visible * dim)
        return float(layers + 2 * ends[-1] * dim * model["vocab_size"])
