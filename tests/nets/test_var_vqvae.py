"""VAR's tokenizer: official size, scale by scale quantisation, the input it gives VAR."""

import json

import pytest
import torch
from checkout import MANIFESTS
from torch import Tensor

from gcbench.nets.var_vqvae import VQVAE, smoother_of_scale

ENDS = [1, 5, 21]


@pytest.fixture(scope="module")
def tiny() -> VQVAE:
    torch.manual_seed(0)
    model = VQVAE((1, 2, 4), 16, 4, ch=32, ch_mult=(2, 1), num_res_blocks=1).eval()
    torch.nn.init.normal_(model.quantize.embedding.weight)
    return model


def features(batch: int = 3) -> Tensor:
    return torch.randn(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1))


def test_official_checkpoint_loads_strictly():
    manifest = json.loads((MANIFESTS / "vae_ch160v4096z32.json").read_text())
    with torch.device("meta"):
        model = VQVAE()
        official = {key: torch.empty(shape) for key, shape in manifest["shapes"].items()}
    model.load_state_dict(official, strict=True, assign=True)
    assert sum(p.numel() for p in model.parameters()) == manifest["n_params"]
    assert [name for name, _ in model.named_buffers()] == manifest["buffers"]


@pytest.mark.parametrize(
    "table",
    [(0, 1, 2, 3), (0, 1, 2, 2, 3), (0, 0, 1, 1, 1, 2, 2, 3, 3, 3)],
    ids=["4-scales", "5-scales", "10-scales"],
)
def test_smoothing_convolutions_are_shared_as_published(table):
    assert smoother_of_scale(len(table)) == table


@torch.inference_mode()
def test_images_become_codes_of_all_scales_and_back(tiny):
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    tokens = tiny.encode(images)
    assert tokens.shape == (2, 21)
    assert tokens.dtype == torch.int64
    assert tiny.decode_tokens(tokens).shape == images.shape


@torch.inference_mode()
def test_every_scale_quantises_what_the_coarser_ones_left(tiny):
    f, quantize = features(), tiny.quantize
    tokens = quantize(f)
    left = f
    starts = [0, *ENDS]
    for i, (start, end) in enumerate(zip(starts, ENDS, strict=False)):
        side = quantize.patch_nums[i]
        coarse = torch.nn.functional.adaptive_avg_pool2d(left, side).flatten(2).transpose(1, 2)
        nearest = torch.cdist(coarse, quantize.embedding.weight[None]).argmin(2)
        assert torch.equal(tokens[:, start:end], nearest)
        *_, drawn = quantize.reconstructions(tokens[:, :end])
        left = f - drawn


@torch.inference_mode()
def test_var_input_is_the_reconstruction_before_each_scale(tiny):
    quantize = tiny.quantize
    tokens = quantize(features())
    var_input = quantize.var_input(tokens)
    assert var_input.shape == (3, 20, 4)
    first, second, _ = quantize.reconstructions(tokens)
    pool = torch.nn.functional.adaptive_avg_pool2d
    expected = torch.cat([pool(first, 2).flatten(2), pool(second, 4).flatten(2)], dim=2)
    torch.testing.assert_close(var_input, expected.transpose(1, 2))


@torch.inference_mode()
def test_first_scales_alone_give_the_beginning_of_var_input(tiny):
    tokens = tiny.quantize(features())
    whole = tiny.quantize.var_input(tokens)
    for end in ENDS:
        part = tiny.quantize.var_input(tokens[:, :end])
        assert part.shape[1] == end - 1
        assert torch.equal(part, whole[:, : end - 1])


@torch.inference_mode()
def test_each_image_gets_the_codes_it_has_alone(tiny):
    f = features(batch=5)
    alone = torch.cat([tiny.quantize(f[i : i + 1]) for i in range(5)])
    assert torch.equal(tiny.quantize(f), alone)
