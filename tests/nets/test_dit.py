"""DiT: parts, initialisation, and diffusers' layout of its weights."""

import pytest
import torch

from gcbench.checkpoint import load_into
from gcbench.errors import GcbenchError
from gcbench.nets.dit import DiT, position_table, timestep_features

SMALL = {"input_size": 8, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_classes": 5}


def randomised(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, 8, 8, generator=generator)
    return x, torch.tensor([0.0, 37.0, 999.0]), torch.tensor([0, 4, 5])


def as_diffusers(model):
    """The weights under the names of diffusers' DiTTransformer2DModel."""
    state = model.state_dict()
    named = {}
    for kind in ("weight", "bias"):
        named[f"pos_embed.proj.{kind}"] = state[f"x_embedder.proj.{kind}"]
        named[f"proj_out_1.{kind}"] = state[f"final_layer.adaLN_modulation.1.{kind}"]
        named[f"proj_out_2.{kind}"] = state[f"final_layer.linear.{kind}"]
        for i in range(len(model.blocks)):
            ours, theirs = f"blocks.{i}", f"transformer_blocks.{i}"
            for n, linear in ((0, "linear_1"), (2, "linear_2")):
                key = f"{theirs}.norm1.emb.timestep_embedder.{linear}.{kind}"
                named[key] = state[f"t_embedder.mlp.{n}.{kind}"]
            q, k, v = state[f"{ours}.attn.qkv.{kind}"].chunk(3)
            named |= {
                f"{theirs}.attn1.to_{n}.{kind}": t for n, t in zip("qkv", (q, k, v), strict=True)
            }
            named[f"{theirs}.attn1.to_out.0.{kind}"] = state[f"{ours}.attn.proj.{kind}"]
            named[f"{theirs}.norm1.linear.{kind}"] = state[f"{ours}.adaLN_modulation.1.{kind}"]
            named[f"{theirs}.ff.net.0.proj.{kind}"] = state[f"{ours}.mlp.fc1.{kind}"]
            named[f"{theirs}.ff.net.2.{kind}"] = state[f"{ours}.mlp.fc2.{kind}"]
    for i in range(len(model.blocks)):
        table = f"transformer_blocks.{i}.norm1.emb.class_embedder.embedding_table.weight"
        named[table] = state["y_embedder.embedding_table.weight"]
    return named


def test_untrained_network_puts_out_zero(inputs):
    assert (DiT(**SMALL)(*inputs) == 0).all()


def test_prediction_is_the_first_half_of_what_the_network_puts_out(inputs):
    model = randomised(DiT(**SMALL))
    x, t, classes = inputs
    with torch.inference_mode():
        whole = model(x, t, classes)
        prediction = model.prediction(model.embed(x), model.condition(t, classes))
    assert whole.shape == (3, 8, 8, 8)
    torch.testing.assert_close(prediction, whole[:, :4])


def test_training_and_evaluation_compute_the_same(inputs):
    model = randomised(DiT(**SMALL))
    with torch.no_grad():
        evaluated = model(*inputs)
        trained = model.train()(*inputs)
    torch.testing.assert_close(trained, evaluated, rtol=1e-4, atol=1e-5)


def test_positions_tell_every_place_from_every_other():
    table = position_table(4, 32)
    distances = torch.cdist(table, table) + 10 * torch.eye(16)
    assert distances.min() > 0.5
    # The first half of the channels is shared by a column, the second by a row.
    grid = table.view(4, 4, 32)
    assert torch.equal(grid[0, 2, :16], grid[3, 2, :16])
    assert torch.equal(grid[2, 0, 16:], grid[2, 3, 16:])


def test_timestep_zero_has_all_cosines_one_and_all_sines_zero():
    features = timestep_features(torch.zeros(1))[0]
    assert features.tolist() == [1.0] * 128 + [0.0] * 128


def test_patches_are_put_back_where_they_were(inputs):
    model = DiT(**SMALL, learn_sigma=False)
    x = inputs[0]
    patches = x.unfold(2, 2, 2).unfold(3, 2, 2)  # [B, C, 4, 4, p, p]
    tokens = patches.permute(0, 2, 3, 4, 5, 1).reshape(3, 16, 16)  # channel fastest
    assert torch.equal(model.unpatchify(tokens), x)


def test_weights_in_the_layout_of_diffusers_load(inputs, tmp_path):
    model, empty = randomised(DiT(**SMALL)), DiT(**SMALL).eval()
    load_into(empty, as_diffusers(model), tmp_path / "file")
    with torch.inference_mode():
        assert torch.equal(empty(*inputs), model(*inputs))


def test_our_names_of_diffusers_are_those_that_diffusers_has():
    from diffusers import DiTTransformer2DModel

    theirs = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=5,
    )
    expected = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    named = {name: tensor.shape for name, tensor in as_diffusers(DiT(**SMALL)).items()}
    assert named == expected


def test_a_missing_tensor_of_diffusers_layout_is_named(tmp_path):
    tensors = as_diffusers(DiT(**SMALL))
    del tensors["transformer_blocks.1.attn1.to_k.weight"]
    with pytest.raises(GcbenchError, match=r"1 missing keys, first 'blocks.1.attn.qkv.weight'"):
        load_into(DiT(**SMALL), tensors, tmp_path / "file")


@pytest.mark.parametrize(("size", "millions"), [("b", 130.5), ("l", 458.1), ("xl", 675.1)])
def test_published_sizes_have_the_published_numbers_of_parameters(size, millions, registry):
    method = registry.method("dit")
    name = {"b": "b", "l": "l-paper", "xl": "xl"}[size]
    with torch.device("meta"):
        model = DiT(**method.variant_named(name).config["model"])
    # The fixed positions are counted among them, as their authors do.
    count = sum(p.numel() for p in model.parameters()) + model.pos_embed.numel()
    assert round(count / 1e6, 1) == millions
