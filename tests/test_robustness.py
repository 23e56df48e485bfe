"""Tokenizers under latent noise: what is drawn, counted, stored and refused."""

import json
import sys

import numpy as np
import pytest
import torch

from gcbench.checkpoint import Shipped
from gcbench.errors import GcbenchError
from gcbench.features import Inception, MiniReference
from gcbench.metrics import psnr_db
from gcbench.nets.maskgit_vq import MaskGITVQ
from gcbench.preprocess import to_tensor
from gcbench.robustness import as_images, features_for, latent_noise, measure
from gcbench.stats import mean_interval
from gcbench.store import Store
from gcbench.tokenizers import Tokenizer, tokenizer_named, tokenizer_names


@pytest.fixture(scope="module")
def few(registry):
    return registry.benchmark("mini-val").choose("first-2")


@pytest.fixture(scope="module")
def mini_vq():
    return tokenizer_named("mini-vq")


def measured(few, levels, store, tokenizer=None, lines=None):
    echo = (lambda text: None) if lines is None else lines.append
    chosen = tokenizer or tokenizer_named("mini-vq")
    return measure(chosen, few, levels, seed=0, store=store, device="cpu", echo=echo)


def without_provenance(record):
    kept = ("t", "flipped", "mse", "frechet_distance")
    return record | {"levels": [{k: level[k] for k in kept} for level in record["levels"]]}


def test_noise_of_an_image_depends_on_its_own_name_alone():
    together = latent_noise(["a", "b", "c"], (8, 4, 4), seed=0)
    for i, name in enumerate("abc"):
        assert torch.equal(latent_noise([name], (8, 4, 4), seed=0)[0], together[i])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together, latent_noise(["a", "b", "c"], (8, 4, 4), seed=1))
    assert abs(float(together.mean())) < 0.2
    assert float(together.std()) == pytest.approx(1, abs=0.1)


def test_without_noise_nothing_flips_and_the_drawing_is_that_of_the_tokens(few, mini_vq, store):
    (level,) = measured(few, [0.0], store)["levels"]
    assert level["flipped"] == {"count": 0, "of": 64 * len(few), "ratio": 0, "interval": [0, 0]}
    network = mini_vq.load("cpu")
    errors = []
    for sample in few.samples:
        view = mini_vq.view(sample.load())
        with torch.inference_mode():
            tokens = network.encode(to_tensor(mini_vq_image(view))[None])
            drawn = as_images(network, network.decode_tokens(tokens))[0]
        errors.append(((drawn.double() - view.double()) / 255).square().mean())
    assert level["mse"] == pytest.approx(float(torch.stack(errors).mean()), rel=1e-3)


def mini_vq_image(view):
    from PIL import Image

    return Image.fromarray(view.permute(1, 2, 0).numpy())


def test_more_noise_flips_more_tokens_of_a_trained_tokenizer_and_draws_worse(few, store):
    levels = measured(few, [0.0, 0.05, 0.2, 0.5], store)["levels"]
    ratios = [level["flipped"]["ratio"] for level in levels]
    assert ratios == sorted(ratios)
    assert ratios[0] == 0
    assert 0.1 < ratios[1] < 0.5 < ratios[-1]
    assert [level["mse"] for level in levels] == sorted(level["mse"] for level in levels)
    assert levels[-1]["frechet_distance"] > levels[0]["frechet_distance"] > 0


def test_resumed_measurement_equals_an_uninterrupted_one(few, tmp_path):
    whole = measured(few, [0.0, 0.1, 0.3], Store(tmp_path / "whole").create())
    store = Store(tmp_path / "resumed").create()
    measured(few, [0.3], store)
    resumed = measured(few, [0.0, 0.1, 0.3], store)
    assert without_provenance(resumed) == without_provenance(whole)
    (stored,) = store.tokenizers()
    assert stored == resumed


def test_finished_level_is_not_computed_twice(few, store, monkeypatch):
    lines: list[str] = []
    measured(few, [0.0, 0.1], store, lines=lines)
    monkeypatch.setattr(Tokenizer, "load", lambda self, device: pytest.fail("loaded again"))
    measured(few, [0.1, 0.0], store, lines=lines)
    assert lines[:2] == lines[:1:-1]
    assert "FD of mini-reference features" in lines[0]


def test_record_says_what_was_measured_and_where_it_comes_from(few, store):
    record = measured(few, [0.1], store)
    assert record["weights"] == Shipped("mini-vq").card()["sha256"]
    assert record["features"]["weights"] == Shipped("mini-reference").card()["sha256"]
    assert record["benchmark_digest"] == few.digest
    assert record["samples_digest"] == few.samples_digest
    assert record["vocabulary"] == 512
    assert (record["subset"], record["images"]) == ("first-2", 20)
    (level,) = record["levels"]
    assert level["provenance"]["gcbench"]
    (file,) = (store.root / "tokenizers").glob("*.json")
    assert file.name.startswith("mini-vq.mini-val.first-2.")
    assert json.loads(file.read_text()) == record


def test_another_subset_is_another_record(few, registry, store):
    measured(few, [0.0], store)
    measured(registry.benchmark("mini-val").choose("first-1"), [0.0], store)
    assert [r["subset"] for r in store.tokenizers()] == ["first-1", "first-2"]


