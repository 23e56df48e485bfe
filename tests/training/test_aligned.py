"""Alignment to a self-supervised encoder: what is compared, how much it counts, REG's token."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from gcbench.checkpoint import load_into, read_state_dict, sha256_of
from gcbench.errors import GcbenchError
from gcbench.nets.dinov2 import DINOv2
from gcbench.nets.sit import IREPA, REG, REPA
from gcbench.nets.vae import VAE
from gcbench.streams import stream
from gcbench.training import train
from gcbench.training.aligned import REGTask, REPATask, misalignment, standardised, teacher_tokens
from gcbench.training.data import as_rgb, random_view, read_split
from gcbench.training.recipe import read_recipe
from gcbench.training.tasks import Workplace
from gcbench.training.views import Encoded

ENCODER = """
task = "dino"
steps = 1
batch_size = 8
[model]
img_size = 32
patch_size = 4
embed_dim = 16
depth = 1
num_heads = 2
[optimizer]
learning_rate = 1e-3
"""
TEXT = """
task = "TASK"
steps = 3
batch_size = 8
held_out = 16
evaluate_every = 2
compile = false
precision = "fp32"
[model]
input_size = 8
hidden_size = 16
depth = 2
num_heads = 2
num_classes = 10
encoder_depth = 1
z_dims = [16]
PROJECTOR
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
[options]
family = "FAMILY"
autoencoder = "FOLDER/vae.toml"
encoder = "FOLDER/encoder.toml"
views = 2
evaluated_images = 2
evaluated_steps = 10
"""
KINDS = {"repa": (REPATask, REPA), "irepa": (REPATask, IREPA), "reg": (REGTask, REG)}


@pytest.fixture
def folder(recipe_file, tmp_path):
    """Recipes and random weights of an autoencoder and an encoder."""
    torch.manual_seed(0)
    recipe_file("vae")
    (tmp_path / "encoder.toml").write_text(ENCODER)
    (tmp_path / "out").mkdir()
    for name, kind in (("vae", VAE), ("encoder", DINOv2)):
        network = kind(**read_recipe(str(tmp_path / f"{name}.toml")).model)
        save_file(network.state_dict(), tmp_path / "out" / f"{name}.safetensors")
    return tmp_path


@pytest.fixture
def recipe_of(folder):
    def write(family, changes=None):
        text = TEXT.replace("FOLDER", str(folder)).replace("FAMILY", family)
        text = text.replace("TASK", "reg" if family == "reg" else "repa")
        text = text.replace("PROJECTOR", "" if family == "irepa" else "projector_dim = 24")
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new)
        (folder / f"{family}.toml").write_text(text)
        return folder / f"{family}.toml"

    return write


@pytest.fixture
def task_of(recipe_of, folder, data_root):
    """Builds the task of a family, its network's closed layers opened."""

    def build(family, changes=None):
        split = read_split(data_root / "fashion-mnist")
        torch.manual_seed(0)
        recipe = read_recipe(str(recipe_of(family, changes)))
        place = Workplace(folder / "out", folder / "work", print)
        task = KINDS[family][0](recipe, split.cut(0, 64), split.cut(64, 80), place)
        for parameter in task.model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return task

    return build


def encoder_of(folder):
    encoder = DINOv2(**read_recipe(str(folder / "encoder.toml")).model).eval()
    encoder.load_state_dict(load_file(folder / "out/encoder.safetensors"))
    return encoder


def batch_of(task, count=6, seed=0):
    return task.batch(torch.arange(count), torch.Generator().manual_seed(seed))


def test_a_token_is_compared_with_the_mean_of_the_patches_it_covers(folder):
    encoder, images = encoder_of(folder), torch.rand(2, 3, 32, 32)
    found = teacher_tokens(encoder, images, 4)
    ((patches, token),) = encoder.last_blocks(images, 1)
    assert found.shape == (2, 17, 16)
    assert torch.equal(found[:, 0], token)
    covered = patches.unflatten(1, (8, 8))[:, 2:4, 4:6]  # of row 1, column 2
    torch.testing.assert_close(found[:, 1 + 4 + 2], covered.mean(dim=(1, 2)))


