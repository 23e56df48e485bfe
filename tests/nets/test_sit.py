"""SiT's descendants: whose checkpoint is whose, projectors, the class token."""

import pytest
import torch

from gcbench.checkpoint import load_into
from gcbench.errors import GcbenchError
from gcbench.nets.sit import IREPA, REG, REPA, SiT

SMALL = {"input_size": 8, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_classes": 5}
ALIGNED = {**SMALL, "encoder_depth": 1, "z_dims": [6], "projector_dim": 8}


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, 8, 8, generator=generator)
    return x, torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0, 4, 5])


def randomised(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def test_checkpoint_of_repa_is_refused_by_sit_for_its_time(tmp_path):
    tensors = REPA(**ALIGNED).state_dict()
    with pytest.raises(GcbenchError, match=r"with REPA .keys projectors.*time runs the other way"):
        load_into(SiT(**SMALL), tensors, tmp_path / "file")


def test_checkpoint_of_sit_is_refused_by_repa_for_its_time(tmp_path):
    with pytest.raises(GcbenchError, match="no projectors, as SiT's, whose time runs the other"):
        load_into(REPA(**ALIGNED), SiT(**SMALL).state_dict(), tmp_path / "file")


def test_projectors_of_repa_and_irepa_are_not_mistaken_for_each_other(tmp_path):
    tensors = IREPA(**ALIGNED).state_dict()
    with pytest.raises(GcbenchError, match=r"missing keys, first 'projectors.0.0.weight'"):
        load_into(REPA(**ALIGNED), tensors, tmp_path / "file")


def test_early_checkpoints_of_repa_with_two_lists_of_blocks_load(inputs, tmp_path):
    model, empty = randomised(REPA(**ALIGNED)), REPA(**ALIGNED).eval()
    early = {
        name.replace("blocks.1.", "decoder_blocks.0."): tensor
        for name, tensor in model.state_dict().items()
    }
    load_into(empty, early, tmp_path / "file")
    with torch.inference_mode():
        assert torch.equal(empty(*inputs), model(*inputs))


@pytest.mark.parametrize("network", [REPA, IREPA])
def test_projectors_do_not_touch_the_velocity(network, inputs):
    model = randomised(network(**ALIGNED))
    with torch.inference_mode():
        velocity, (features,) = model.with_features(*inputs)
        assert torch.equal(velocity, model(*inputs))
    assert features.shape == (3, 16, 6)


def test_class_token_moves_the_velocity_and_gets_one_of_its_own(inputs):
    model = randomised(REG(**ALIGNED))
    tokens = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        one, other = (model.with_class_token(*inputs, token) for token in tokens)
        x, t, classes = inputs
        condition = model.condition(t, classes)
        prediction = model.prediction(model.embed_with(x, tokens[0]), condition)
    assert torch.equal(prediction, one[0])
    assert not torch.equal(one[0], other[0])
    assert one[1].shape == (3, 6)
    assert one[2][0].shape == (3, 17, 6)


def test_class_token_must_be_given(inputs):
    with pytest.raises(TypeError, match="needs a class token"):
        REG(**ALIGNED)(*inputs)


def test_untrained_network_puts_out_zero_for_latent_and_class_token(inputs):
    velocity, token_velocity, _ = REG(**ALIGNED).with_class_token(*inputs, torch.ones(3, 6))
    assert (velocity == 0).all()
    assert (token_velocity == 0).all()
