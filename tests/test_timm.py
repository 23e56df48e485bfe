"""timm models by name: their own preprocessing and weights, logits restricted to the candidates."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from gcbench.errors import GcbenchError
from gcbench.method import Runtime

NAME = "test_resnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file(timm.create_model(NAME).state_dict(), file)
    return file


@pytest.fixture
def make(registry, weights):
    cls = registry.method("timm")

    def call(name=NAME, **preprocessing):
        runtime = Runtime(checkpoint_files={"model": weights}, preprocessing=preprocessing)
        return cls(cls.variant_named(name), runtime)

    return call


def photo(width=300, height=200):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))


def test_scores_are_log_probabilities_among_the_candidates(make, weights):
    method = make()
    method.load()
    batch = torch.stack([method.preprocess(photo()), method.preprocess(photo(250, 333))])
    classes = torch.tensor([3, 40, 999])
    with torch.inference_mode():
        scores = method.scores(batch, classes)
        reference = timm.create_model(NAME, checkpoint_path=str(weights)).eval()
        expected = reference(batch)[:, classes].log_softmax(-1)
    assert scores.shape == (2, 1, 3)
    torch.testing.assert_close(scores[:, 0], expected)


def test_preprocessing_is_that_of_the_timm_card(make):
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(NAME).to_dict())
    transform = timm.data.create_transform(**config, is_training=False)
    assert torch.equal(make().preprocess(photo()), transform(photo()))


def test_given_settings_replace_the_cards_and_change_the_key(make):
    method = make(size=96, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="bilinear")
    image = method.preprocess(photo())
    assert image.shape == (3, 96, 96)
    assert 0 <= image.min() <= image.max() <= 1
    assert method.preprocessing != make().preprocessing
    assert "size=96" in method.preprocessing


def test_image_that_is_cropped_already_is_not_cropped_again(make):
    method = make()
    side = method.variant.image_size
    image = photo(side, side)
    cropped = method.preprocess(image)
    image.info["precropped"] = True
    whole = method.preprocess(image)
    expected = timm.data.create_transform(**{**method.data, "crop_pct": 1.0})(image)
    assert torch.equal(whole, expected)
    assert method.data["crop_pct"] == 1.0 or not torch.equal(whole, cropped)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "timm needs a model"),
        ("resnet5", "unknown timm model 'resnet5'.*did you mean 'resnet"),
        ("vit_large_patch14_dinov2", "weights for 0 classes, expected ImageNet's 1000"),
    ],
)
def test_name_that_cannot_be_used_is_explained(registry, name, message):
    with pytest.raises(GcbenchError, match=message):
        registry.method("timm").variant_named(name)


def test_preprocessing_of_a_generative_method_cannot_be_replaced(registry):
    cls = registry.method("randar")
    with pytest.raises(GcbenchError, match="randar does not take --size"):
        cls(cls.variant_named("l"), Runtime(preprocessing={"size": 224}))


def test_weights_that_were_not_fetched_are_named(registry, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cls = registry.method("timm")
    with pytest.raises(GcbenchError, match="is not on this machine") as caught:
        cls(cls.variant_named(NAME), Runtime()).weights()
    assert "gcbench fetch" in caught.value.hint
