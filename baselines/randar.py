"""RandAR, its likelihood averaged over random token orders (paper section 4; Pang et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gcbench.checkpoint import Checkpoint, Shipped, published
from gcbench.method import GenerativeMethod, SampleKey, Trials, Variant, Work

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from gcbench.nets.llamagen_vq import VQModel
    from gcbench.nets.randar import RandAR as Network

# Official configurations at 256 px: 16 x 16 tokens of LlamaGen's tokenizer, ImageNet's classes.
SIZES: dict[str, dict[str, Any]] = {
    "l": {"dim": 1024, "n_layer": 24, "n_head": 16},
    "xl": {"dim": 1280, "n_layer": 36, "n_head": 20},
}


def mini_variant(weights: str, note: str) -> Variant:
    """A variant for the embedded suite: 32 px, 8 x 8 tokens, the classes of Fashion-MNIST."""
    return Variant(
        name="mini",
        label_space="fashion-10",
        config={"image": {"grey": True}},
        checkpoints={"model": Shipped(weights), "tokenizer": Shipped("mini-vq")},
        image_size=32,
        note=note,
    )


def imagenet_variant(name: str, size: str, weights: Checkpoint, note: str) -> Variant:
    """A variant of published size (`l`, `xl`) with LlamaGen's tokenizer."""
    return Variant(
        name=name,
        label_space="imagenet-1k",
        config={"model": SIZES[size], "tokenizer": {}, "image": {"grey": False}},
        checkpoints={"model": weights, "tokenizer": published("llamagen-vq16")},
        image_size=256,
        note=note,
    )


class RandAR(GenerativeMethod):
    """Scores are log p(tokens | order, class) in nats; a trial is one token order."""

    name = "randar"
    family = "autoregressive"
    summary = "any-order autoregressive transformer, averaged over random token orders"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant("mini-randar", "trained on random orders"),
        imagenet_variant("l", "l", published("randar-paper"), "the paper's RandAR-L"),
        imagenet_variant("xl", "xl", published("randar-paper"), "the paper's RandAR-XL"),
        imagenet_variant("l-release", "l", published("randar-l-release"), "its authors' release"),
        imagenet_variant("xl-release", "xl", published("randar-xl-release"), "as l-release"),
    )
    default_trials = 20
    max_trials: ClassVar[int | None] = None
    tokenizer: VQModel
    model: Network

    @property
    def preprocessing(self) -> str:
        grey = "grey, " if self.config("image")["grey"] else ""
        return f"{grey}adm-centre-crop-{self.variant.image_size}"

    def load(self) -> None:
        from gcbench.nets.llamagen_vq import VQModel
        from gcbench.nets.randar import RandAR as Network

        self.tokenizer = self.load_network("tokenizer", VQModel(**self.config("tokenizer")))
        self.model = self.load_network("model", Network(**self.config("model")))

    def preprocess(self, image: Image) -> torch.Tensor:
        from gcbench.preprocess import centre_crop, luminance, to_tensor

        if self.config("image")["grey"]:
            image = luminance(image)
        return to_tensor(centre_crop(image, self.variant.image_size))

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.encode(batch)

    @property
    def steps(self) -> int:
        """N, the number of image tokens."""
        return int(self.config("model").get("block_size", 256))

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        from gcbench.orders import random_orders

        orders = random_orders(samples, count, self.steps, seed, self.runtime.protocol)
        return Trials(count, {"order": orders})

    def score(self, latent: torch.Tensor, trials: Trials, work: Work) -> torch.Tensor:
        import torch

        pair = work.pair_of_evaluation()  # [E]
        tokens = latent[work.image[pair].to(latent.device)]  # [E, N]
        orders = trials.draws["order"][work.image, work.trial][pair].to(latent.device)  # [E, N]
        bf16 = self.runtime.precision == "bf16"
        with torch.autocast(latent.device.type, torch.bfloat16, enabled=bf16):
            log_likelihood = self.model.token_log_likelihood(
                tokens, work.classes.to(latent.device), orders
            )
        return log_likelihood.sum(-1)

    def flops_per_evaluation(self) -> float:
        """Matrix products and causal attention of one sequence of 2N tokens."""
        from gcbench.nets.decoder import swiglu_width

        model = {"multiple_of": 256, "vocab_size": 16384, **self.config("model")}
        dim, layers, length = model["dim"], model["n_layer"], 2 * self.steps
        width = swiglu_width(dim, model["multiple_of"], None)
        weights = layers * (4 * dim * dim + 3 * dim * width)
        attention = 2 * layers * length * length * dim
        head = 2 * self.steps * dim * model["vocab_size"]
        return float(2 * length * weights + attention + head)
