"""The beginning of a sequence under all classes, and the rest of it under the best of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.method import randomise
from gcbench.nets.fast_decoder import FastDecoder, FastOptions
from gcbench.nets.llamagen_gpt import LlamaGenGPT
from gcbench.nets.prefix import follow_best
from gcbench.nets.randar import RandAR
from gcbench.nets.sequences import sequences

SHAPE = {"dim": 32, "n_layer": 3, "n_head": 4, "block_size": 16, "vocab_size": 24}
CLASSES = torch.arange(7)


def network(kind, **shape):
    model = kind(**SHAPE, **shape, num_classes=7, multiple_of=16).eval().requires_grad_(False)
    randomise(model, torch.Generator().manual_seed(0))
    return model


MODELS = {
    "randar": network(RandAR),
    "randar-gqa": network(RandAR, n_kv_head=2),
    "llamagen": network(LlamaGenGPT),
}


def inputs(name, count=3):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(24, (count, 16), generator=generator)
    if name == "llamagen":
        return tokens, None
    return tokens, torch.rand(count, 16, generator=generator).argsort(1)


def expected(name, tokens, orders):
    """Token log-likelihoods in visit order of the plain network, [P, C, N]."""
    rows = [t[None].expand(7, -1) for t in tokens]
    if orders is None:
        return torch.stack([MODELS[name].token_log_likelihood(t, CLASSES) for t in rows])
    found = []
    for row, order in zip(rows, orders, strict=True):
        own = order[None].expand(7, -1)
        found.append(MODELS[name].token_log_likelihood(row, CLASSES, own).gather(1, own))
    return torch.stack(found)


@pytest.mark.parametrize("name", MODELS)
@given(share=st.floats(0.01, 0.99), keep=st.integers(1, 7), batch_size=st.integers(1, 9))
@settings(max_examples=12, deadline=None)
def test_the_best_beginnings_are_followed_to_the_score_of_the_whole(name, share, keep, batch_size):
    tokens, orders = inputs(name)
    decoder = FastDecoder(MODELS[name], FastOptions())
    of = sequences(MODELS[name], tokens, orders)
    found = follow_best(decoder, of, CLASSES, share, keep, batch_size)
    per_token = expected(name, tokens, orders)
    read = max(1, round(share * of.targets.shape[1])) + (of.first_target is not None)
    beginnings = per_token[:, :, :read].sum(2)  # [P, C]
    assert found.columns.shape == found.log_likelihood.shape == (3, keep)
    chosen = beginnings.gather(1, found.columns)
    assert (chosen.diff(dim=1) <= 1e-4).all()  # best first
    others = beginnings.scatter(1, found.columns, float("-inf")).amax(1)
    assert (others <= chosen[:, -1] + 1e-4).all()
    whole = per_token.sum(2).gather(1, found.columns)
    torch.testing.assert_close(found.log_likelihood, whole, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_read_in_pieces_says_the_same_of_every_token(name):
    tokens, orders = inputs(name, count=1)
    decoder = FastDecoder(MODELS[name], FastOptions())
    of = sequences(MODELS[name], tokens, orders)
    length, past, parts = of.x.shape[1], None, []
    for start in range(0, length, 3 * of.stride):
        rows = range(start, min(start + 3 * of.stride, length))
        found, past = decoder.advance(of, CLASSES, rows, past)
        parts.append(found)
    read = torch.cat(parts, dim=1)
    torch.testing.assert_close(read, expected(name, tokens, orders)[0], rtol=1e-4, atol=1e-4)


def test_bf16_keeps_to_the_fp32_ranking_of_far_classes():
    tokens, orders = inputs("randar")
    of = sequences(MODELS["randar"], tokens, orders)
    found = [
        follow_best(FastDecoder(MODELS["randar"], FastOptions(dtype=d)), of, CLASSES, 0.5, 7, 9)
        for d in (torch.float32, torch.bfloat16)
    ]
    scores = [torch.zeros(3, 7).scatter(1, f.columns, f.log_likelihood) for f in found]
    assert (scores[0] - scores[1]).abs().max() < 0.02 * scores[0].abs().max()
