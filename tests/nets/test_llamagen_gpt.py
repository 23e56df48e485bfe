"""LlamaGen's GPT: official sizes, and what a raster likelihood must satisfy."""

import json

import pytest
import torch
from checkout import MANIFESTS
from torch import Tensor

from gcbench.nets.llamagen_gpt import LlamaGenGPT

SIZES = {
    "llamagen_c2i_B_256": {"dim": 768, "n_layer": 12, "n_head": 12},
    "llamagen_c2i_L_256": {"dim": 1024, "n_layer": 24, "n_head": 16},
    "llamagen_c2i_XL_256": {"dim": 1280, "n_layer": 36, "n_head": 20},
}


def trained_looking(seed: int = 0, **changes: int) -> LlamaGenGPT:
    """A tiny network with no zero parameter."""
    sizes = {"dim": 32, "n_layer": 2, "n_head": 4, "block_size": 9, "vocab_size": 11}
    model = LlamaGenGPT(**{**sizes, "num_classes": 5, "multiple_of": 16, **changes}).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


def inputs(batch: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(11, (batch, 9), generator=generator)
    return tokens, torch.randint(5, (batch,), generator=generator)


@pytest.mark.parametrize("name", SIZES)
def test_official_checkpoint_of_every_size_loads_strictly(name):
    manifest = json.loads((MANIFESTS / f"{name}.json").read_text())
    with torch.device("meta"):
        model = LlamaGenGPT(**SIZES[name])
        official = {key: torch.empty(shape) for key, shape in manifest["shapes"].items()}
    model.load_state_dict(official, strict=True, assign=True)
    assert sum(p.numel() for p in model.parameters()) == manifest["n_params"]


def test_fresh_network_predicts_uniformly():
    model = LlamaGenGPT(dim=16, n_layer=1, n_head=2, block_size=9, vocab_size=11, num_classes=5)
    expected = -torch.log(torch.tensor(11.0)).expand(4, 9)
    torch.testing.assert_close(model.eval().token_log_likelihood(*inputs()), expected)


@torch.inference_mode()
def test_no_prediction_sees_its_own_or_a_later_token():
    model = trained_looking()
    tokens, classes = inputs()
    logits = model(tokens, classes)
    for step in range(9):
        changed = tokens.clone()
        changed[:, step:] = (tokens[:, step:] + 1) % 11
        after = model(changed, classes)
        torch.testing.assert_close(after[:, : step + 1], logits[:, : step + 1])
        if step < 8:
            assert not torch.allclose(after[:, step + 1 :], logits[:, step + 1 :], atol=1e-3)


@torch.inference_mode()
def test_token_likelihoods_are_those_of_the_softmax():
    model = trained_looking()
    tokens, classes = inputs()
    log_probabilities = model(tokens, classes).log_softmax(-1)  # [B, N, V]
    expected = log_probabilities.gather(2, tokens[..., None])[..., 0]
    torch.testing.assert_close(model.token_log_likelihood(tokens, classes), expected)


@torch.inference_mode()
def test_unconditional_class_has_a_row_of_its_own():
    model = trained_looking()
    tokens, classes = inputs(batch=1)
    unconditional = model.token_log_likelihood(tokens, torch.full_like(classes, 5)).sum()
    for c in range(5):
        conditional = model.token_log_likelihood(tokens, torch.full_like(classes, c)).sum()
        assert (conditional - unconditional).abs() > 1e-3


@torch.inference_mode()
def test_token_positions_matter():
    """Equal tokens at all positions are still told apart by the rotary table."""
    model = trained_looking()
    tokens = torch.full((1, 9), 3)
    logits = model(tokens, torch.tensor([2]))[0]
    distances = torch.cdist(logits, logits)
    assert distances[~torch.eye(9, dtype=torch.bool)].min() > 1e-4