def test_latents_and_encoder_tokens_are_of_the_same_crop(task_of, folder, data_root):
    task, encoder = task_of("repa"), encoder_of(folder)
    vae = VAE(**read_recipe(task.options.autoencoder).model).eval()
    vae.load_state_dict(load_file(folder / "out/vae.safetensors"))
    images, longest = (
        read_split(data_root / "fashion-mnist").images[:64],
        task.options.max_short_side,
    )
    crops = [
        random_view(image, 32, longest, stream("view", 0, 1, row))
        for row, image in enumerate(images)
    ]
    rgb = as_rgb(torch.from_numpy(np.stack(crops)))
    with torch.no_grad():
        mean, _ = vae.moments(rgb)
        tokens = teacher_tokens(encoder, rgb, 4)
    torch.testing.assert_close(task.moments.view(1)[:, 0].float(), mean, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(task.features.view(1).float(), tokens, atol=4e-3, rtol=4e-3)
    assert not torch.equal(task.features.view(0), task.features.view(1))


def test_batch_holds_the_tokens_of_the_view_that_is_noised(task_of):
    task = task_of("repa")
    numbered = torch.zeros(2, 64, *task.moments.view(0).shape[1:])
    numbered[1, :, 0] = 1  # a latent is its view's number
    task.moments = Encoded([[view] for view in numbered])
    noisy, time, _, target, encoded = batch_of(task, 20)
    views = (noisy - time[:, None, None, None] * target).mean(dim=(1, 2, 3)).round().long()
    assert set(views.tolist()) == {0, 1}
    assert torch.equal(encoded, task.features[views, torch.arange(20)].float())


def test_loss_is_the_velocitys_error_plus_weighted_misalignment(task_of):
    task = task_of("repa", {'family = "repa"': 'family = "repa"\nalignment = 0.7'})
    noisy, time, classes, target, encoded = batch_of(task)
    losses = task.losses(noisy, time, classes, target, encoded)
    velocity, (features,) = task.model.with_features(noisy, time, classes)
    cosine = (F.normalize(features, dim=2) * F.normalize(encoded[:, 1:], dim=2)).sum(2).mean()
    torch.testing.assert_close(losses["cosine"], cosine)
    torch.testing.assert_close(losses["loss"], (velocity - target).square().mean() - 0.7 * cosine)


def test_misalignment_of_features_of_any_length_lies_between_minus_one_and_one():
    tokens = torch.randn(3, 4, 5)
    torch.testing.assert_close(misalignment(7 * tokens, tokens), torch.tensor(-1.0))
    torch.testing.assert_close(misalignment(-0.1 * tokens, tokens), torch.tensor(1.0))


def test_irepa_compares_with_standardised_tokens(task_of):
    task = task_of("irepa")
    noisy, time, classes, target, encoded = batch_of(task)
    losses = task.losses(noisy, time, classes, target, encoded)
    _, (features,) = task.model.with_features(noisy, time, classes)
    patches = encoded[:, 1:]
    mean, deviation = patches.mean(1, keepdim=True), patches.std(1, keepdim=True)
    torch.testing.assert_close(
        losses["cosine"], -misalignment(features, (patches - 0.6 * mean) / (deviation + 1e-6))
    )


def test_standardised_tokens_have_unit_deviation_and_keep_a_share_of_the_mean():
    tokens = 3 * torch.randn(2, 16, 5) + 2
    found = standardised(tokens, 0.6)
    torch.testing.assert_close(found.std(dim=1), torch.ones(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.mean(dim=1), 0.4 * tokens.mean(dim=1) / tokens.std(dim=1))
    assert standardised(torch.ones(1, 4, 3), 1.0).isfinite().all()


def test_reg_noises_the_class_token_at_the_time_of_its_latent(task_of):
    task = task_of("reg")
    _, time, _, _, encoded, noisy_token, token_target = batch_of(task)
    clean = noisy_token - time[:, None] * token_target
    torch.testing.assert_close(clean, encoded[:, 0], atol=1e-5, rtol=1e-5)
    assert (token_target + encoded[:, 0]).std() == pytest.approx(1, abs=0.3)  # the noise


def test_reg_aligns_all_tokens_and_weighs_the_class_tokens_velocity(task_of):
    task = task_of("reg", {'family = "reg"': 'family = "reg"\nclass_token = 0.2'})
    batch = noisy, time, classes, target, encoded, noisy_token, token_target = batch_of(task)
    losses = task.losses(*batch)
    velocity, token_velocity, (features,) = task.model.with_class_token(
        noisy, time, classes, noisy_token
    )
    assert features.shape == encoded.shape == (6, 17, 16)
    expected = (
        (velocity - target).square().mean()
        + 0.5 * misalignment(features, encoded)
        + 0.2 * (token_velocity - token_target).square().mean()
    )
    torch.testing.assert_close(losses["loss"], expected)


def test_reg_is_evaluated_with_the_images_own_class_token(task_of):
    task = task_of("reg")
    noisy, one, none = torch.randn(1, 4, 8, 8), torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    tokens = task.embed_held_out(1, noisy, one, none, torch.Generator().manual_seed(0))
    own = task.held_out_tokens[1]
    assert torch.equal(tokens, task.model.embed_with(noisy, own[None]))
    with torch.no_grad():
        metrics = set(task.evaluate(last=False))
    assert metrics == {"accuracy", "balanced_accuracy", "noise_error"}


@pytest.mark.parametrize("family", KINDS)
def test_training_publishes_a_network_with_its_projectors(family, recipe_of, folder, data_root):
    weights = train(str(recipe_of(family)), data_root, folder / "out", folder / "work")
    network = KINDS[family][1](**read_recipe(str(folder / f"{family}.toml")).model)
    load_into(network, read_state_dict(weights), weights)
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["encoder"] == {
        "name": "encoder",
        "sha256": sha256_of(folder / "out/encoder.safetensors"),
    }
    assert card["autoencoder"]["name"] == "vae"


def test_all_families_read_the_same_encoded_views(task_of, folder):
    task_of("repa")
    files = set((folder / "work").glob("teacher16-*/view-*.safetensors"))
    assert len(files) == 2
    task_of("irepa")
    assert set((folder / "work").glob("teacher16-*/view-*.safetensors")) == files
    task_of("reg")  # and the held-out images' class tokens
    assert len(list((folder / "work").glob("teacher16-*/view-*.safetensors"))) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z_dims = [16]": "z_dims = [24]"}, r"z_dims is \[24\], encoder makes tokens of width 16"),
        ({"z_dims = [16]": ""}, r"z_dims is None, encoder makes tokens of width 16"),
        ({"input_size = 8": "input_size = 6"}, r"8 x 8 tokens, the network 3 x 3"),
        ({'family = "repa"': 'family = "sit"'}, r"unknown family in recipe repa 'sit'"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(task_of, changes, message):
    with pytest.raises(GcbenchError, match=message):
        task_of("repa", changes)


def test_a_grid_as_fine_as_the_encoders_is_compared_patch_by_patch(task_of):
    task = task_of("repa", {"input_size = 8": "input_size = 8\npatch_size = 1"})
    assert task.features.view(0).shape[1] == 1 + 64
    noisy, time, classes, _, encoded = batch_of(task)
    _, (features,) = task.model.with_features(noisy, time, classes)
    assert features.shape == encoded[:, 1:].shape


@pytest.mark.parametrize("name", ["mini-sit-repa", "mini-sit-irepa", "mini-sit-reg"])
def test_shipped_recipes_fit_their_encoder_and_the_size_limit(name):
    recipe = read_recipe(name)
    plain = read_recipe("mini-sit")
    encoder = read_recipe(recipe.options["encoder"])
    network = KINDS[recipe.options["family"]][1](**recipe.model)
    assert recipe.model["z_dims"] == [encoder.model["embed_dim"]]
    assert (encoder.model["img_size"] // encoder.model["patch_size"]) % network.side == 0
    assert sum(p.numel() for p in network.parameters()) < 1.2 * 1.28e6
    for key in ("steps", "batch_size", "optimizer", "seed"):
        assert getattr(recipe, key) == getattr(plain, key)
    for key in plain.model.keys() - {"learn_sigma"}:
        assert recipe.model[key] == plain.model[key]
