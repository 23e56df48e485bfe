"""VAR and its multi-scale tokenizer in training."""

import csv

import pytest
import torch
import torch.nn.functional as F

from gcbench.errors import GcbenchError
from gcbench.nets.var_vqvae import VQVAE
from gcbench.training import train
from gcbench.training.data import as_rgb, read_split
from gcbench.training.multiscale import MultiScaleTokenizer
from gcbench.training.recipe import read_recipe
from gcbench.training.tasks import Workplace
from gcbench.training.var import VARTask

CODES = 1 + 4 + 16 + 64


@pytest.fixture
def split(data_root):
    return read_split(data_root / "fashion-mnist")


@pytest.fixture
def tokenizer(recipe_file, split):
    return MultiScaleTokenizer(read_recipe(str(recipe_file("multiscale"))), split, split)


@pytest.fixture
def var(recipe_file, data_root, split, tmp_path):
    """Builds the VAR task on a tokenizer trained for this test."""
    train(str(recipe_file("multiscale")), data_root, tmp_path / "out")

    def build(replace=None, echo=lambda line: None):
        recipe = read_recipe(str(recipe_file("var", replace)))
        place = Workplace(tmp_path / "out", tmp_path / "out/work", echo)
        return VARTask(recipe, split, split.cut(0, 16), place)

    return build


def losses_of(weights):
    with weights.with_name(f"{weights.stem}.curve.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def test_a_few_steps_lower_the_loss_of_both(recipe_file, data_root, tmp_path):
    longer = {"steps = 6": "steps = 40", "evaluate_every = 2": "evaluate_every = 20"}
    tokenizer = train(str(recipe_file("multiscale", longer)), data_root, tmp_path / "out")
    longer = {"steps = 5": "steps = 40", "evaluate_every = 2": "evaluate_every = 20"}
    var = train(str(recipe_file("var", longer)), data_root, tmp_path / "out")
    for first, last in (losses_of(tokenizer), losses_of(var)):
        assert last < first


def test_tokenizer_starts_without_quantisation_and_then_counts_the_codes_of_all_scales(tokenizer):
    batch = tokenizer.batch(torch.arange(4), torch.Generator().manual_seed(0))
    free = tokenizer.losses(*batch)
    assert free["loss"] == free["reconstruction"]
    assert tokenizer.wrapped.usage.sum() == 0
    tokenizer.wrapped.quantising.fill_(True)
    assert tokenizer.losses(*batch)["loss"] > 0
    assert tokenizer.wrapped.usage.sum() == 4 * CODES


def test_the_decoder_learns_from_the_codes_and_the_encoder_from_the_decoder(tokenizer):
    tokenizer.wrapped.quantising.fill_(True)
    batch = tokenizer.batch(torch.arange(4), torch.Generator().manual_seed(0))
    reconstruction = tokenizer.losses(*batch)["reconstruction"]
    vq = tokenizer.vq
    images = as_rgb(batch[0])
    assert torch.allclose(reconstruction, F.mse_loss(vq.decode_tokens(vq.encode(images)), images))
    reconstruction.backward()
    learns = {name for name, p in vq.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("encoder") for name in learns)
    assert not any(name.startswith("quantize") for name in learns)


def test_codebook_terms_are_the_mean_over_scales_of_the_distance_to_the_features(tokenizer):
    tokenizer.wrapped.quantising.fill_(True)
    batch = tokenizer.batch(torch.arange(4), torch.Generator().manual_seed(0))
    found = tokenizer.losses(*batch)
    vq = tokenizer.vq
    features = vq.encode_latent(as_rgb(batch[0]))
    drawn = vq.quantize.reconstructions(vq.quantize(features))
    distance = torch.stack([F.mse_loss(total, features) for total in drawn]).mean()
    assert torch.allclose(found["loss"] - found["reconstruction"], 1.25 * distance)


def test_what_becomes_the_codebook_is_what_each_scale_quantises(tokenizer):
    images = as_rgb(torch.randint(256, (3, 32, 32), generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        vectors = tokenizer.quantised_vectors(images)  # [B * L, e]
        codes = tokenizer.vq.encode(images).flatten()
        distance = torch.cdist(vectors, tokenizer.vq.quantize.embedding.weight)
    assert torch.allclose(distance.min(1).values, distance.gather(1, codes[:, None]).squeeze(1))


def test_batch_holds_labelled_codes_and_what_the_scales_before_draw(var, tmp_path):
    task = var()
    tokens, var_input, classes = task.batch(torch.arange(20), torch.Generator().manual_seed(0))
    assert tokens.shape == (20, CODES)
    assert torch.equal(var_input, task.quantizer.var_input(tokens))
    dropped = classes == task.model.num_classes
    assert 0 < dropped.sum() < 20
    assert torch.equal(classes[~dropped], (torch.arange(20) % 10)[~dropped])
    for image, row in enumerate(tokens):
        assert any((task.tokens.view(v)[image].long() == row).all() for v in range(2))


def test_images_are_encoded_once(var, monkeypatch):
    lines: list[str] = []
    first = var(echo=lines.append)
    assert len(lines) == 3  # two views of the training images, one of the held-out ones
    monkeypatch.setattr(VQVAE, "encode", None)
    second = var(echo=lines.append)
    assert len(lines) == 3
    assert torch.equal(first.tokens.view(1), second.tokens.view(1))


def test_evaluation_recognises_a_model_that_knows_the_class(var, monkeypatch):
    task = var()
    labels = {
        tuple(t.tolist()): c for t, c in zip(task.held_out, task.held_out_labels, strict=True)
    }
    assert len(labels) == 12

    def oracle(tokens, var_input, classes):
        right = torch.tensor([labels[tuple(t.tolist())] for t in tokens]) == classes
        return torch.where(right, -1.0, -2.0)[:, None].expand(-1, CODES)

    monkeypatch.setattr(task.model, "token_log_likelihood", oracle)
    assert task.evaluate(last=True) == {"accuracy": 1.0, "log_likelihood": -float(CODES)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("vocab_size = 16", "vocab_size = 32"),
        ("code_dim = 4", "code_dim = 8"),
        ("[1, 2, 4, 8]", "[1, 2, 3, 8]"),
    ],
)
def test_transformer_that_does_not_fit_its_tokenizer_is_refused(var, old, new):
    with pytest.raises(GcbenchError, match="the tokenizer has 16 codes of width 4 on scales"):
        var({old: new})


def test_the_codebook_starts_as_what_the_codes_before_leave_over(tokenizer, monkeypatch):
    pools = []
    vectors = tokenizer.quantised_vectors

    def recorded(images):
        pools.append(vectors(images))
        return pools[-1]

    monkeypatch.setattr(tokenizer, "quantised_vectors", recorded)
    batch = tokenizer.batch(torch.arange(4), torch.Generator().manual_seed(0))
    tokenizer.after_step(tokenizer.options.free_steps - 1, batch, torch.Generator().manual_seed(1))
    assert tokenizer.wrapped.quantising
    assert len(pools) == len(tokenizer.vq.patch_nums)
    codes = tokenizer.vq.quantize.embedding.weight
    for pool, part in zip(pools, codes.tensor_split(len(pools)), strict=True):
        assert (part[:, None] == pool).all(dim=2).any(dim=1).all()
    assert not torch.equal(pools[0], pools[1])
