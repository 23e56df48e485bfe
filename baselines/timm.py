"""Any ImageNet-1K classifier of the timm library by its name: `--method timm:resnet50`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from gcbench.checkpoint import Hub
from gcbench.errors import GcbenchError
from gcbench.method import DiscriminativeMethod, Runtime, Variant

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn


class Timm(DiscriminativeMethod):
    """Log-probabilities of the candidate classes, from logits restricted to them.

    Weights and preprocessing are those of the model's timm card; `--checkpoint`, `--mean`,
    `--std`, `--size` and `--interpolation` replace them.
    """

    name = "timm"
    family = "discriminative"
    summary = "any ImageNet-1K model of the timm library, as timm:NAME"
    variants = ()
    preprocessing_options = frozenset({"mean", "std", "size", "interpolation"})
    model: nn.Module

    @classmethod
    def variant_named(cls, name: str | None) -> Variant:
        """The timm model of that name.

        Raises:
            GcbenchError: no name, no such model, or a model of other classes than ImageNet-1K's.
        """
        if name is None:
            raise GcbenchError("timm needs a model", hint="for example --method timm:resnet50")
        import timm

        if not timm.is_model(name):
            near = get_close_matches(name, timm.list_models(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "timm.list_models() lists them"
            raise GcbenchError(f"unknown timm model {name!r}", hint=hint)
        card = timm.get_pretrained_cfg(name)
        if card is None or card.num_classes != 1000:
            classes = "no" if card is None else card.num_classes
            raise GcbenchError(
                f"timm's {name} has pretrained weights for {classes} classes, expected ImageNet's "
                "1000",
                hint="choose a tag ending in _in1k: timm.list_pretrained() lists them",
            )
        return Variant(
            name=name,
            label_space="imagenet-1k",
            config={"model": {"model_name": name, "num_classes": card.num_classes}},
            checkpoints={
                "model": Hub(card.hf_hub_id or "", "model.safetensors", card.license or "unstated")
            },
            image_size=card.input_size[-1],
            note=card.tag or "",
        )

    def __init__(self, variant: Variant, runtime: Runtime):
        super().__init__(variant, runtime)
        from timm.data import resolve_data_config

        name = variant.config["model"]["model_name"]
        self.data: dict[str, Any] = resolve_data_config(
            pretrained_cfg=_card(name), model=None, use_test_size=False
        )
        given = runtime.preprocessing
        for option in ("mean", "std", "interpolation"):
            if option in given:
                self.data[option] = given[option]
        if "size" in given:
            self.data["input_size"] = (3, given["size"], given["size"])

    @property
    def preprocessing(self) -> str:
        d = self.data
        return (
            f"timm size={d['input_size'][-1]} crop_pct={d['crop_pct']} mode={d['crop_mode']} "
            f"interpolation={d['interpolation']} mean={tuple(d['mean'])} std={tuple(d['std'])}"
        )

    def load(self) -> None:
        import timm

        config = dict(self.variant.config["model"])
        size = self.data["input_size"][-1]
        if size != self.variant.image_size and _card(config["model_name"])["fixed_input_size"]:
            config["img_size"] = size
        self.model = self.load_network("model", timm.create_model(pretrained=False, **config))

    def preprocess(self, image: Image) -> torch.Tensor:
        from timm.data import create_transform

        crop_pct = 1.0 if image.info.get("precropped") else self.data["crop_pct"]
        transform = create_transform(**{**self.data, "crop_pct": crop_pct}, is_training=False)
        return transform(image)

    def scores(self, batch: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:

        with self.arithmetic():
            logits = self.model(batch).float()  # [B, 1000]
        return logits[:, classes.to(logits.device)].log_softmax(-1)[:, None]


def _card(name: str) -> dict[str, Any]:
    import timm

    card = timm.get_pretrained_cfg(name)
    return card.to_dict() if card is not None else {}
