"""A dry run measures, extends and leaves nothing."""

from dataclasses import astuple

import pytest
import torch
from click.testing import CliRunner

from gcbench.cli import main
from gcbench.training import dry_run, estimate
from gcbench.training.recipe import read_recipe

CPU = torch.device("cpu")
DEEP = {
    "[model]\nwidth = 4": "ema = 0.9\n[options]\nfamily = 'vit'\n[model]\nimg_size = 32\n"
    "patch_size = 8\nembed_dim = 16\ndepth = 6\nnum_heads = 2\nnum_classes = 10"
}


def test_shallow_networks_extend_to_what_the_deep_one_takes(recipe_file, tmp_path, monkeypatch):
    recipe = read_recipe(str(recipe_file("classifier", DEEP)))
    whole, how = estimate._found(recipe, 8, tmp_path, CPU)
    assert how == "a micro-batch of 8 images"
    monkeypatch.setattr(estimate, "_LONGEST_SECONDS", 0.0)
    extended, how = estimate._found(recipe, 8, tmp_path, CPU)
    assert "1 and 4 of 8 images at depths 1 and 3 of 6, extended linearly" in how
    assert extended.seconds > 0
    for name in ("parameters", "trained", "optimizer_bytes", "flops", "tokens"):
        assert getattr(extended, name) == getattr(whole, name), name
    assert extended.activation_bytes == pytest.approx(whole.activation_bytes, rel=0.01)


def test_memory_holds_weights_gradients_and_two_moments(recipe_file, tmp_path):
    recipe = read_recipe(str(recipe_file("classifier", DEEP)))
    cost, _ = estimate._found(recipe, 8, tmp_path, CPU)
    held = cost.memory_bytes(ema=True)
    assert held["weights"] == held["gradients"] == held["average"] == 4 * cost.parameters
    assert held["optimizer"] == pytest.approx(2 * held["weights"], rel=0.02)  # and step counts
    assert "average" not in cost.memory_bytes(ema=False)


def test_networks_on_tokens_are_measured_without_trained_encoders(recipe_file, data_root):
    recipe_file("tokenizer")
    lines = dry_run(str(recipe_file("randar")), data_root)
    assert "tokens      2,560, 64 per image" in lines


def test_dry_run_says_what_a_training_takes_and_leaves_nothing(recipe_file, data_root, tmp_path):
    recipe = recipe_file("classifier", DEEP)
    before = sorted(tmp_path.rglob("*"))
    words = ["train", str(recipe), "--data-root", str(data_root), "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(main, [*words, "--accumulate", "2", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "steps       5 of 8 images, cut into micro-batches of 4" in shown.output
    assert "images      40, 0.6 epochs of 64" in shown.output
    assert "tokens      680, 17 per image" in shown.output
    assert "average" in shown.output
    assert sorted(tmp_path.rglob("*")) == before


def test_dry_run_needs_no_data(recipe_file, tmp_path):
    lines = dry_run(str(recipe_file("classifier", DEEP)), tmp_path / "nowhere")
    assert any("epochs unknown" in line and "is missing" in line for line in lines)


def test_a_cost_is_extended_along_a_line():
    one, three = (estimate.Cost(*(float(d * i) for i in range(1, 9))) for d in (1, 3))
    assert astuple(one.extended(three, (1, 3), 10)) == tuple(10.0 * i for i in range(1, 9))
