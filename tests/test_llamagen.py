"""LlamaGen as a method, on tiny networks: scores, published sizes, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gcbench.checkpoint import ByHand
from gcbench.engine.grid import score_images
from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey, Variant
from gcbench.nets.llamagen_gpt import LlamaGenGPT
from gcbench.nets.llamagen_vq import VQModel

MODEL = {
    "dim": 32,
    "n_layer": 2,
    "n_head": 4,
    "block_size": 16,
    "vocab_size": 12,
    "num_classes": 6,
    "multiple_of": 16,
}
TOKENIZER = {
    "codebook_size": 12,
    "codebook_embed_dim": 4,
    "ch": 32,
    "ch_mult": (1, 1),
    "num_res_blocks": 1,
    "z_channels": 8,
}
VARIANT = Variant(
    name="tiny",
    label_space="six",
    config={"model": MODEL, "tokenizer": TOKENIZER, "image": {"grey": False}},
    checkpoints={"model": ByHand(""), "tokenizer": ByHand("")},
    image_size=8,
)
CLASSES = (0, 1, 2, 3, 4, 5)
KEYS = [SampleKey(f"image-{i}", i) for i in range(4)]


@pytest.fixture(scope="module")
def make(registry, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llamagen")
    torch.manual_seed(0)
    files = {}
    for role, network in (("model", LlamaGenGPT(**MODEL)), ("tokenizer", VQModel(**TOKENIZER))):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        files[role] = folder / f"{role}.safetensors"
        save_file(network.state_dict(), files[role])

    def call(variant=VARIANT):
        method = registry.method("llamagen")(variant, Runtime(checkpoint_files=files))
        method.load()
        return method

    return call


@pytest.fixture(scope="module")
def llamagen(make):
    return make()


@pytest.fixture(scope="module")
def images(llamagen):
    pixels = np.random.default_rng(0).integers(0, 256, (len(KEYS), 20, 24, 3), np.uint8)
    return [llamagen.preprocess(Image.fromarray(image)) for image in pixels]


@torch.inference_mode()
def scored(method, images, rows=slice(None), batch_size=100):
    return score_images(
        method, images[rows], KEYS[rows], CLASSES, trials=1, seed=0, batch_size=batch_size
    )


@torch.inference_mode()
def test_scores_are_sums_over_the_tokens(llamagen, images):
    tokens = llamagen.tokenizer.encode(torch.stack(images))
    values = scored(llamagen, images)
    assert values.shape == (4, 1, 6)
    for label in CLASSES:
        classes = torch.full((len(images),), label)
        expected = llamagen.model.token_log_likelihood(tokens, classes).sum(1)
        np.testing.assert_allclose(values[:, 0, label], expected, rtol=1e-5, atol=1e-5)


def test_scores_depend_neither_on_batch_size_nor_on_other_images(llamagen, images):
    whole = scored(llamagen, images)
    for size in (1, 4, 7):
        got = scored(llamagen, images, batch_size=size)
        np.testing.assert_allclose(got, whole, rtol=1e-5, atol=1e-5)
    for row in range(len(KEYS)):
        got = scored(llamagen, images, slice(row, row + 1))
        np.testing.assert_allclose(got, whole[row : row + 1], rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_proposal_among_one_class_is_its_score(llamagen, images):
    whole = scored(llamagen, images)[:, 0]
    latent = llamagen.tokenizer.encode(torch.stack(images))
    drawn = llamagen.trials(1, KEYS, seed=0)
    for label in CLASSES:
        got = llamagen.propose(latent, drawn, torch.tensor([label]), batch_size=5)
        np.testing.assert_allclose(got[:, 0], whole[:, label], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("name", "tokens"), [("b", 256), ("l", 256), ("xl", 576)])
def test_published_variants_have_as_many_tokens_as_their_image_size_gives(registry, name, tokens):
    cls = registry.method("llamagen")
    variant = cls.variant_named(name)
    assert variant.config["model"]["block_size"] == tokens == (variant.image_size // 16) ** 2


@pytest.mark.parametrize(("name", "weights"), [("b", 110e6), ("l", 342e6)])
def test_cost_of_the_published_sizes_is_that_of_their_matrix_products(registry, name, weights):
    cls = registry.method("llamagen")
    flops = cls(cls.variant_named(name), Runtime()).flops_per_evaluation()
    assert 0.8 * 2 * 256 * weights < flops < 1.1 * 2 * 256 * weights


def test_there_is_only_one_order(registry):
    with pytest.raises(GcbenchError, match="it has only 1"):
        registry.method("llamagen").check_trials(2)


def test_vocabulary_of_another_tokenizer_is_refused(make):
    changed = {**VARIANT.config, "model": {**MODEL, "vocab_size": 99}}
    with pytest.raises(GcbenchError) as caught:
        make(replace(VARIANT, config=changed))
    assert str(caught.value).startswith(
        "llamagen (tiny): the network predicts 99 codes, its tokenizer has 12"
    )
