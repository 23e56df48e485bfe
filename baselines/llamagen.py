"""LlamaGen, a GPT on image tokens in raster order (paper section 5; Sun et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gcbench.checkpoint import published
from gcbench.method import SampleKey, TokenScores, Trials, Variant, Work

from ._tokens import LlamaGenTokens, imagenet_variant, mini_variant

if TYPE_CHECKING:
    import torch

    from gcbench.nets.llamagen_gpt import LlamaGenGPT

# Official configurations; a token covers 16 x 16 pixels.
SIZES: dict[str, dict[str, Any]] = {
    "b": {"dim": 768, "n_layer": 12, "n_head": 12},
    "l": {"dim": 1024, "n_layer": 24, "n_head": 16},
    "xl": {"dim": 1280, "n_layer": 36, "n_head": 20},
}


class LlamaGen(LlamaGenTokens):
    """Scores are log p(tokens | class) in nats; the one trial is the raster order."""

    name = "llamagen"
    family = "autoregressive"
    summary = "autoregressive transformer on image tokens in raster order"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant("mini-llamagen", "raster order"),
        imagenet_variant("b", SIZES["b"], published("llamagen-b"), "smaller than in the paper"),
        imagenet_variant("l", SIZES["l"], published("llamagen-l"), "LlamaGen-L at 256 px"),
        imagenet_variant(
            "xl",
            SIZES["xl"],
            published("llamagen-xl-384"),
            "384 px, 24 x 24 tokens: its authors list no XL weights for 256 px",
            image_size=384,
        ),
    )
    model: LlamaGenGPT

    def load(self) -> None:
        from gcbench.nets.llamagen_gpt import LlamaGenGPT

        model = LlamaGenGPT(**self.config("model"))
        self.load_tokenizer(model.vocab_size)
        self.model = self.load_network("model", model)
        self.fast = self.cheaper(self.model)

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        return Trials(count, {})

    def token_scores(self, latent: torch.Tensor, trials: Trials, work: Work) -> TokenScores:
        import torch

        from gcbench.nets.sequences import sequences

        pair = work.pair_of_evaluation().to(latent.device)  # [E]
        classes = work.classes.to(latent.device)
        tokens = latent[work.image.to(latent.device)]  # [P, N]
        raster = torch.arange(self.steps).expand(len(tokens), -1)
        if self.fast is not None:
            of = sequences(self.model, tokens)
            return TokenScores(self.fast.log_likelihood(of, pair, classes), raster)
        with self.arithmetic():
            return TokenScores(self.model.token_log_likelihood(tokens[pair], classes), raster)

    def read(self, latent: torch.Tensor, trials: Trials, trial: int) -> tuple[torch.Tensor, None]:
        return latent, None

    def flops_per_evaluation(self) -> float:
        """Matrix products and causal attention of one sequence of N tokens."""
        return self.decoder_flops(self.steps)

    def flops_done(self, classes: int) -> float:
        return self.decoder_flops(self.steps, 1 if self.fast is None else classes)
