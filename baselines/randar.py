"""RandAR, its likelihood averaged over random token orders (paper section 4; Pang et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from gcbench.checkpoint import ByHand, published
from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey, TokenScores, Trials, Variant, Work
from gcbench.streams import normal_draws

from ._shifts import MINI_SHIFTS, WILDS
from ._tokens import LlamaGenTokens, imagenet_variant, mini_variant

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from gcbench.nets.randar import RandAR as Network

# Official configurations at 256 px: 16 x 16 tokens of LlamaGen's tokenizer, ImageNet's classes.
SIZES: dict[str, dict[str, Any]] = {
    "b": {"dim": 768, "n_layer": 12, "n_head": 12},
    "l": {"dim": 1024, "n_layer": 24, "n_head": 16},
    "xl": {"dim": 1280, "n_layer": 36, "n_head": 20},
}


def wilds_variant(size: str, data_set: str) -> Variant:
    """A variant for a WILDS set, as in the paper's section 6.6; its weights are unreleased.

    Section 6.6 names MaskGIT's tokenizer, the appendix LlamaGen's with noise: taken is the latter.
    """
    label_space, classes = WILDS[data_set]
    name = f"{size}-{data_set}"
    model = {**SIZES[size], "num_classes": classes}
    variant = imagenet_variant(name, model, published(f"randar-{name}"), "to be trained")
    return replace(variant, label_space=label_space)


class RandAR(LlamaGenTokens):
    """Scores are log p(tokens | order, class) in nats; a trial is one token order."""

    name = "randar"
    family = "autoregressive"
    summary = "any-order autoregressive transformer, averaged over random token orders"
    variants: ClassVar[tuple[Variant, ...]] = (
        mini_variant("mini-randar", "trained on random orders"),
        mini_variant("mini-randar-noise", "trained with latent noise", "mini-noise"),
        mini_variant(
            "mini-randar-maskgit", "on MaskGIT's tokens", "mini-maskgit", tokenizer="maskgit"
        ),
        mini_variant(
            "mini-randar-pairs", "two garments side by side", "pairs", "fashion-pairs-100"
        ),
        *(
            mini_variant(f"mini-randar-{stem}", f"trained on mini-{stem}", f"mini-{stem}", space)
            for stem, space in MINI_SHIFTS.items()
        ),
        imagenet_variant("l", SIZES["l"], published("randar-paper-l"), "the paper's RandAR-L"),
        imagenet_variant(
            "b", SIZES["b"], ByHand("no RandAR-B is published"), "a size of your own training"
        ),
        imagenet_variant("xl", SIZES["xl"], published("randar-paper-xl"), "the paper's RandAR-XL"),
        imagenet_variant(
            "l-release", SIZES["l"], published("randar-l-release"), "its authors' release"
        ),
        imagenet_variant("xl-release", SIZES["xl"], published("randar-xl-release"), "as l-release"),
        imagenet_variant(
            "l-maskgit",
            {**SIZES["l"], "vocab_size": 1024},
            published("randar-l-maskgit-release"),
            "the authors' release on MaskGIT's tokens",
            tokenizer="maskgit",
        ),
        *(wilds_variant(size, data_set) for data_set in WILDS for size in ("b", "l")),
    )
    preprocessing_options = frozenset({"crop", "latent_noise"})
    default_trials = 20
    max_trials: ClassVar[int | None] = None
    model: Network

    def __init__(self, variant: Variant, runtime: Runtime):
        super().__init__(variant, runtime)
        if self.latent_noise and runtime.protocol == "published":
            raise GcbenchError(
                "randar cannot replay its published latent noise: its script draws it unseeded",
                hint="leave --protocol or --latent-noise out",
            )

    def load(self) -> None:
        from gcbench.nets.randar import RandAR as Network

        model = Network(**self.config("model"))
        self.load_tokenizer(model.output.out_features)
        self.model = self.load_network("model", model)
        self.fast = self.cheaper(self.model)

    @property
    def random_crop(self) -> bool:
        """Whether every trial sees a random crop of its own (published `--use_augmentations`)."""
        return self.runtime.preprocessing.get("crop", "centre") == "random"

    @property
    def latent_noise(self) -> float:
        """t of the noise that every trial adds to the latent before quantisation (section 6.4)."""
        return float(self.runtime.preprocessing.get("latent_noise", 0.0))

    @property
    def preprocessing(self) -> str:
        crop = ", random crop per trial" if self.random_crop else ""
        noise = f", latent noise {self.latent_noise:g} per trial" if self.latent_noise else ""
        return super().preprocessing + crop + noise

    def views(self, image: Image, sample: SampleKey, trials: int, seed: int) -> torch.Tensor:
        if not self.random_crop:
            return super().views(image, sample, trials, seed)
        import torch

        from gcbench.orders import crop_streams
        from gcbench.preprocess import luminance, random_crop, to_tensor

        if self.config("image")["grey"]:
            image = luminance(image)
        size, protocol = self.variant.image_size, self.runtime.protocol
        streams = crop_streams(sample, trials, self.steps, seed, protocol)
        return torch.stack([to_tensor(random_crop(image, size, s)) for s in streams])

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        if not self.latent_noise:
            return super().encode(batch)
        return self.tokenizer.encode_latent(self.tokenizer.pixels(batch))

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        """Orders [B, K, N], and standard normal noise [B, K, e, h, w] where it is asked for."""
        from gcbench.orders import random_orders

        protocol, crops = self.runtime.protocol, self.random_crop
        orders = random_orders(samples, count, self.steps, seed, protocol, crops=crops)
        if not self.latent_noise:
            return Trials(count, {"order": orders})
        side = math.isqrt(self.steps)
        channels = self.tokenizer.quantize.embedding.embedding_dim
        draws = [(trial,) for trial in range(count)]
        shape = (channels, side, side)
        noise = normal_draws("latent-noise", seed, [s.id for s in samples], draws, shape)
        return Trials(count, {"order": orders, "noise": noise})

    def tokens(
        self, latent: torch.Tensor, trials: Trials, image: torch.Tensor, trial: torch.Tensor
    ) -> torch.Tensor:
        """What P (image, trial) pairs look at, int64 [P, N].

        Args:
            latent: what `encode` gave, [B, ...], or [B, K, ...] with a crop for every trial.
            image: [P]
            trial: [P]
        """
        import torch

        from gcbench.nets.vqgan import noised

        seen = latent[image, trial] if self.random_crop else latent[image]
        if not self.latent_noise:
            return seen
        noise = trials.draws["noise"][image, trial].to(latent.device)
        features = noised(seen, seen.new_full((len(seen),), self.latent_noise), noise)
        # One by one: a code, and with it every score, must not depend on its neighbours.
        return torch.cat([self.tokenizer.quantize(row[None]) for row in features])

    def token_scores(self, latent: torch.Tensor, trials: Trials, work: Work) -> TokenScores:
        from gcbench.nets.sequences import sequences

        pair = work.pair_of_evaluation().to(latent.device)  # [E]
        classes = work.classes.to(latent.device)
        seen = self.tokens(latent, trials, work.image, work.trial)  # [P, N]
        orders = trials.draws["order"][work.image, work.trial].to(latent.device)  # [P, N]
        if self.fast is not None:
            of = sequences(self.model, seen, orders)
            return TokenScores(self.fast.log_likelihood(of, pair, classes), orders)
        with self.arithmetic():
            raster = self.model.token_log_likelihood(seen[pair], classes, orders[pair])
        return TokenScores(raster.gather(1, orders[pair]), orders)

    def read(
        self, latent: torch.Tensor, trials: Trials, trial: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        rows = torch.arange(len(latent))
        seen = self.tokens(latent, trials, rows, torch.full_like(rows, trial))
        return seen, trials.draws["order"][:, trial].to(latent.device)

    def flops_per_evaluation(self) -> float:
        """Matrix products and causal attention of one sequence of 2N tokens."""
        return self.decoder_flops(2 * self.steps)

    def flops_done(self, classes: int) -> float:
        return self.decoder_flops(2 * self.steps, 1 if self.fast is None else classes)
