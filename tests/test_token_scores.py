"""Every token has its own score and its own place, on every path of every autoregressive method."""

from dataclasses import replace

import pytest
import torch

from gcbench.checkpoint import ByHand
from gcbench.engine.grid import full_grid
from gcbench.method import Runtime, SampleKey, Variant

DECODER = {
    "dim": 32,
    "n_layer": 2,
    "n_head": 4,
    "block_size": 16,
    "vocab_size": 12,
    "num_classes": 6,
    "multiple_of": 16,
}
SIDES = (1, 2, 4)
MODELS = {
    "randar": DECODER,
    "randar-raster": DECODER,
    "llamagen": DECODER,
    "var": {
        "depth": 2,
        "embed_dim": 32,
        "num_heads": 4,
        "patch_nums": SIDES,
        "vocab_size": 12,
        "code_dim": 4,
        "num_classes": 6,
    },
}
MODELS["avarc"] = MODELS["var"]
TOKENIZERS = {
    "llamagen": {"codebook_size": 12, "codebook_embed_dim": 4, "ch": 32, "ch_mult": (1, 1)},
    "var": {"patch_nums": SIDES, "codebook_size": 12, "z_channels": 4, "ch": 32, "ch_mult": (1, 1)},
}
KEYS = [SampleKey(f"image-{i}", i) for i in range(3)]
CLASSES = torch.tensor([0, 2, 3, 5])


def loaded(registry, name, path="reference", scales=3):
    """A tiny network of random weights, the same for every path and number of scales."""
    tokenizer = TOKENIZERS["var" if name in ("var", "avarc") else "llamagen"]
    variant = Variant(
        name="tiny",
        label_space="six",
        config={
            "model": MODELS[name],
            "tokenizer": {**tokenizer, "z_channels": 4, "num_res_blocks": 1},
            "image": {"grey": False},
            "likelihood": {"scales": scales, "sigma": 0.5},
        },
        checkpoints={"model": ByHand(""), "tokenizer": ByHand("")},
        image_size=8,
    )
    method = registry.method(name)(variant, Runtime(path=path, random_weights=True))
    method.load()
    return method


@torch.inference_mode()
def token_scores(method, orders=None):
    """The draws, the tokens' scores, and the method's own; in other `orders` where given."""
    trials = 1 if method.max_trials == 1 else 2
    pixels = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = torch.cat([method.encode(one[None]) for one in pixels])
    drawn = method.trials(trials, KEYS, seed=0)
    if orders is not None:
        drawn = replace(drawn, draws={"order": orders})
    (work,) = full_grid((3, trials), CLASSES, 1000)
    return drawn, method.token_scores(latent, drawn, work), method.score(latent, drawn, work)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_scores_of_the_tokens_sum_to_the_score(registry, name):
    method = loaded(registry, name)
    _, found, score = token_scores(method)
    tokens = sum(side**2 for side in method.token_sides)
    assert found.log_likelihood.shape == (len(score), tokens)
    assert (found.log_likelihood <= 0).all()
    torch.testing.assert_close(found.log_likelihood.sum(-1), score)
    assert found.position.sort().values.unique(dim=0).tolist() == [list(range(tokens))]


@pytest.mark.parametrize("name", ["randar", "randar-raster", "llamagen"])
def test_fast_path_gives_every_token_the_score_of_the_reference(registry, name):
    _, reference, _ = token_scores(loaded(registry, name))
    _, fast, _ = token_scores(loaded(registry, name, path="fast"))
    torch.testing.assert_close(fast.log_likelihood, reference.log_likelihood, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast.position, reference.position)


def test_tokens_of_a_random_order_come_in_the_order_of_visits(registry):
    method = loaded(registry, "randar")
    drawn, found, _ = token_scores(method)
    orders = drawn.draws["order"]  # [B, K, N]
    torch.testing.assert_close(found.position, orders.flatten(0, 1))
    # What a token gets depends on those before it, not on those after it.
    other = torch.cat([orders[..., :5], orders[..., 5:].flip(-1)], dim=-1)
    _, turned, _ = token_scores(method, other)
    same = torch.isclose(turned.log_likelihood, found.log_likelihood, rtol=1e-4).all(dim=0)  # [N]
    assert same[:5].all()
    assert not same[5:].any()


@pytest.mark.parametrize("name", ["var", "avarc"])
def test_first_scales_are_the_beginning_of_all_scales(registry, name):
    every, few = loaded(registry, name), loaded(registry, name, scales=2)
    assert (every.token_sides, few.token_sides) == ((1, 2, 4), (1, 2))
    (_, whole, _), (_, part, _) = token_scores(every), token_scores(few)
    torch.testing.assert_close(part.log_likelihood, whole.log_likelihood[:, :5])
    assert part.position[0].tolist() == list(range(5))
