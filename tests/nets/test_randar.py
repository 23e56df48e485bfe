"""RandAR: official sizes, and what a likelihood over orders must satisfy."""

import json

import pytest
import torch
from checkout import MANIFESTS
from torch import Tensor

from gcbench.nets.decoder import materialised_attention, rope_table_2d, rotate, swiglu_width
from gcbench.nets.randar import RandAR

SIZES = {
    "randar_l_0.3b_llamagen": {"dim": 1024, "n_layer": 24, "n_head": 16},
    "randar_l_0.3b_maskgit": {"dim": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 1024},
    "randar_xl_0.7b_llamagen": {"dim": 1280, "n_layer": 36, "n_head": 20},
}


def trained_looking(seed: int = 0, **changes: int) -> RandAR:
    """A tiny network with no zero parameter."""
    sizes = {"dim": 32, "n_layer": 3, "n_head": 4, "block_size": 9, "vocab_size": 11}
    model = RandAR(**{**sizes, "num_classes": 5, "multiple_of": 16, **changes}).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


def inputs(batch: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(11, (batch, 9), generator=generator)
    classes = torch.randint(5, (batch,), generator=generator)
    orders = torch.rand(batch, 9, generator=generator).argsort(1)
    return tokens, classes, orders


@pytest.mark.parametrize("name", SIZES)
def test_official_checkpoint_of_every_size_loads_strictly(name):
    manifest = json.loads((MANIFESTS / f"{name}.json").read_text())
    with torch.device("meta"):
        model = RandAR(**SIZES[name])
        official = {key: torch.empty(shape) for key, shape in manifest["shapes"].items()}
    model.load_state_dict(official, strict=True, assign=True)
    assert sum(p.numel() for p in model.parameters()) == manifest["n_params"]


def test_fresh_network_predicts_uniformly():
    model = RandAR(dim=16, n_layer=1, n_head=2, block_size=9, vocab_size=11, num_classes=5).eval()
    log_likelihood = model.token_log_likelihood(*inputs())
    expected = -torch.log(torch.tensor(11.0)).expand(4, 9)
    torch.testing.assert_close(log_likelihood, expected)


@torch.inference_mode()
def test_no_prediction_sees_its_own_or_a_later_token():
    model = trained_looking()
    tokens, classes, orders = inputs()
    logits = model(tokens, classes, orders)
    for step in range(9):
        changed = tokens.clone()
        later = orders[:, step:]
        changed.scatter_(1, later, (tokens.gather(1, later) + 1) % 11)
        after = model(changed, classes, orders)
        torch.testing.assert_close(after[:, : step + 1], logits[:, : step + 1])
        if step < 8:
            assert not torch.allclose(after[:, step + 1 :], logits[:, step + 1 :], atol=1e-3)


@torch.inference_mode()
def test_token_likelihoods_stand_at_raster_positions_and_normalise():
    model = trained_looking()
    tokens, classes, orders = inputs()
    log_likelihood = model.token_log_likelihood(tokens, classes, orders)
    log_probabilities = model(tokens, classes, orders).log_softmax(-1)
    for b in range(4):
        for step, position in enumerate(orders[b].tolist()):
            expected = log_probabilities[b, step, tokens[b, position]]
            torch.testing.assert_close(log_likelihood[b, position], expected)


@torch.inference_mode()
def test_likelihood_depends_on_order_and_class():
    model = trained_looking()
    tokens, classes, orders = inputs(batch=1)
    base = model.token_log_likelihood(tokens, classes, orders).sum()
    other_order = model.token_log_likelihood(tokens, classes, orders.flip(1)).sum()
    other_class = model.token_log_likelihood(tokens, (classes + 1) % 5, orders).sum()
    assert (base - other_order).abs() > 1e-3
    assert (base - other_class).abs() > 1e-3


@torch.inference_mode()
def test_a_batch_equals_its_rows_scored_alone():
    model = trained_looking(n_kv_head=2)
    tokens, classes, orders = inputs()
    together = model.token_log_likelihood(tokens, classes, orders)
    alone = torch.cat(
        [
            model.token_log_likelihood(*(t[i : i + 1] for t in (tokens, classes, orders)))
            for i in range(4)
        ]
    )
    torch.testing.assert_close(together, alone)


@torch.inference_mode()
def test_skipped_work_changes_no_logit():
    """Against the plain way: all rows of all blocks, the last token included."""
    model = trained_looking(n_kv_head=2)
    tokens, classes, orders = inputs()
    visited = model.tok_embeddings(tokens.gather(1, orders))
    pairs = torch.stack([model.instructions(orders), visited], dim=2).flatten(1, 2)
    x = torch.cat([model.cls_embedding(classes)[:, None], pairs], dim=1)  # [B, 1 + 2N, dim]
    zero = torch.zeros_like(orders[:, :1])
    rope = model.rope[torch.cat([zero, 1 + orders.repeat_interleave(2, dim=1)], dim=1)]
    for block in model.layers:
        x = block(x, rope)
    plain = model.output(model.norm(x))[:, 1::2]
    torch.testing.assert_close(model(tokens, classes, orders), plain, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_training_attention_equals_the_fused_kernel():
    model = trained_looking()
    fused = model(*inputs())
    torch.testing.assert_close(model.train()(*inputs()), fused, rtol=1e-5, atol=1e-5)


def test_materialised_attention_ignores_masked_keys():
    q, k, v = torch.randn(3, 1, 2, 4, 8).unbind(0)
    mask = torch.tensor([[True, False, True, False]]).expand(4, 4)
    changed = v.clone()
    changed[:, :, 1::2] += 1.0
    before = materialised_attention(q, k, v, mask)
    torch.testing.assert_close(materialised_attention(q, k, changed, mask), before)


def test_rope_turns_with_row_then_column_and_blanks_the_class_token():
    table = rope_table_2d(grid=3, head_dim=8, base=100.0)
    assert table.shape == (10, 4, 2)
    assert not table[0].any()
    angles = torch.tensor([2.0, 0.2, 1.0, 0.1])  # row 2, column 1; frequencies 1 and 1/10
    torch.testing.assert_close(table[1 + 2 * 3 + 1, :, 0], angles.cos())
    torch.testing.assert_close(table[1 + 2 * 3 + 1, :, 1], angles.sin())


def test_rotation_turns_adjacent_pairs():
    quarter = torch.tensor([0.0, 1.0]).expand(1, 1, 2, 2)  # cos 0, sin 1
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    assert rotate(x, quarter).flatten().tolist() == [-2.0, 1.0, -4.0, 3.0]


@pytest.mark.parametrize(("dim", "width"), [(768, 2048), (1024, 2816), (1280, 3584)])
def test_feed_forward_width_is_the_published_one(dim, width):
    assert swiglu_width(dim) == width


def test_impossible_sizes_are_refused_by_name():
    with pytest.raises(ValueError, match="square number of tokens, got 10"):
        RandAR(dim=16, n_layer=1, n_head=2, block_size=10)
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        RandAR(dim=12, n_layer=1, n_head=2, block_size=9)
