"""RandAR, its likelihood averaged over random token orders (paper section 4; Pang et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from gcbench.checkpoint import Shipped, published
from gcbench.method import SampleKey, TokenScores, Trials, Variant, Work

from ._tokens import LlamaGenTokens, imagenet_variant

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


def mini_variant(
    weights: str, note: str, name: str = "mini", label_space: str = "fashion-10"
) -> Variant:
    """A variant for the embedded images: 32 px, 8 x 8 tokens, classes made of Fashion-MNIST's."""
    return Variant(
        name=name,
        label_space=label_space,
        config={"image": {"grey": True}},
        checkpoints={"model": Shipped(weights), "tokenizer": Shipped("mini-vq")},
        image_size=32,
        note=note,
    )


# Label space and number of classes of the WILDS sets.
WILDS = {"camelyon17": ("camelyon17", 2), "celeba": ("celeba-blond", 2), "fmow": ("fmow-62", 62)}


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
        mini_variant(
            "mini-randar-pairs", "two garments side by side", "pairs", "fashion-pairs-100"
        ),
        imagenet_variant("l", SIZES["l"], published("randar-paper-l"), "the paper's RandAR-L"),
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
    preprocessing_options = frozenset({"crop"})
    default_trials = 20
    max_trials: ClassVar[int | None] = None
    proposal_evaluations: ClassVar[int | None] = 3  # a forward and a backward pass
    model: Network

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
    def preprocessing(self) -> str:
        crop = ", random crop per trial" if self.random_crop else ""
        return super().preprocessing + crop

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

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        from gcbench.orders import random_orders

        protocol, crops = self.runtime.protocol, self.random_crop
        orders = random_orders(samples, count, self.steps, seed, protocol, crops=crops)
        return Trials(count, {"order": orders})

    def token_scores(self, latent: torch.Tensor, trials: Trials, work: Work) -> TokenScores:
        from gcbench.nets.sequences import sequences

        pair = work.pair_of_evaluation().to(latent.device)  # [E]
        classes = work.classes.to(latent.device)
        # [B, N], or [B, K, N] when every trial sees a crop of its own
        seen = latent[work.image, work.trial] if self.random_crop else latent[work.image]  # [P, N]
        orders = trials.draws["order"][work.image, work.trial].to(latent.device)  # [P, N]
        if self.fast is not None:
            of = sequences(self.model, seen, orders)
            return TokenScores(self.fast.log_likelihood(of, pair, classes), orders)
        with self.arithmetic():
            raster = self.model.token_log_likelihood(seen[pair], classes, orders[pair])
        return TokenScores(raster.gather(1, orders[pair]), orders)

    def propose(
        self, latent: torch.Tensor, trials: Trials, classes: torch.Tensor, batch_size: int
    ) -> torch.Tensor:
        """First-order log-likelihoods [B, C] in the first order; see gcbench.nets.proposal."""
        import torch

        from gcbench.nets.proposal import first_order_scores

        seen = latent[:, 0] if self.random_crop else latent  # [B, N]
        orders = trials.draws["order"][:, 0].to(latent.device)  # [B, N]
        at_once = max(1, batch_size // 4)  # what the gradient needs is kept
        batches = zip(seen.split(at_once), orders.split(at_once), strict=True)
        candidates = classes.to(latent.device)
        return torch.cat([first_order_scores(self.model, t, o, candidates) for t, o in batches])

    def flops_per_evaluation(self) -> float:
        """Matrix products and causal attention of one sequence of 2N tokens."""
        return self.decoder_flops(2 * self.steps)

    def flops_done(self, classes: int) -> float:
        return self.decoder_flops(2 * self.steps, 1 if self.fast is None else classes)
