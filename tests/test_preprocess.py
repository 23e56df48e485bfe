"""Crops: sizes, borders of the draws, and values that must not move."""

import numpy as np
import pytest
import torch
from PIL import Image

from gcbench.preprocess import (
    centre_crop,
    luminance,
    random_crop,
    to_tensor,
    var_validation_transform,
)


def photo(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize(("width", "height"), [(28, 28), (100, 75), (31, 300), (32, 32)])
def test_every_crop_has_the_asked_size(width, height):
    image = photo(width, height)
    generator = torch.Generator().manual_seed(0)
    assert centre_crop(image, 32).size == (32, 32)
    assert all(random_crop(image, 32, generator).size == (32, 32) for _ in range(20))
    assert var_validation_transform(image, 32).shape == (3, 32, 32)


def test_image_of_the_right_size_is_left_as_it_is():
    image = photo(32, 32)
    assert (np.asarray(centre_crop(image, 32)) == np.asarray(image)).all()


def test_random_crop_without_room_is_the_centre_crop():
    image = photo(32, 32)
    crop = random_crop(image, 32, torch.Generator().manual_seed(0), max_short_side=32)
    assert (np.asarray(crop) == np.asarray(image)).all()


def test_random_crop_reaches_both_borders():
    ramp = Image.fromarray(np.arange(40, dtype=np.uint8)[None].repeat(32, axis=0))
    generator = torch.Generator().manual_seed(0)
    lefts = {
        int(np.asarray(random_crop(ramp, 32, generator, max_short_side=32))[0, 0])
        for _ in range(200)
    }
    assert lefts == set(range(9))


def test_grey_image_keeps_its_values_in_three_channels():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = np.asarray(luminance(Image.fromarray(grey).convert("RGB")))
    assert (rgb == grey[..., None]).all()


def test_tensor_spans_minus_one_to_one():
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[1] = 255
    tensor = to_tensor(Image.fromarray(pixels))
    assert tensor.shape == (3, 2, 3)
    assert tensor[:, 0].unique().tolist() == [-1.0]
    assert tensor[:, 1].unique().tolist() == [1.0]
