"""RandAR, its likelihood averaged over random token orders (paper section 4; Pang et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from gcbench.checkpoint import Shipped
from gcbench.method import GenerativeMethod, SampleKey, Trials, Variant, Work

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from gcbench.nets.llamagen_vq import VQModel
    from gcbench.nets.randar import RandAR as Network

MINI_TOKENIZER = {
    "codebook_size": 512,
    "codebook_embed_dim": 8,
    "ch": 32,
    "ch_mult": (1, 2, 2),
    "num_res_blocks": 1,
    "z_channels": 64,
}
MINI_MODEL = {
    "dim": 192,
    "n_layer": 6,
    "n_head": 6,
    "block_size": 64,
    "vocab_size": 512,
    "num_classes": 10,
    "multiple_of": 64,
}


def mini_variant(weights: str, note: str) -> Variant:
    """A variant for the embedded suite: 32 px, 8x8 tokens, the classes of Fashion-MNIST."""
    return Variant(
        name="mini",
        label_space="fashion-10",
        config={"model": MINI_MODEL, "tokenizer": MINI_TOKENIZER},
        checkpoints={"model": Shipped(weights), "tokenizer": Shipped("mini-vq")},
        image_size=32,
        note=note,
    )


class RandAR(GenerativeMethod):
    """Scores are log p(tokens | order, class) in nats; a trial is one token order."""

    name = "randar"
    family = "autoregressive"
    summary = "any-order autoregressive transformer, averaged over random token orders"
    variants = (mini_variant("mini-randar", "trained on random orders"),)
    default_trials = 20
    max_trials: ClassVar[int | None] = None
    tokenizer: VQModel
    model: Network

    @property
    def preprocessing(self) -> str:
        return f"grey, adm-centre-crop-{self.variant.image_size}"

    def load(self) -> None:
        from gcbench.nets.llamagen_vq import VQModel
        from gcbench.nets.randar import RandAR as Network

        config = self.variant.config
        self.tokenizer = self.load_network("tokenizer", VQModel(**config["tokenizer"]))
        self.model = self.load_network("model", Network(**config["model"]))

    def preprocess(self, image: Image) -> torch.Tensor:
        from gcbench.preprocess import centre_crop, luminance, to_tensor

        return to_tensor(centre_crop(luminance(image), self.variant.image_size))

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.encode(batch)

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        from gcbench.orders import random_orders

        steps = self.variant.config["model"]["block_size"]
        orders = random_orders(samples, count, steps, seed, self.runtime.protocol)
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
