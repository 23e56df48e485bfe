"""The linearised likelihood: exact at the point of linearisation, with the slope of the network."""

import pytest
import torch

from gcbench.nets.decoder import init_weights
from gcbench.nets.llamagen_gpt import LlamaGenGPT
from gcbench.nets.proposal import first_order_scores
from gcbench.nets.randar import RandAR
from gcbench.nets.sequences import class_tokens

SHAPE = {"dim": 32, "n_layer": 3, "n_head": 4, "block_size": 16, "vocab_size": 24}
NETWORKS = [(RandAR, 4), (RandAR, 2), (LlamaGenGPT, 4), (LlamaGenGPT, 1)]


def build(cls, kv_heads):
    torch.manual_seed(0)
    network = cls(**SHAPE, n_kv_head=kv_heads, num_classes=6, multiple_of=16)
    init_weights(network, std=0.2)
    return network.eval().requires_grad_(False)


def draw(images=3):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(24, (images, 16), generator=generator)
    orders = torch.stack([torch.randperm(16, generator=generator) for _ in range(images)])
    return tokens, orders


def scored(network, tokens, orders, classes):
    """The network's own log-likelihood, [B, C]."""
    grid = [t.repeat_interleave(len(classes), dim=0) for t in (tokens, orders)]
    candidates = classes.repeat(len(tokens))
    if isinstance(network, RandAR):
        per_token = network.token_log_likelihood(grid[0], candidates, grid[1])
    else:
        per_token = network.token_log_likelihood(grid[0], candidates)
    return per_token.sum(1).view(len(tokens), -1)


def proposed(network, tokens, orders, classes):
    orders = orders if isinstance(network, RandAR) else None
    return first_order_scores(network, tokens, orders, classes)


@pytest.mark.parametrize(("cls", "kv_heads"), NETWORKS)
def test_single_candidate_is_scored_exactly(cls, kv_heads):
    network = build(cls, kv_heads)
    tokens, orders = draw()
    for label in (0, 5):
        classes = torch.tensor([label])
        torch.testing.assert_close(
            proposed(network, tokens, orders, classes),
            scored(network, tokens, orders, classes),
            rtol=1e-5,
            atol=1e-4,
        )


@pytest.mark.parametrize(("cls", "kv_heads"), NETWORKS)
def test_nearby_classes_are_ranked_by_the_slope_of_the_network(cls, kv_heads):
    network = build(cls, kv_heads)
    table = network.cls_embedding.embedding_table.weight
    table[1:] = table[:1] + 0.005 * table[1:]  # all close to class 0
    tokens, orders = draw()
    classes = torch.arange(6)
    exact, got = (f(network, tokens, orders, classes) for f in (scored, proposed))
    error = (got - got.mean(1, keepdim=True)) - (exact - exact.mean(1, keepdim=True))
    assert error.abs().max() < 0.05 * exact.std(1).min()


def test_an_image_is_proposed_for_alike_in_any_company():
    network = build(RandAR, 4)
    tokens, orders = draw()
    whole = first_order_scores(network, tokens, orders, torch.arange(6))
    alone = first_order_scores(network, tokens[1:2], orders[1:2], torch.arange(6))
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-5, atol=1e-4)


def test_inference_mode_does_not_stand_in_the_way():
    network = build(RandAR, 4)
    expected = first_order_scores(network, *draw(), torch.arange(6))
    with torch.inference_mode():
        tokens, orders = draw()
        got = first_order_scores(network, tokens, orders, torch.arange(6))
    torch.testing.assert_close(got, expected)


def test_class_token_depends_on_its_class_alone():
    network = build(RandAR, 2)
    some = class_tokens(network, torch.tensor([4, 1]))
    every = class_tokens(network, torch.arange(6))
    torch.testing.assert_close(some.values, every.values[[4, 1]])
    assert some.values.shape == (2, 3, 2 * 8)
    assert some.hidden.shape == (2, 32)
