"""Full-size training images: decoded late, held out by class, cut and digested by their list."""

import numpy as np
import pytest
import torch
from trees import write_celeba, write_imagenet

from gcbench.errors import GcbenchError
from gcbench.training.data import as_rgb, centre_view, training_splits
from gcbench.training.recipe import read_recipe

pytestmark = pytest.mark.usefixtures("no_config")


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_imagenet(folder)
    write_celeba(folder)
    return folder


@pytest.fixture
def splits(recipe_file, root):
    def read(data):
        changes = {"held_out = 16": f'data = "{data}"\nheld_out = 4'}
        changes["batch_size = 8"] = "batch_size = 1"
        path = recipe_file("classifier", changes)
        return training_splits(read_recipe(str(path)), root)

    return read


def test_held_out_images_of_imagenet_are_as_many_of_each_class(splits):
    train, held_out = splits("imagenet")
    assert sorted(train.labels.tolist()) == sorted(held_out.labels.tolist()) == [0, 1, 2, 3]
    ids = [{s.id for s in part.images.samples} for part in (train, held_out)]
    assert not ids[0] & ids[1]


def test_images_are_decoded_to_rgb_arrays_and_cropped_in_colour(splits):
    train, _ = splits("imagenet")
    image = train.images[0]
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    view = torch.from_numpy(centre_view(image, 6).copy())
    rgb = as_rgb(view[None])
    assert rgb.shape == (1, 3, 6, 6)
    torch.testing.assert_close((rgb[0, 1] + 1) * 127.5, view[..., 1].float())


def test_parts_of_a_set_have_digests_of_their_own(splits):
    train, held_out = splits("imagenet")
    digests = [train.digest(), held_out.digest(), train.cut(0, 2).digest()]
    digests.append(train.followed_by(held_out).digest())
    assert len(set(digests)) == 4
    assert len(train.cut(0, 2).images) == 2
    assert splits("imagenet")[0].digest() == digests[0]


def test_groups_are_those_of_the_sets_metric(splits):
    train, held_out = splits("celeba")
    assert train.groups.tolist() == held_out.groups.tolist() == [0]
    assert splits("imagenet")[0].groups is None


def test_damaged_image_is_named_when_it_is_read(splits, root):
    train, _ = splits("imagenet")
    file = root / "imagenet/train" / train.images.samples[1].id
    whole = file.read_bytes()
    file.write_bytes(b"no image")
    try:
        with pytest.raises(GcbenchError, match=f"{file.name} cannot be decoded"):
            train.images[1]
    finally:
        file.write_bytes(whole)


def test_fewer_held_out_images_than_classes_are_refused(recipe_file, root):
    changes = {"held_out = 16": 'data = "imagenet"\nheld_out = 3'}
    recipe = read_recipe(str(recipe_file("classifier", changes)))
    with pytest.raises(GcbenchError, match="held_out is 3, imagenet has 4 classes"):
        training_splits(recipe, root)
