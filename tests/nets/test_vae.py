"""The KL autoencoder: diffusers' numbers, older layouts of its weights, standardised latents."""

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

from gcbench.checkpoint import load_into
from gcbench.nets.vae import VAE, LatentStatistics

SMALL = {
    "block_out_channels": [8, 8, 16],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
}
# diffusers' names and CompVis's, in this order.
COMPVIS = (
    ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
    ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
    ("mid_block.attentions.0.to_", "mid.attn_1."),
    ("mid_block.resnets.0", "mid.block_1"),
    ("mid_block.resnets.1", "mid.block_2"),
    ("down_blocks", "down"),
    ("resnets", "block"),
    ("downsamplers.0", "downsample"),
    ("upsamplers.0", "upsample"),
    ("conv_shortcut", "nin_shortcut"),
    ("conv_norm_out", "norm_out"),
)


def config():
    return {
        **SMALL,
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
    }


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def as_compvis(tensors):
    named = {}
    for name, tensor in tensors.items():
        for theirs, ours in COMPVIS:
            name = name.replace(theirs, ours)
        if "up_blocks" in name:
            side, _, level, rest = name.split(".", 3)
            name = f"{side}.up.{2 - int(level)}.{rest}"
        convolution = "attn_1" in name and tensor.ndim == 2
        named[name] = tensor[:, :, None, None] if convolution else tensor
    return named


def test_encodes_and_decodes_as_diffusers(images, tmp_path):
    torch.manual_seed(0)
    official, ours = AutoencoderKL(**config()).eval(), VAE(**SMALL).eval()
    load_into(ours, official.state_dict(), tmp_path / "file")
    with torch.inference_mode():
        posterior = official.encode(images).latent_dist
        mean, std = ours.moments(images)
        torch.testing.assert_close(mean, posterior.mean)
        torch.testing.assert_close(std, posterior.std)
        torch.testing.assert_close(ours.decode(mean), official.decode(posterior.mean).sample)


def test_weights_in_the_layout_of_compvis_load(images, tmp_path):
    model, empty = VAE(**SMALL).eval(), VAE(**SMALL).eval()
    load_into(empty, as_compvis(model.state_dict()), tmp_path / "file")
    with torch.inference_mode():
        mean = model.moments(images)[0]
        assert torch.equal(empty.moments(images)[0], mean)
        assert torch.equal(empty.decode(mean), model.decode(mean))


def test_compvis_names_are_read_as_diffusers_reads_them():
    tensors = as_compvis(VAE(**SMALL).state_dict())
    expected = convert_ldm_vae_checkpoint(dict(tensors), config())
    translated = VAE(**SMALL).translated(tensors)
    assert translated.keys() == expected.keys()
    assert all(torch.equal(translated[name], tensor) for name, tensor in expected.items())


def test_weights_with_the_attention_names_of_early_diffusers_load(tmp_path):
    model, empty = VAE(**SMALL), VAE(**SMALL)
    renames = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))
    early = {}
    for name, tensor in model.state_dict().items():
        for new, old in renames:
            name = name.replace(new, old)
        early[name] = tensor
    load_into(empty, early, tmp_path / "file")
    assert all(
        torch.equal(a, b) for a, b in zip(empty.parameters(), model.parameters(), strict=True)
    )


@torch.no_grad()
def test_standardised_latents_decode_to_the_same_images(images):
    torch.manual_seed(1)
    model = VAE(**SMALL).eval()
    mean, std = model.moments(images)
    before = model.decode(mean)
    centre, spread = mean.mean(dim=(0, 2, 3)), mean.std(dim=(0, 2, 3))
    model.standardise(centre, spread)
    moved, moved_std = model.moments(images)
    torch.testing.assert_close(moved.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-4, atol=0)
    torch.testing.assert_close(moved_std * spread[:, None, None], std, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.decode(moved), before, rtol=1e-3, atol=1e-4)


def test_statistics_load_whatever_axes_they_are_stored_with(tmp_path):
    stored = {
        "latents_scale": torch.full((1, 4, 1, 1), 2.0),
        "latents_bias": torch.ones(1, 4, 1, 1),
    }
    statistics = LatentStatistics(4)
    load_into(statistics, stored, tmp_path / "file")
    assert statistics.latents_scale.tolist() == [2.0] * 4
    assert statistics.latents_bias.tolist() == [1.0] * 4
