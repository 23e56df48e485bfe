"""Classifiers that learn under a shift: which variants there are, and weights of one's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gcbench._plugins.baselines.erm import ERM
from gcbench.errors import GcbenchError
from gcbench.method import Runtime
from gcbench.nets.vit import ViT


def test_every_set_has_both_sizes_under_three_seeds(registry):
    full = [v.name for v in ERM.variants if not v.name.startswith("mini")]
    assert len(full) == len(set(full)) == 3 * 2 * 3
    stitching = registry.method("stitching").variants
    assert not any("fmow" in variant.name for variant in stitching)
    assert sum(variant.name.startswith("mini") for variant in stitching) == 2 * 3


def test_weights_that_are_not_released_are_asked_for():
    method = ERM(ERM.variant_named("b-celeba-seed1"), Runtime())
    with pytest.raises(GcbenchError, match=r"by hand.*unreleased.*--checkpoint"):
        method.load()


@pytest.fixture
def erm(tmp_path):
    """The variant of CelebA narrowed, with random weights in a file of one's own."""
    variant = ERM.variant_named("b-celeba-seed1")
    model = {**variant.config["model"], "embed_dim": 16, "depth": 1, "num_heads": 2}
    file = tmp_path / "model.safetensors"
    save_file(ViT(**model).state_dict(), file)
    narrow = replace(variant, config={**variant.config, "model": model})
    method = ERM(narrow, Runtime(checkpoint_files={"model": file}))
    method.load()
    return method


def test_photograph_is_cropped_in_colour_as_training_crops_it(erm):
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[..., 0] = 255
    seen = erm.preprocess(Image.fromarray(pixels))
    assert seen.shape == (3, 256, 256)
    assert [float(channel.mean()) for channel in seen] == [1.0, -1.0, -1.0]
    assert erm.preprocessing == "adm-centre-crop-256"


def test_scores_are_log_probabilities_of_the_two_classes(erm):
    scores = erm.scores(torch.rand(3, 3, 256, 256), torch.tensor([0, 1]))
    assert scores.shape == (3, 1, 2)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(3, 1))
