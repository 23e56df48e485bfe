"""The fast decoder gives the network's own numbers, whatever is left out or batched together."""

import pytest
import torch
from torch import Tensor

from gcbench.nets import fast_decoder, kernels
from gcbench.nets.decoder_parts import blocked_attention, fused_attention
from gcbench.nets.fast_decoder import FastDecoder, FastOptions
from gcbench.nets.llamagen_gpt import LlamaGenGPT
from gcbench.nets.randar import RandAR
from gcbench.nets.sequences import sequences

SIZES = {"dim": 32, "n_layer": 3, "n_head": 4, "block_size": 9, "vocab_size": 11}


def trained_looking(kind: type, **changes: int) -> RandAR | LlamaGenGPT:
    """A tiny network with no zero parameter."""
    model = kind(**{**SIZES, "num_classes": 5, "multiple_of": 16, **changes}).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model.requires_grad_(False)


def work() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens and orders of 3 pairs, and 7 evaluations of them."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(11, (3, 9), generator=generator)
    orders = torch.rand(3, 9, generator=generator).argsort(1)
    return tokens, orders, torch.tensor([0, 0, 1, 2, 2, 2, 1]), torch.tensor([4, 0, 3, 1, 2, 0, 0])


@torch.inference_mode()
def both(model: RandAR | LlamaGenGPT, options: FastOptions) -> tuple[Tensor, Tensor]:
    """Log-likelihoods [E] by the network itself and by the fast decoder."""
    tokens, orders, pair, classes = work()
    fast = FastDecoder(model, options)
    if isinstance(model, RandAR):
        expected = model.token_log_likelihood(tokens[pair], classes, orders[pair])
        got = fast.log_likelihood(sequences(model, tokens, orders), pair, classes)
    else:
        expected = model.token_log_likelihood(tokens[pair], classes)
        got = fast.log_likelihood(sequences(model, tokens), pair, classes)
    assert got.shape == expected.shape
    return expected.sum(1), got.sum(1)


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("kind", [RandAR, LlamaGenGPT])
@pytest.mark.parametrize("changes", [{}, {"n_kv_head": 2}, {"n_layer": 1}])
def test_every_combination_of_features_equals_the_network(kind, changes, share, cut):
    options = FastOptions(share_first_layer=share, cut_last_layer=cut)
    expected, got = both(trained_looking(kind, **changes), options)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", [RandAR, LlamaGenGPT])
def test_logits_made_a_few_rows_at_a_time_change_nothing(kind, monkeypatch):
    monkeypatch.setattr(fast_decoder, "LOGITS_AT_ONCE", 5 * 11)
    expected, got = both(trained_looking(kind), FastOptions())
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", [RandAR, LlamaGenGPT])
def test_evaluations_a_few_at_a_time_change_nothing(kind, monkeypatch):
    monkeypatch.setattr(fast_decoder, "STREAM_AT_ONCE", 3 * 17 * 32)
    expected, got = both(trained_looking(kind), FastOptions())
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(RandAR, torch.float32), (RandAR, torch.bfloat16), (LlamaGenGPT, torch.float32)],
)
def test_compiled_equals_the_network(kind, dtype):
    if not kernels.can_compile("cpu"):
        pytest.skip("no C++ compiler here")
    expected, got = both(trained_looking(kind), FastOptions(dtype=dtype, compile=True))
    bound = 1e-6 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(got, expected, rtol=bound, atol=1e-5)


@torch.inference_mode()
def test_one_evaluation_equals_the_same_among_many():
    model = trained_looking(RandAR)
    fast = FastDecoder(model, FastOptions())
    tokens, orders, pair, classes = work()
    together = fast.log_likelihood(sequences(model, tokens, orders), pair, classes)
    for row in range(len(pair)):
        own = sequences(model, tokens[pair[row], None], orders[pair[row], None])
        alone = fast.log_likelihood(own, torch.tensor([0]), classes[row, None])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("attention", [blocked_attention, fused_attention])
def test_attention_equals_softmax_with_a_further_zero_key(attention, stride):
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 131, 16, generator=generator)  # 131: three blocks of queries
    scores = torch.cat([torch.zeros(2, 3, 131, 1), q @ k.transpose(2, 3) / 4], dim=3)
    hidden = torch.ones(131, 132, dtype=torch.bool).triu(2)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(3)[:, :, ::stride]
    others, share = attention(q, k, v, None, stride)
    torch.testing.assert_close(others, weights[..., 1:] @ v, rtol=1e-5, atol=1e-5)
    value = torch.randn(2, 3, 1, 16, generator=generator)
    everything, _ = attention(q, k, v, value, stride)
    torch.testing.assert_close(
        everything, weights @ torch.cat([value, v], dim=2), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(share, weights[..., :1], rtol=1e-5, atol=1e-6)


def test_a_machine_without_a_compiler_goes_on_without(monkeypatch):
    def broken(*args: object, **kwargs: object) -> object:
        raise RuntimeError("no compiler found")

    monkeypatch.setattr(torch, "compile", broken)
    kernels.can_compile.cache_clear()
    with pytest.warns(UserWarning, match="no compiler found"):
        expected, got = both(trained_looking(RandAR), FastOptions(compile=True))
    kernels.can_compile.cache_clear()
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-5)
