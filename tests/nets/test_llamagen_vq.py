"""LlamaGen's tokenizer: official size, quantisation, token grid."""

import json

import pytest
import torch
from checkout import MANIFESTS

from gcbench.nets.llamagen_vq import VectorQuantizer, VQModel


@pytest.fixture(scope="module")
def tiny() -> VQModel:
    torch.manual_seed(0)
    return VQModel(16, 4, ch=32, ch_mult=(1, 1), num_res_blocks=1, z_channels=8).eval()


def test_official_checkpoint_loads_strictly():
    manifest = json.loads((MANIFESTS / "vq_ds16_c2i.json").read_text())
    with torch.device("meta"):
        model = VQModel()
        official = {key: torch.empty(shape) for key, shape in manifest["shapes"].items()}
    model.load_state_dict(official, strict=True, assign=True)
    assert sum(p.numel() for p in model.parameters()) == manifest["n_params"]
    assert [name for name, _ in model.named_buffers()] == manifest["buffers"]


@torch.inference_mode()
def test_images_become_a_raster_of_indices_and_back(tiny):
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    tokens = tiny.encode(images)
    assert tokens.shape == (2, 16)
    assert tokens.dtype == torch.int64
    assert tiny.decode_tokens(tokens).shape == images.shape


@torch.inference_mode()
def test_nearest_code_is_found_by_direction():
    quantizer = VectorQuantizer(size=3, dim=2, l2_norm=True)
    quantizer.embedding.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 9.0], [-5.0, 0.0]]))
    features = torch.tensor([[100.0, 1.0], [0.1, 0.2], [-0.01, 0.0], [3.0, 4.0]])
    tokens = quantizer(features.T.reshape(1, 2, 2, 2))
    assert tokens.tolist() == [[0, 1, 2, 1]]
    assert quantizer.lookup(tokens)[0, :, 0, 1].tolist() == [0.0, 1.0]


@torch.inference_mode()
def test_nearest_code_is_found_by_distance_without_normalisation():
    quantizer = VectorQuantizer(size=2, dim=2, l2_norm=False)
    quantizer.embedding.weight.copy_(torch.tensor([[1.0, 0.0], [9.0, 0.0]]))
    features = torch.tensor([[2.0, 0.0], [8.0, 0.0], [-3.0, 0.0], [6.0, 0.0]])
    assert quantizer(features.T.reshape(1, 2, 2, 2)).tolist() == [[0, 1, 0, 1]]


@torch.inference_mode()
def test_equal_codes_tie_to_the_lowest_index():
    quantizer = VectorQuantizer(size=4, dim=2, l2_norm=True)
    quantizer.embedding.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    assert quantizer(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)).item() == 1
