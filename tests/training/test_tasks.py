"""What the tasks do between data and loss."""

import pytest
import torch
from safetensors.torch import load_file

from gcbench.errors import GcbenchError
from gcbench.nets.llamagen_vq import VQModel
from gcbench.training import train
from gcbench.training.classifier import Classifier
from gcbench.training.data import as_rgb, centre_view, read_split
from gcbench.training.recipe import read_recipe
from gcbench.training.tasks import Workplace
from gcbench.training.tokenizer import Tokenizer
from gcbench.training.tokens import LlamaGenTask, RandARTask


@pytest.fixture
def split(data_root):
    return read_split(data_root / "fashion-mnist")


@pytest.fixture
def randar(recipe_file, data_root, split, tmp_path):
    """Builds the RandAR task on a tokenizer trained for this test."""
    train(str(recipe_file("tokenizer")), data_root, tmp_path / "out")

    def build(replace=None, echo=lambda line: None, kind=RandARTask):
        recipe = read_recipe(str(recipe_file("randar", replace)))
        place = Workplace(tmp_path / "out", tmp_path / "work", echo)
        return kind(recipe, split.cut(0, 64), split.cut(64, 80), place)

    return build


def test_unused_codes_move_onto_features_and_used_ones_stay(recipe_file, split):
    task = Tokenizer(read_recipe(str(recipe_file("tokenizer"))), split, split)
    task.wrapped.quantising.fill_(True)
    task.wrapped.usage[:10] = 1
    before = task.vq.quantize.embedding.weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    batch = task.batch(torch.arange(4), generator)
    task.after_step(3, batch, generator)
    after = task.vq.quantize.embedding.weight.detach()
    assert torch.equal(after[:10], before[:10])
    assert (after[10:] != before[10:]).any(dim=1).all()
    torch.testing.assert_close(after[10:].norm(dim=1), torch.ones(6))
    assert task.wrapped.usage.sum() == 0


def test_codes_are_left_alone_near_the_end(recipe_file, split):
    task = Tokenizer(read_recipe(str(recipe_file("tokenizer"))), split, split)
    task.wrapped.quantising.fill_(True)
    before = task.vq.quantize.embedding.weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    task.after_step(5, task.batch(torch.arange(4), generator), generator)
    assert torch.equal(task.vq.quantize.embedding.weight, before)


def test_tokenizer_starts_without_quantisation_and_then_counts_codes(recipe_file, split):
    task = Tokenizer(read_recipe(str(recipe_file("tokenizer"))), split, split)
    batch = task.batch(torch.arange(4), torch.Generator().manual_seed(0))
    free = task.losses(*batch)
    assert free["loss"] == free["reconstruction"]
    assert task.wrapped.usage.sum() == 0
    task.wrapped.quantising.fill_(True)
    assert task.losses(*batch)["loss"] > 0
    assert task.wrapped.usage.sum() == 4 * 64


def test_batch_holds_labelled_tokens_and_permutations(randar):
    task = randar()
    tokens, classes, orders = task.batch(torch.arange(20), torch.Generator().manual_seed(0))
    assert tokens.shape == orders.shape == (20, 64)
    assert (orders.sort(dim=1).values == torch.arange(64)).all()
    assert len({tuple(order) for order in orders.tolist()}) == 20
    dropped = classes == task.model.num_classes
    assert 0 < dropped.sum() < 20
    assert torch.equal(classes[~dropped], (torch.arange(20) % 10)[~dropped])
    for image, row in enumerate(tokens):
        assert any((task.tokens.view(v)[image].long() == row).all() for v in range(2))


def test_raster_recipe_visits_in_raster_order(randar):
    task = randar({"[options]": '[options]\norder = "raster"'})
    _, _, orders = task.batch(torch.arange(3), torch.Generator().manual_seed(0))
    assert (orders == torch.arange(64)).all()


def test_llamagen_learns_raster_tokens_and_refuses_other_orders(randar):
    task = randar({"[options]": '[options]\norder = "raster"'}, kind=LlamaGenTask)
    torch.nn.init.normal_(task.model.output.weight)
    tokens, classes, orders = task.batch(torch.arange(3), torch.Generator().manual_seed(0))
    loss = task.losses(tokens, classes, orders)["loss"]
    expected = -task.model.token_log_likelihood(tokens, classes).mean()
    torch.testing.assert_close(loss, expected)
    with pytest.raises(GcbenchError, match="raster order only"):
        randar(kind=LlamaGenTask)


def test_latent_noise_flips_tokens_and_none_at_strength_zero(randar):
    clean, noisy = (randar({"[options]": f"[options]\nlatent_noise = {t}"}) for t in (1e-9, 0.9))
    rows = torch.arange(20)
    expected, flipped = (
        task.quantised(task.batch(rows, torch.Generator().manual_seed(0))[0])
        for task in (clean, noisy)
    )
    plain = randar()
    for image, row in enumerate(expected):
        same = [(plain.tokens.view(v)[image].long() == row).float().mean() for v in range(2)]
        assert max(same) > 0.95
    assert 0.1 < (expected != flipped).float().mean() < 1


