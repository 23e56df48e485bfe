"""Reading Fashion-MNIST, and the views of an image."""

import gzip

import numpy as np
import pytest
import torch
from PIL import Image

from gcbench.errors import GcbenchError
from gcbench.preprocess import centre_crop, luminance, to_tensor
from gcbench.training.data import (
    as_rgb,
    centre_view,
    random_view,
    read_shift,
    read_split,
    training_splits,
)
from gcbench.training.recipe import read_recipe

IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture
def folder(data_root, tmp_path):
    for file in (data_root / "fashion-mnist").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_both_splits_are_read_in_file_order(folder):
    for split in ("train", "test"):
        read = read_split(folder, split)
        assert read.images.shape == (80, 28, 28)
        assert read.labels[:11].tolist() == [*range(10), 0]
        assert (read.images[3, 8:12] == 220).all()


def test_digest_sees_a_single_pixel_and_a_single_label(folder):
    split = read_split(folder)
    digest = split.digest()
    pixels = split.images.copy()
    pixels[5, 6, 7] ^= 1
    assert type(split)(pixels, split.labels).digest() != digest
    assert type(split)(split.images, np.roll(split.labels, 1)).digest() != digest


def test_missing_file_is_named_with_the_command_that_brings_it(folder):
    (folder / IMAGES).unlink()
    with pytest.raises(GcbenchError, match=rf"{IMAGES} is missing.*gcbench fetch fashion-mnist"):
        read_split(folder)


def test_truncated_download_is_refused(folder):
    whole = (folder / IMAGES).read_bytes()
    (folder / IMAGES).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GcbenchError, match="no complete gzip file"):
        read_split(folder)


def test_file_of_another_format_is_refused(folder):
    (folder / IMAGES).write_bytes(gzip.compress(b"\x89PNG and so on"))
    with pytest.raises(GcbenchError, match="starts with 89 50 4e 47, not an IDX file"):
        read_split(folder)


def test_header_and_content_must_agree(folder):
    raw = gzip.decompress((folder / IMAGES).read_bytes())
    (folder / IMAGES).write_bytes(gzip.compress(raw[:-1]))
    with pytest.raises(GcbenchError, match=r"has 62719 values, its header says \[80, 28, 28\]"):
        read_split(folder)


def test_training_sees_the_very_pixels_that_an_evaluation_sees(folder):
    image = read_split(folder).images[7]
    evaluated = to_tensor(centre_crop(luminance(Image.fromarray(image).convert("RGB")), 32))
    trained = as_rgb(torch.from_numpy(centre_view(image, 32).copy())[None])[0]
    assert torch.equal(trained, evaluated)


def test_random_views_are_decided_by_the_generator(folder):
    image = read_split(folder).images[0]
    first, again, other = (
        random_view(image, 32, 40, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (32, 32)
    assert (first == again).all()
    assert (first != other).any()


def test_last_images_of_fashion_mnist_are_held_out(recipe_file, data_root, folder):
    train, held_out = training_splits(read_recipe(str(recipe_file("classifier"))), data_root)
    assert (len(train.labels), len(held_out.labels)) == (64, 16)
    assert train.followed_by(held_out).digest() == read_split(folder).digest()


def test_mini_shift_holds_out_its_own_validation_part(recipe_file, data_root):
    replaced = {"held_out = 16": 'data = "mini-celeba"'}
    recipe = read_recipe(str(recipe_file("classifier", replaced)))
    train, held_out = training_splits(recipe, data_root)
    assert train.images.shape == (2000, 28, 28)
    assert held_out.images.shape == (200, 28, 28)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("mini-camelyon", None),
        ("mini-celeba", [820, 20, 880, 280]),  # dark T-shirts and dresses, bright ones
        ("mini-fmow", [410, 410, 410, 410]),  # four vendors
    ],
)
def test_groups_are_those_that_the_worst_is_sought_among(name, groups):
    found = read_shift(name, "train").groups
    assert (found if found is None else np.bincount(found).tolist()) == groups


def test_unknown_data_are_refused_with_the_nearest(recipe_file, data_root):
    recipe = read_recipe(str(recipe_file("classifier", {"held_out = 16": 'data = "mini-celebra"'})))
    message = "unknown data in recipe classifier 'mini-celebra'.*did you mean 'mini-celeba'"
    with pytest.raises(GcbenchError, match=message):
        training_splits(recipe, data_root)
