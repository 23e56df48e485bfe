"""What methods on discrete tokens share."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

from gcbench.checkpoint import Shipped, published
from gcbench.errors import GcbenchError
from gcbench.method import Method, Variant
from gcbench.sequential import SequentialMethod

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from gcbench.checkpoint import Checkpoint
    from gcbench.nets.fast_decoder import FastDecoder
    from gcbench.nets.llamagen_gpt import LlamaGenGPT
    from gcbench.nets.llamagen_vq import VQModel
    from gcbench.nets.maskgit_vq import MaskGITVQ
    from gcbench.nets.randar import RandAR


def check_vocabulary(method: Method, predicted: int, codebook: int) -> None:
    """Refuses a network that does not predict the codes of its tokenizer.

    Raises:
        GcbenchError: `predicted` codes are not the `codebook` entries.
    """
    if predicted != codebook:
        raise GcbenchError(
            f"{method.name} ({method.variant.name}): the network predicts {predicted} codes, "
            f"its tokenizer has {codebook}",
            hint="take the tokenizer that the network was trained on",
        )


def imagenet_variant(
    name: str,
    model: dict[str, Any],
    weights: Checkpoint,
    note: str,
    image_size: int = 256,
    tokenizer: str = "llamagen",
) -> Variant:
    """A variant with a published tokenizer, `llamagen` or `maskgit`; tokens are 16 x 16 pixels."""
    return Variant(
        name=name,
        label_space="imagenet-1k",
        config={
            "model": {**model, "block_size": (image_size // 16) ** 2},
            "tokenizer": {},
            "image": {"grey": False, "tokenizer": tokenizer},
        },
        checkpoints={"model": weights, "tokenizer": published(f"{tokenizer}-vq16")},
        image_size=image_size,
        note=note,
    )


def mini_variant(
    weights: str,
    note: str,
    name: str = "mini",
    label_space: str = "fashion-10",
    tokenizer: str = "llamagen",
) -> Variant:
    """A variant for the embedded images: 32 px, 8 x 8 tokens, classes made of Fashion-MNIST's."""
    file = {"llamagen": "mini-vq", "maskgit": "mini-maskgit-vq"}[tokenizer]
    return Variant(
        name=name,
        label_space=label_space,
        config={"image": {"grey": True, "tokenizer": tokenizer}},
        checkpoints={"model": Shipped(weights), "tokenizer": Shipped(file)},
        image_size=32,
        note=note,
    )


class LlamaGenTokens(SequentialMethod):
    """A method that scores the tokens of an ADM centre crop, LlamaGen's or MaskGIT's."""

    features = ("shared first layer", "cut last layer")
    tokenizer: VQModel | MaskGITVQ

    @property
    def preprocessing(self) -> str:
        grey = "grey, " if self.config("image")["grey"] else ""
        return f"{grey}adm-centre-crop-{self.variant.image_size}"

    def preprocess(self, image: Image) -> torch.Tensor:
        from gcbench.preprocess import centre_crop, luminance, to_tensor

        if self.config("image")["grey"]:
            image = luminance(image)
        return to_tensor(centre_crop(image, self.variant.image_size))

    def load_tokenizer(self, vocab_size: int) -> None:
        """Loads the tokenizer of a network that predicts `vocab_size` codes.

        Raises:
            GcbenchError: its codebook is of another size, or its file does not fit.
        """
        from gcbench.nets.llamagen_vq import VQModel
        from gcbench.nets.maskgit_vq import MaskGITVQ

        kind = MaskGITVQ if self._maskgit else VQModel
        tokenizer = kind(**self.config("tokenizer"))
        check_vocabulary(self, vocab_size, tokenizer.quantize.embedding.num_embeddings)
        self.tokenizer = self.load_network("tokenizer", tokenizer)

    @property
    def _maskgit(self) -> bool:
        return self.config("image").get("tokenizer") == "maskgit"

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.encode(self.tokenizer.pixels(batch))

    def cheaper(self, network: RandAR | LlamaGenGPT) -> FastDecoder | None:
        """The fast path of the loaded network; None on the reference path."""
        path, bf16 = self.runtime.path, self.runtime.precision == "bf16"
        if path == "reference":
            return None
        import torch

        from gcbench.nets.fast_decoder import FastDecoder, FastOptions

        options = FastOptions(
            dtype=torch.bfloat16 if bf16 else torch.float32,
            compile=path == "compiled",
            share_first_layer="shared first layer" not in self.runtime.without,
            cut_last_layer="cut last layer" not in self.runtime.without,
        )
        return FastDecoder(network, options)

    def decoder_flops(self, length: int, classes: int = 1) -> float:
        """Matrix products and causal attention of a decoder over `length` rows.

        With `classes` > 1 as the fast path does them, the first layer's attention once for all.
        """
        from gcbench.nets.decoder import swiglu_width

        model = {"multiple_of": 256, "vocab_size": 16384, **self.config("model")}
        dim, layers = model["dim"], model["n_layer"]
        attention = 2 * length * length * dim
        projections = 8 * length * dim * dim
        forward = 6 * length * dim * swiglu_width(dim, model["multiple_of"])
        total = layers * (attention + projections + forward)
        total += 2 * self.steps * dim * model["vocab_size"]
        left_out = self.runtime.without
        if classes > 1 and "shared first layer" not in left_out:
            total -= (1 - 1 / classes) * (attention + projections)
        if classes > 1 and "cut last layer" not in left_out:
            total -= (1 - self.steps / length) * (forward + projections / 4)
        return float(total)

    @property
    def steps(self) -> int:
        """N, the number of image tokens."""
        return int(self.config("model")["block_size"])

    @property
    def token_sides(self) -> tuple[int, ...]:
        return (isqrt(self.steps),)
