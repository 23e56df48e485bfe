"""The teacher's class token: timm's own, at another image size."""

import timm
import torch

from gcbench.checkpoint import load_into
from gcbench.nets.class_token import ClassToken

TINY = {"embed_dim": 12, "depth": 2, "num_heads": 2}


def test_token_is_that_of_timm_with_positions_resampled_as_timm_does(tmp_path):
    torch.manual_seed(0)
    trained = timm.create_model("vit_tiny_patch16_224", img_size=96, **TINY).eval()
    tensors = {"mask_token": torch.zeros(1, 12), **trained.state_dict()}
    teacher = ClassToken("vit_tiny_patch16_224", 64, **TINY).eval()
    load_into(teacher, tensors, tmp_path / "file")
    trained.set_input_size(img_size=(64, 64))
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        expected = trained.forward_features(((images + 1) / 2 - mean) / std)[:, 0]
        torch.testing.assert_close(teacher(images), expected, rtol=1e-4, atol=1e-5)
    assert teacher.width == 12


def test_images_of_any_size_are_resized():
    teacher = ClassToken("vit_tiny_patch16_224", 64, **TINY).eval()
    assert teacher(torch.zeros(1, 3, 32, 32)).shape == (1, 12)
