"""VAR: official sizes, and what a likelihood over scales must satisfy."""

import json
from pathlib import Path

import pytest
import torch
from checkout import MANIFESTS
from torch import Tensor

from gcbench.checkpoint import load_into
from gcbench.errors import GcbenchError
from gcbench.nets.var import PATCH_NUMS_256, PATCH_NUMS_512, VAR, scale_ends

SIZES = {
    "var_d16": {"depth": 16},
    "var_d20": {"depth": 20},
    "var_d24": {"depth": 24},
    "var_d30": {"depth": 30},
    "var_d36_512": {"depth": 36, "patch_nums": PATCH_NUMS_512, "shared_aln": True},
}
SIDES = (1, 2, 3)  # 1 + 4 + 9 tokens
ENDS = [1, 5, 14]


def fresh(**changes) -> VAR:
    sizes = {"depth": 2, "embed_dim": 32, "num_heads": 4, "patch_nums": SIDES, "vocab_size": 11}
    return VAR(**{**sizes, "code_dim": 3, "num_classes": 5, **changes}).eval()


def trained_looking(seed: int = 0, **changes) -> VAR:
    """A tiny network with no zero parameter."""
    model = fresh(**changes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


def inputs(batch: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(11, (batch, 14), generator=generator)
    var_input = torch.randn(batch, 13, 3, generator=generator)
    return tokens, var_input, torch.randint(5, (batch,), generator=generator)


both_modulations = pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])


@pytest.mark.parametrize("name", SIZES)
def test_official_checkpoint_of_every_size_loads_strictly(name):
    manifest = json.loads((MANIFESTS / f"{name}.json").read_text())
    with torch.device("meta"):
        model = VAR(**SIZES[name])
        official = {key: torch.empty(shape) for key, shape in manifest["shapes"].items()}
    model.load_state_dict(official, strict=True, assign=True)
    assert sum(p.numel() for p in model.parameters()) == manifest["n_params"]
    assert [name for name, _ in model.named_buffers()] == manifest["buffers"]


def test_scales_end_where_the_published_ones_do():
    assert scale_ends(PATCH_NUMS_256) == [1, 5, 14, 30, 55, 91, 155, 255, 424, 680]
    assert scale_ends(PATCH_NUMS_512)[-1] == 2240


@both_modulations
def test_fresh_network_predicts_nearly_uniformly(shared):
    torch.manual_seed(0)
    log_likelihood = fresh(shared_aln=shared).token_log_likelihood(*inputs())
    uniform = -torch.log(torch.tensor(11.0)).expand(4, 14)
    torch.testing.assert_close(log_likelihood, uniform, rtol=0, atol=0.05)


@both_modulations
@torch.inference_mode()
def test_a_scale_sees_itself_and_coarser_scales_only(shared):
    model = trained_looking(shared_aln=shared)
    _, var_input, classes = inputs()
    logits = model(var_input, classes)
    for start, end in ((1, 5), (5, 14)):
        changed = var_input.clone()
        changed[:, end - 2] += 1.0  # the input of the scale's last position
        moved = (model(changed, classes) - logits).abs().amax(dim=2)  # [B, L]
        assert (moved[:, :start] < 1e-5).all()
        assert (moved[:, start:] > 1e-5).all()


@both_modulations
@torch.inference_mode()
def test_likelihood_of_the_first_scales_needs_no_later_scale(shared):
    model = trained_looking(shared_aln=shared)
    tokens, var_input, classes = inputs()
    whole = model.token_log_likelihood(tokens, var_input, classes)
    for end in ENDS:
        part = model.token_log_likelihood(tokens[:, :end], var_input[:, : end - 1], classes)
        torch.testing.assert_close(part, whole[:, :end])


@torch.inference_mode()
def test_no_label_is_dropped_and_no_randomness_used():
    """The official forward drops a tenth of the labels even in eval mode."""
    model = trained_looking()
    tokens, var_input, _ = inputs(batch=1)
    rows = 200
    classes = torch.full((rows,), 3)
    state = torch.random.get_rng_state()
    scores = model.token_log_likelihood(
        tokens.expand(rows, -1), var_input.expand(rows, -1, -1), classes
    ).sum(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(scores, scores[:1].expand(rows))
    unconditional = model.token_log_likelihood(tokens, var_input, torch.tensor([5])).sum()
    assert (scores[0] - unconditional).abs() > 1e-3


@torch.inference_mode()
def test_attention_temperature_is_capped_at_100():
    model = trained_looking()
    attention = model.blocks[0].attn
    attention.scale_mul_1H11.fill_(torch.tensor(100.0).log().item())
    _, var_input, classes = inputs()
    capped = model(var_input, classes)
    attention.scale_mul_1H11.fill_(50.0)
    assert torch.equal(model(var_input, classes), capped)


@torch.inference_mode()
def test_token_likelihoods_are_those_of_the_softmax():
    model = trained_looking()
    tokens, var_input, classes = inputs()
    log_probabilities = model(var_input, classes).log_softmax(-1)  # [B, L, V]
    expected = log_probabilities.gather(2, tokens[..., None])[..., 0]
    torch.testing.assert_close(model.token_log_likelihood(tokens, var_input, classes), expected)


@pytest.mark.parametrize("sides", [(1, 2, 4), (1, 3, 2)], ids=["longer", "as-long"])
def test_checkpoint_of_other_scales_is_refused_by_naming_both(sides):
    other = fresh(patch_nums=sides).state_dict()
    with pytest.raises(GcbenchError) as caught:
        load_into(fresh(), other, Path("var.pth"))
    message = str(caught.value)
    assert "var.pth does not fit VAR" in message
    assert f"scales of sides {list(sides)}, expected [1, 2, 3]" in message