def test_latent_noise_beyond_one_is_refused(randar):
    with pytest.raises(GcbenchError, match=r"latent_noise is 1\.5"):
        randar({"[options]": "[options]\nlatent_noise = 1.5"})


def test_maskgit_tokenizer_is_trained_on_its_own_pixel_range(recipe_file, split):
    """Started from a decoder that draws mid-grey, the error of a black image is 1 in [-1, 1]."""
    replaced = {"[options]": '[options]\nfamily = "maskgit"', "codebook_embed_dim = 4\n": ""}
    task = Tokenizer(read_recipe(str(recipe_file("tokenizer", replaced))), split, split)
    torch.nn.init.zeros_(task.vq.decoder.conv_out.weight)
    torch.nn.init.constant_(task.vq.decoder.conv_out.bias, 0.5)
    black = torch.zeros(2, 32, 32, dtype=torch.uint8)
    assert float(task.losses(black)["reconstruction"].detach()) == pytest.approx(1.0)


def test_unknown_tokenizer_family_is_refused(recipe_file, split):
    recipe = read_recipe(str(recipe_file("tokenizer", {"[options]": '[options]\nfamily = "vq"'})))
    with pytest.raises(GcbenchError, match=r"unknown family in recipe tokenizer 'vq'"):
        Tokenizer(recipe, split, split)


def test_unknown_order_is_refused(randar):
    with pytest.raises(GcbenchError, match=r"'rastr'.*did you mean 'raster'"):
        randar({"[options]": '[options]\norder = "rastr"'})


def test_images_are_tokenised_once(randar, monkeypatch):
    lines: list[str] = []
    first = randar(echo=lines.append)
    assert len(lines) == 3  # two views of the training images, one of the held-out ones
    monkeypatch.setattr(VQModel, "encode", None)
    second = randar(echo=lines.append)
    assert len(lines) == 3
    assert torch.equal(first.tokens.view(1), second.tokens.view(1))


def test_first_view_is_the_centre_crop(randar, split, tmp_path):
    task = randar()
    grey = torch.stack([torch.from_numpy(centre_view(i, 32).copy()) for i in split.images[:8]])
    vq = VQModel(**read_recipe(task.options.tokenizer).model).eval()
    vq.load_state_dict(load_file(tmp_path / "out/tokenizer.safetensors"))
    with torch.inference_mode():
        assert torch.equal(task.tokens.view(0)[:8].long(), vq.encode(as_rgb(grey)))


def test_evaluation_recognises_a_model_that_knows_the_class(randar, monkeypatch):
    task = randar()
    labels = {
        tuple(t.tolist()): c for t, c in zip(task.held_out, task.held_out_labels, strict=True)
    }

    def oracle(tokens, classes, orders):
        right = torch.tensor([labels[tuple(t.tolist())] for t in tokens]) == classes
        return torch.where(right, -1.0, -2.0)[:, None].expand(-1, 64)

    monkeypatch.setattr(task.model, "token_log_likelihood", oracle)
    metrics = task.evaluate(last=True)
    assert metrics["accuracy"] == metrics["accuracy_2_orders"] == 1.0
    assert metrics["balanced_accuracy"] == 1.0
    assert metrics["log_likelihood"] == -64.0


@pytest.mark.parametrize(
    ("family", "model"),
    [
        ("vit", "img_size = 32\npatch_size = 8\nembed_dim = 16\ndepth = 1\nnum_heads = 2"),
        ("resnet", "layers = [1, 1, 1, 1]\nchannels = [8, 8, 8, 8]"),
        ("resnet", 'layers = [1, 1, 1, 1]\nchannels = [4, 4, 4, 4]\nblock = "bottleneck"'),
    ],
)
def test_classifiers_of_every_family_learn_from_grey_crops(recipe_file, split, family, model):
    replaced = {"width = 4": f"{model}\nnum_classes = 10"}
    recipe = read_recipe(
        str(
            recipe_file(
                "classifier", replaced | {"[model]": f'[options]\nfamily = "{family}"\n[model]'}
            )
        )
    )
    task = Classifier(recipe, split.cut(0, 64), split.cut(64, 80))
    grey, labels = task.batch(torch.arange(8), torch.Generator().manual_seed(0))
    loss = task.losses(grey, labels)["loss"]
    loss.backward()
    assert all(p.grad is not None for p in task.network().parameters())
    assert set(task.evaluate(last=True)) == {"accuracy", "balanced_accuracy"}


def test_unknown_classifier_family_is_refused(recipe_file, split):
    replaced = {"[model]": '[options]\nfamily = "vgg"\n[model]'}
    with pytest.raises(GcbenchError, match="unknown family in recipe classifier 'vgg'"):
        Classifier(read_recipe(str(recipe_file("classifier", replaced))), split, split)
