"""Discriminative and joint methods: the published networks, their images, their scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gcbench.errors import GcbenchError
from gcbench.method import Runtime
from gcbench.nets.dat import DAT
from gcbench.nets.dinov2 import DINOv2, LinearProbe
from gcbench.nets.vit import ViT

TINY_BACKBONE = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}


@pytest.fixture
def photo():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    return Image.fromarray(pixels)


def method(registry, name, variant=None, config=None, **files):
    cls = registry.methods[name]
    chosen = cls.variant_named(variant)
    chosen = replace(chosen, config={**chosen.config, **(config or {})})
    return cls(chosen, Runtime(checkpoint_files=files))


def test_torchvision_vit_loads_and_gives_the_same_logits(registry, tmp_path):
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    official = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=64,
        num_classes=5,
    ).eval()  # fmt: skip
    torch.nn.init.normal_(official.heads.head.weight)
    tensors = {
        # the names of the published file, which was saved before they were changed
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for name, value in official.state_dict().items()
    }
    save_file(tensors, tmp_path / "vit.safetensors")
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    ours = method(
        registry, "vit", config={"model": {**shape, "num_classes": 5}},
        model=tmp_path / "vit.safetensors",
    )  # fmt: skip
    ours.load()
    batch = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours.logits(batch), official(batch))


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnet_has_the_names_and_shapes_of_torchvision(registry, depth):
    from torchvision.models import get_model

    with torch.device("meta"):
        ours = method(registry, "resnet", str(depth)).build().state_dict()
        official = get_model(f"resnet{depth}").state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in official.items()}


@pytest.mark.parametrize(
    ("name", "variant", "weights"),
    [
        ("resnet", "50", "ResNet50_Weights.IMAGENET1K_V1"),
        ("vit", "l", "ViT_L_16_Weights.IMAGENET1K_V1"),
    ],
)
def test_images_are_prepared_as_torchvision_does(registry, photo, name, variant, weights):
    from torchvision.models import get_weight

    official = get_weight(weights).transforms()
    ours = method(registry, name, variant)
    torch.testing.assert_close(ours.preprocess(photo), official(photo))


def test_dat_reads_images_from_zero_to_one_without_normalisation(registry, photo):
    image = method(registry, "dat", "convnext-l").preprocess(photo)
    assert image.shape == (3, 256, 256)
    assert 0 <= image.min() < 0.1
    assert 0.9 < image.max() <= 1
    assert (
        method(registry, "dat", "convnext-l").preprocessing
        == "resize-292-bicubic-crop-256, in [0, 1]"
    )


def test_embedded_images_of_dat_are_those_of_the_others_moved_to_zero_and_one(registry, photo):
    ours, others = method(registry, "dat", "mini"), method(registry, "vit", "mini")
    torch.testing.assert_close(2 * ours.preprocess(photo) - 1, others.preprocess(photo))
    assert ours.preprocessing == f"{others.preprocessing}, in [0, 1]"


def test_embedded_probe_reads_the_features_that_its_training_chose(registry):
    ours = method(registry, "dinov2", "mini")
    ours.load()
    chosen = ours.variant.checkpoints["probe"].card()["chosen"]
    batch = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        features = ours.model.probe_features(batch, chosen["blocks"], chosen["average"])
        torch.testing.assert_close(ours.logits(batch), ours.probe(features))


def test_cropped_image_is_not_cropped_again(registry):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    image.info["precropped"] = True
    prepared = method(registry, "resnet", "50").preprocess(image)
    white = (torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255).double()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (white - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(prepared.double(), expected, atol=1e-5, rtol=0)


def test_wrapped_dat_checkpoint_loads(registry, tmp_path):
    torch.manual_seed(0)
    shape = {"num_classes": 4, "depths": [1, 1, 1, 1], "dims": [8, 16, 16, 16], "stem_width": 4}
    network = DAT(**shape).eval()
    wrapped = {f"module.base_model.{k}": v for k, v in network.state_dict().items()}
    torch.save({**wrapped, "module.n_averaged": torch.tensor(7)}, tmp_path / "dat.pth")
    ours = method(
        registry, "dat", "convnext-l", config={"model": shape}, model=tmp_path / "dat.pth"
    )
    ours.load()
    batch = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        scores = ours.scores(batch, torch.tensor([3, 1]))
        expected = network(batch)[:, [3, 1]].log_softmax(1)
    assert scores.shape == (2, 1, 2)
    torch.testing.assert_close(scores[:, 0], expected)


@pytest.fixture
def probed(tmp_path):
    """A tiny backbone as a training leaves it, in chunks and beside a head, and its probe."""
    torch.manual_seed(0)
    backbone, probe = DINOv2(**TINY_BACKBONE).eval(), LinearProbe(2 * 16 + 16, 5)
    tensors = {
        "teacher": {
            **{
                "backbone." + name.replace("blocks.", "blocks.0."): value
                for name, value in backbone.state_dict().items()
            },
            "backbone.mask_token": torch.zeros(1, 16),
            "dino_head.last_layer.weight": torch.zeros(2, 2),
        }
    }
    torch.save(tensors, tmp_path / "backbone.pth")
    save_file(probe.state_dict(), tmp_path / "probe.safetensors")
    files = {"model": tmp_path / "backbone.pth", "probe": tmp_path / "probe.safetensors"}
    return backbone, probe, files


def test_dinov2_scores_are_those_of_the_probe_on_its_features(registry, probed):
    backbone, probe, files = probed
    config = {"model": TINY_BACKBONE, "probe": {"blocks": 2, "average": True, "classes": 5}}
    ours = method(registry, "dinov2", "l", config=config, **files)
    ours.load()
    batch = torch.randn(3, 3, 48, 48)  # not the size that positions are stored for
    with torch.inference_mode():
        scores = ours.scores(batch, torch.arange(5))[:, 0]
        expected = probe(backbone.probe_features(batch, 2)).log_softmax(1)
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize(("blocks", "average"), [(1, False), (1, True), (4, False), (4, True)])
def test_probe_of_the_official_grid_is_known_by_its_width(registry, tmp_path, blocks, average):
    torch.manual_seed(0)
    shape = {**TINY_BACKBONE, "depth": 4}
    backbone, probe = DINOv2(**shape).eval(), LinearProbe((blocks + average) * 16, 5)
    save_file(backbone.state_dict(), tmp_path / "model.safetensors")
    save_file(probe.state_dict(), tmp_path / "probe.safetensors")
    config = {"model": shape, "probe": {"blocks": 4, "average": True, "classes": 5}}
    files = {role: tmp_path / f"{role}.safetensors" for role in ("model", "probe")}
    ours = method(registry, "dinov2", "l", config=config, **files)
    ours.load()
    batch = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = probe(backbone.probe_features(batch, blocks, average)).log_softmax(1)
        torch.testing.assert_close(ours.scores(batch, torch.arange(5))[:, 0], expected)


def test_probe_of_more_blocks_than_the_backbone_has_is_refused(registry, probed):
    config = {"model": TINY_BACKBONE, "probe": {"blocks": 4, "average": True, "classes": 5}}
    with pytest.raises(GcbenchError, match="the probe reads 4 blocks, the backbone has 3"):
        method(registry, "dinov2", "l", config=config, **probed[2]).load()


def test_probe_of_another_width_is_refused(registry, probed):
    config = {"model": TINY_BACKBONE, "probe": {"blocks": 1, "average": True, "classes": 5}}
    with pytest.raises(GcbenchError, match="does not fit LinearProbe"):
        method(registry, "dinov2", "l", config=config, **probed[2]).load()


def test_features_follow_the_images_at_any_multiple_of_the_patch():
    torch.manual_seed(0)
    backbone = DINOv2(**TINY_BACKBONE).eval()
    with torch.inference_mode():
        assert backbone.probe_features(torch.randn(2, 3, 40, 24), 3).shape == (2, 4 * 16)


def test_flops_are_those_of_the_literature(registry):
    """torchvision names 4.09 billion multiply-adds for ResNet-50; two operations each."""
    assert method(registry, "resnet", "50").flops_per_evaluation() == pytest.approx(
        2 * 4.09e9, rel=0.005
    )


def test_vit_of_timm_keeps_its_names():
    tensors = ViT(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2).state_dict()
    assert ViT.translated(tensors).keys() == tensors.keys()
