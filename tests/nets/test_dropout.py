"""Dropout of the decoders: in training alone, and without a parameter of its own."""

import pytest
import torch

from gcbench.nets.llamagen_gpt import LlamaGenGPT
from gcbench.nets.randar import RandAR

SHAPE = {"dim": 16, "n_layer": 2, "n_head": 2, "block_size": 9, "vocab_size": 11,
         "num_classes": 5, "multiple_of": 16}  # fmt: skip


@pytest.fixture(params=[RandAR, LlamaGenGPT])
def networks(request):
    """With dropout and without, the same weights."""
    torch.manual_seed(0)
    plain, dropping = request.param(**SHAPE), request.param(**SHAPE, dropout=0.5)
    torch.nn.init.normal_(plain.output.weight)
    dropping.load_state_dict(plain.state_dict())
    return plain, dropping


def inputs(network):
    tokens, classes = torch.arange(9)[None] % 11, torch.tensor([3])
    orders = (torch.arange(9).flip(0)[None],) if isinstance(network, RandAR) else ()
    return tokens, classes, *orders


def test_evaluation_drops_nothing(networks):
    plain, dropping = (network.eval() for network in networks)
    assert torch.equal(dropping(*inputs(dropping)), plain(*inputs(plain)))


def test_training_drops_by_the_seed(networks):
    plain, dropping = (network.train() for network in networks)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(dropping(*inputs(dropping)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.allclose(found[0], plain(*inputs(plain)))
