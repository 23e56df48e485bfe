"""gcbench extract: what it leaves is all that training reads."""

import json

import pytest
from trees import write_camelyon17

from gcbench.errors import GcbenchError
from gcbench.training import extract, train


@pytest.fixture
def recipe(recipe_file, data_root, tmp_path):
    train(str(recipe_file("vae")), data_root, tmp_path / "out")
    return recipe_file("diffusion")


def test_training_reads_extracted_views_and_no_image(recipe, data_root, tmp_path):
    whole = train(str(recipe), data_root, tmp_path / "out", tmp_path / "whole")
    expected = whole.read_bytes(), json.loads(whole.with_suffix(".json").read_text())
    lines = []
    features = extract(
        str(recipe), data_root, tmp_path / "out", tmp_path / "features", echo=lines.append
    )
    assert len(lines) == 3  # two views of the training images, one of the held-out ones
    weights = train(
        str(recipe), tmp_path / "nowhere", tmp_path / "out", tmp_path / "apart", features=features
    )
    assert weights.read_bytes() == expected[0]
    card = json.loads(weights.with_suffix(".json").read_text())
    for entry in ("data", "final", "autoencoder"):
        assert card[entry] == expected[1][entry]


def test_command_says_what_is_there_and_where_it_is(recipe, data_root, tmp_path, gcbench):
    where = ("--data-root", data_root, "--out", tmp_path / "out", "--features", tmp_path / "f")
    result = gcbench("extract", recipe, *where)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == str(tmp_path / "f")
    assert "moments: shard 1 of 2" in result.output


def test_extraction_goes_on_where_it_was_interrupted(recipe, data_root, tmp_path):
    lines: list[str] = []
    where = (str(recipe), data_root, tmp_path / "out", tmp_path / "features")
    extract(*where, echo=lines.append)
    next((tmp_path / "features").glob("moments-*/view-01-*.safetensors")).unlink()
    del lines[:]
    extract(*where, echo=lines.append)
    assert lines == ["moments: shard 2 of 2"]


def test_views_that_are_missing_are_not_made_without_images(recipe, data_root, tmp_path):
    features = extract(
        str(recipe), data_root, tmp_path / "out", tmp_path / "features", echo=lambda line: None
    )
    next(features.glob("moments-*/view-01-*.safetensors")).unlink()
    with pytest.raises(GcbenchError, match=r"features does not hold all.*") as caught:
        train(str(recipe), tmp_path, tmp_path / "out", tmp_path / "apart", features=features)
    assert "run gcbench extract" in caught.value.hint


def test_folder_of_something_else_is_refused(recipe, tmp_path):
    with pytest.raises(GcbenchError, match="holds nothing of fashion-mnist with 16 images held"):
        train(str(recipe), tmp_path, tmp_path / "out", features=tmp_path)


def test_batch_larger_than_what_is_remembered_is_refused(recipe, recipe_file, data_root, tmp_path):
    features = extract(
        str(recipe), data_root, tmp_path / "out", tmp_path / "features", echo=lambda line: None
    )
    larger = recipe_file("diffusion", {"batch_size = 8": "batch_size = 65"}, "larger")
    with pytest.raises(GcbenchError, match=r"64 training images are left.*a batch needs 65"):
        train(str(larger), tmp_path, tmp_path / "out", features=features)


def test_recipe_that_reads_images_in_every_step_is_refused(recipe_file, data_root, tmp_path):
    with pytest.raises(GcbenchError, match="a classifier reads other crops in every step"):
        extract(str(recipe_file("classifier")), data_root, tmp_path / "out")


def test_labels_and_groups_are_remembered(tmp_path, monkeypatch, recipe_file):
    from gcbench.training.data import training_splits
    from gcbench.training.extraction import remember, remembered
    from gcbench.training.recipe import read_recipe

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_camelyon17(tmp_path)
    changes = {"held_out = 16": 'data = "camelyon17"', "batch_size = 8": "batch_size = 1"}
    recipe = read_recipe(str(recipe_file("classifier", changes)))
    splits = training_splits(recipe, tmp_path)
    remember(tmp_path / f"camelyon17-{recipe.held_out}.safetensors", *splits)
    for found, split in zip(remembered(tmp_path, recipe), splits, strict=True):
        assert found.labels.tolist() == split.labels.tolist()
        assert found.groups is None
        assert found.digest() == split.digest()
        assert len(found.images) == len(split.images)
    train_part, held_out = remembered(tmp_path, recipe)
    assert train_part.followed_by(held_out).digest() == splits[0].followed_by(splits[1]).digest()
