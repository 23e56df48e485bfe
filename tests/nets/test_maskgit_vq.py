"""MaskGIT's tokenizer: official size, its published quirks, quantisation."""

import json

import pytest
import torch
import torch.nn.functional as F
from checkout import MANIFESTS

from gcbench.nets.maskgit_vq import MaskGITVQ, ResnetBlock, VectorQuantizer


@pytest.fixture(scope="module")
def tiny() -> MaskGITVQ:
    torch.manual_seed(0)
    return MaskGITVQ(16, ch=32, ch_mult=(1, 2), num_res_blocks=1, z_channels=8).eval()


def test_official_checkpoint_loads_strictly():
    manifest = json.loads((MANIFESTS / "maskgit_vqgan_f16_256.json").read_text())
    with torch.device("meta"):
        model = MaskGITVQ()
        official = {key: torch.empty(shape) for key, shape in manifest["shapes"].items()}
    model.load_state_dict(official, strict=True, assign=True)
    assert sum(p.numel() for p in model.parameters()) == manifest["n_params"]


@torch.inference_mode()
def test_images_become_a_raster_of_indices_and_back(tiny):
    images = torch.rand(2, 3, 8, 8)
    tokens = tiny.encode(images)
    assert tokens.shape == (2, 16)
    assert tokens.dtype == torch.int64
    assert tiny.decode_tokens(tokens).shape == images.shape


@torch.inference_mode()
def test_a_block_that_changes_width_drops_its_input():
    """The quirk of the published weights: the shortcut reads the block's output."""
    block = ResnetBlock(32, 64)
    x = torch.randn(1, 32, 4, 4)
    h = block.conv2(F.silu(block.norm2(block.conv1(F.silu(block.norm1(x))))))
    torch.testing.assert_close(block(x), h + block.nin_shortcut(h))


@torch.inference_mode()
def test_a_block_of_one_width_keeps_its_input():
    block = ResnetBlock(32, 32)
    block.conv2.weight.zero_()
    x = torch.randn(1, 32, 4, 4)
    assert torch.equal(block(x), x)


@torch.inference_mode()
def test_nearest_code_is_found_by_distance():
    quantizer = VectorQuantizer(size=3, dim=2)
    quantizer.embedding.weight.copy_(torch.tensor([[1.0, 0.0], [9.0, 0.0], [9.0, 0.0]]))
    features = torch.tensor([[2.0, 0.0], [8.0, 0.0], [-3.0, 0.0], [6.0, 0.0]])
    tokens = quantizer(features.T.reshape(1, 2, 2, 2))
    assert tokens.tolist() == [[0, 1, 0, 1]]  # equal codes: the lowest index
    assert quantizer.lookup(tokens)[0, 0].tolist() == [[1.0, 9.0], [1.0, 9.0]]
