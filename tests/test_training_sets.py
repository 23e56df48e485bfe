"""Training sets: the splits that the sets' authors define, apart from what is evaluated on."""

import pytest
from trees import write_camelyon17, write_celeba, write_fmow, write_imagenet

from gcbench.errors import GcbenchError

pytestmark = pytest.mark.usefixtures("no_config")


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for write_set in (write_camelyon17, write_celeba, write_fmow, write_imagenet):
        write_set(folder)
    return folder


def described(part):
    return [(s.id.rpartition("/")[2], s.label, *s.groups.values()) for s in part.samples]


@pytest.mark.parametrize(
    ("name", "learnt", "held_out"),
    [
        (
            "camelyon17",
            [("patch_patient_004_node_4_x_3328_y_21792.png", 1, "0", "0")],
            [
                ("patch_patient_004_node_4_x_3200_y_22272.png", 0, "0", "0"),
                ("patch_patient_010_node_2_x_11_y_12.png", 1, "3", "1"),
            ],
        ),
        ("celeba", [("000001.jpg", 0, "0", "0")], [("000004.jpg", 1, "1", "1")]),
        (
            "fmow",
            [("rgb_img_0.png", 0, "Americas", "2010")],
            [("rgb_img_9.png", 61, "Americas", "2011")],
        ),
    ],
)
def test_wilds_sets_hold_out_their_in_domain_validation(registry, root, name, learnt, held_out):
    train, validation = registry.training(name, root)
    assert described(train) == learnt
    assert described(validation) == held_out
    assert train.digest != validation.digest


@pytest.mark.parametrize(
    ("name", "evaluated"),
    [
        ("camelyon17", ["camelyon17-ood"]),
        ("celeba", ["celeba"]),
        ("fmow", ["fmow-id", "fmow-ood"]),
        ("imagenet", ["in-val"]),
    ],
)
def test_no_image_is_both_learned_from_and_evaluated_on(registry, root, name, evaluated):
    ids = {s.id for part in registry.training(name, root) if part for s in part.samples}
    for benchmark in evaluated:
        assert not ids & {s.id for s in registry.benchmark(benchmark, root).samples}


def test_imagenet_has_no_validation_part_to_choose_by(registry, root):
    train, validation = registry.training("imagenet", root)
    assert validation is None
    assert len(train) == 8
    assert train.samples[0].load().size == (8, 8)
    assert "1,281,167 images" in train.shortfall


def test_missing_training_images_name_the_command_that_brings_them(registry, tmp_path):
    with pytest.raises(GcbenchError, match="in-train was not found") as caught:
        registry.training("imagenet", tmp_path)
    assert "gcbench fetch in-train" in caught.value.hint
    with pytest.raises(GcbenchError, match="camelyon17 was not found") as caught:
        registry.training("camelyon17", tmp_path)
    assert "gcbench fetch camelyon17-train" in caught.value.hint


def test_unknown_training_set_is_refused_with_the_nearest(registry):
    with pytest.raises(GcbenchError, match=r"unknown training set 'imagnet'.*'imagenet'"):
        registry.training("imagnet")
