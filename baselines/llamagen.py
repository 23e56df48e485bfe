"""LlamaGen, a GPT on image tokens in raster order (paper section 5; Sun et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gcbench.checkpoint import published
from gcbench.method import GenerativeMethod, SampleKey, Trials, Variant, Work

from ._tokens import check_vocabulary

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from gcbench.nets.llamagen_gpt import LlamaGenGPT
    from gcbench.nets.llamagen_vq import VQModel

# Official configurations; a token covers 16 x 16 pixels.
SIZES: dict[str, dict[str, Any]] = {
    "b": {"dim": 768, "n_layer": 12, "n_head": 12},
    "l": {"dim": 1024, "n_layer": 24, "n_head": 16},
    "xl": {"dim": 1280, "n_layer": 36, "n_head": 20},
}


def imagenet_variant(name: str, size: str, weights: str, image_size: int, note: str) -> Variant:
    """A variant of published size with LlamaGen's tokenizer."""
    model = {**SIZES[size], "block_size": (image_size // 16) ** 2}
    return Variant(
        name=name,
        label_space="imagenet-1k",
        config={"model": model, "tokenizer": {}, "image": {"grey": False}},
        checkpoints={"model": published(weights), "tokenizer": published("llamagen-vq16")},
        image_size=image_size,
        note=note,
    )


class LlamaGen(GenerativeMethod):
    """Scores are log p(tokens | class) in nats; the one trial is the raster order."""

    name = "llamagen"
    family = "autoregressive"
    summary = "autoregressive transformer on image tokens in raster order"
    variants: ClassVar[tuple[Variant, ...]] = (
        imagenet_variant("b", "b", "llamagen-b", 256, "smaller than any in the paper"),
        imagenet_variant("l", "l", "llamagen-l", 256, "LlamaGen-L at 256 px"),
        imagenet_variant(
            "xl",
            "xl",
            "llamagen-xl-384",
            384,
            "384 px, 24 x 24 tokens: its authors list no XL weights for 256 px",
        ),
    )
    tokenizer: VQModel
    model: LlamaGenGPT

    @property
    def preprocessing(self) -> str:
        grey = "grey, " if self.config("image")["grey"] else ""
        return f"{grey}adm-centre-crop-{self.variant.image_size}"

    def load(self) -> None:
        from gcbench.nets.llamagen_gpt import LlamaGenGPT
        from gcbench.nets.llamagen_vq import VQModel

        tokenizer = VQModel(**self.config("tokenizer"))
        model = LlamaGenGPT(**self.config("model"))
        check_vocabulary(self, model.vocab_size, tokenizer.quantize.embedding.num_embeddings)
        self.tokenizer = self.load_network("tokenizer", tokenizer)
        self.model = self.load_network("model", model)

    def preprocess(self, image: Image) -> torch.Tensor:
        from gcbench.preprocess import centre_crop, luminance, to_tensor

        if self.config("image")["grey"]:
            image = luminance(image)
        return to_tensor(centre_crop(image, self.variant.image_size))

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.encode(batch)

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        return Trials(count, {})

    def score(self, latent: torch.Tensor, trials: Trials, work: Work) -> torch.Tensor:
        import torch

        pair = work.pair_of_evaluation()  # [E]
        tokens = latent[work.image[pair].to(latent.device)]  # [E, N]
        bf16 = self.runtime.precision == "bf16"
        with torch.autocast(latent.device.type, torch.bfloat16, enabled=bf16):
            log_likelihood = self.model.token_log_likelihood(tokens, work.classes.to(latent.device))
        return log_likelihood.sum(-1)

    def flops_per_evaluation(self) -> float:
        """Matrix products and causal attention of one sequence of N tokens."""
        from gcbench.nets.decoder import swiglu_width

        model = {"multiple_of": 256, "vocab_size": 16384, **self.config("model")}
        dim, layers, length = model["dim"], model["n_layer"], model["block_size"]
        weights = layers * (4 * dim * dim + 3 * dim * swiglu_width(dim, model["multiple_of"]))
        attention = 2 * layers * length * length * dim
        return float(2 * length * (weights + dim * model["vocab_size"]) + attention)