def test_intervals_are_over_images_and_not_over_tokens(few, store):
    flipped = measured(few, [0.1], store)["levels"][0]["flipped"]
    low, high = flipped["interval"]
    assert low < flipped["ratio"] < high
    assert flipped["ratio"] == flipped["count"] / flipped["of"]
    per_image = np.array([0.25, 0.75])
    assert mean_interval(per_image) == pytest.approx((0.5 - 0.49, 0.5 + 0.49), abs=1e-3)
    with pytest.raises(GcbenchError, match="at least 2 values, got 1"):
        mean_interval(per_image[:1])


def test_drawings_become_pixels_as_in_the_official_evaluations(mini_vq):
    ours = mini_vq.load("cpu")
    drawn = torch.tensor([-1.2, -1.0, 0.0, 0.9999, 1.0, 3.0])
    assert as_images(ours, drawn).tolist() == [0, 0, 128, 255, 255, 255]
    maskgit = MaskGITVQ(codebook_size=4, ch=32, ch_mult=(1,), num_res_blocks=1, z_channels=4)
    drawn = torch.tensor([-0.1, 0.0, 0.5, 0.999, 1.0, 1.2])
    assert as_images(maskgit, drawn).tolist() == [0, 0, 127, 254, 255, 255]


def test_every_tokenizer_of_the_paper_has_a_name_and_a_family():
    assert "mini-vq" in tokenizer_names()
    published = {"llamagen-vq16": "llamagen", "maskgit-vq16": "maskgit", "var-vqvae": "var"}
    for name, family in published.items():
        found = tokenizer_named(name)
        assert (found.family, found.preprocessing) == (family, "adm-centre-crop-256")
        assert features_for(found).distance == "rFID"
    for name in set(tokenizer_names()) - set(published):
        assert features_for(tokenizer_named(name)).distance == "FD of mini-reference features"


@pytest.mark.parametrize("name", [n for n in tokenizer_names() if n.startswith("mini-")])
def test_every_shipped_tokenizer_draws_what_it_is_shown(name, few, store):
    record = measured(few, [0.0, 0.5], store, tokenizer_named(name))
    clean, noisy = record["levels"]
    assert psnr_db(clean["mse"]) > 18 > psnr_db(noisy["mse"])
    if record["family"] == "var":
        assert clean["flipped_finest_scale"]["of"] < clean["flipped"]["of"]


def test_features_of_an_image_do_not_depend_on_its_company(few, mini_vq):
    views = torch.stack([mini_vq.view(s.load()) for s in few.samples])
    extract = MiniReference().load("cpu")
    together = extract(views)
    assert together.shape == (len(few), 128)
    torch.testing.assert_close(torch.cat([extract(view[None]) for view in views]), together)


def test_unknown_tokenizer_and_impossible_noise_are_explained(gcbench):
    result = gcbench("tokenizer", "--tokenizer", "mini-vx", "--bench", "mini-val")
    assert result.exit_code == 2
    assert "unknown tokenizer 'mini-vx'" in result.stderr
    assert "did you mean 'mini-vq'" in result.stderr
    for levels in ("0,1.5", "a", "", "0,,1"):
        result = gcbench("tokenizer", "--tokenizer", "mini-vq", "--bench", "greys", "--t", levels)
        assert result.exit_code == 2
        assert f"--t {levels}: expected numbers from 0 to 1" in result.stderr


def test_recipe_without_weights_says_how_to_train_them(tmp_path, monkeypatch):
    from gcbench.resources import resource

    recipes = resource("baselines/recipes")
    folders = {"baselines/recipes": recipes, "baselines/weights": tmp_path}
    monkeypatch.setattr("gcbench.tokenizers.resource", folders.__getitem__)
    with pytest.raises(GcbenchError, match="'mini-vq' has no weights yet") as caught:
        tokenizer_named("mini-vq")
    assert caught.value.hint == "gcbench train mini-vq"
    with pytest.raises(GcbenchError, match="unknown tokenizer 'mini-randar'"):
        tokenizer_named("mini-randar")


def test_weights_that_were_not_fetched_are_one_clear_line(gcbench, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    words = ("tokenizer", "--bench", "mini-val", "--results", tmp_path / "r", "--tokenizer")
    result = gcbench(*words, "maskgit-vq16")
    assert result.exit_code == 2
    assert "is not on this machine" in result.stderr
    assert "gcbench fetch maskgit-vq16 brings it" in result.stderr


def test_missing_inception_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path))
    with pytest.raises(GcbenchError, match="is not on this machine") as caught:
        Inception().weights()
    assert caught.value.hint == "gcbench fetch inception-2015-12-05 brings it"


def test_missing_torch_fidelity_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(GcbenchError, match="needs the package torch-fidelity") as caught:
        Inception().load("cpu")
    assert caught.value.hint == "pip install 'gcbench[fid]'"


def test_inception_is_read_from_a_file_and_gives_the_features_of_fid(tmp_path, monkeypatch):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    network = module.FeatureExtractorInceptionV3
    with monkeypatch.context() as patched:  # random weights, without the network
        patched.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patched.setattr(network, "load_state_dict", lambda self, state: None)
        theirs = network("inception", ["2048"])
    file = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), file)
    monkeypatch.setattr("gcbench.features.fetched", lambda name: (file, None))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        features = Inception().load("cpu")(images)
        assert features.shape == (2, 2048)
        assert torch.equal(features, theirs(images)[0])
