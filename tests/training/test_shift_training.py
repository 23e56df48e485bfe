"""Learning under shifts: stitched margins, uniform classes, what is refused."""

import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gcbench.errors import GcbenchError
from gcbench.training.accuracy import accuracies
from gcbench.training.classifier import Classifier
from gcbench.training.data import Split, rows_of_uniform_classes, training_splits
from gcbench.training.recipe import read_recipe
from gcbench.training.stitching import sigma_stitching

SHIFT = {"held_out = 16": 'data = "mini-celeba"', "width = 4": "width = 4\nnum_classes = 2"}
STITCHING = {"[model]": '[options]\nloss = "sigma-stitching"\n[model]'}
UNIFORM = {"[model]": '[options]\nsampling = "classes"\n[model]'}


@pytest.fixture
def classifier(recipe_file, data_root):
    """Builds the classification task of a recipe with these lines replaced."""

    def build(replaced):
        recipe = read_recipe(str(recipe_file("classifier", replaced)))
        return Classifier(recipe, *training_splits(recipe, data_root))

    return build


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(
    ("margin", "loss"),
    [
        (-2, 2.1269),
        (0, 0.6931),
        (0.5, 0.4741),
        (1, 0.3133),
        (1.5, 0.4741),
        (2, 0.6931),
        (3, 1.3133),
    ],
)
def test_stitched_loss_is_the_logistic_one_mirrored_at_a_margin_of_one(label, margin, loss):
    logits = torch.tensor([[0.25, 0.25 + margin * (1 if label else -1)]])
    assert sigma_stitching(logits, torch.tensor([label])).item() == pytest.approx(loss, abs=5e-5)


def test_stitching_pulls_a_margin_back_that_cross_entropy_widens():
    labels = torch.tensor([1])
    for loss, sign in ((F.cross_entropy, -1), (sigma_stitching, 1)):
        logits = torch.tensor([[0.0, 1.5]], requires_grad=True)
        loss(logits, labels).backward()
        assert math.copysign(1, logits.grad[0, 1].item()) == sign


def test_recipe_of_stitching_trains_with_it(classifier):
    task = classifier(SHIFT | STITCHING)
    grey, labels = task.batch(torch.arange(8), torch.Generator().manual_seed(0))
    task.module.eval()
    logits = task.module((grey / 127.5 - 1.0)[:, None].expand(-1, 3, -1, -1))
    torch.testing.assert_close(task.losses(grey, labels)["loss"], sigma_stitching(logits, labels))


def test_stitching_of_more_than_two_classes_is_refused(classifier):
    message = "sigma-stitching is a loss of two classes, mini-fmow has 10.*cross-entropy"
    with pytest.raises(GcbenchError, match=message):
        classifier({"held_out = 16": 'data = "mini-fmow"'} | STITCHING)


def test_unknown_loss_and_sampling_are_refused_with_the_nearest(classifier):
    for line, nearest in (
        ("loss = 'stitching'", "sigma-stitching"),
        ("sampling = 'class'", "clas"),
    ):
        with pytest.raises(GcbenchError, match=rf"recipe classifier.*did you mean '{nearest}"):
            classifier(SHIFT | {"[model]": f"[options]\n{line}\n[model]"})


def test_network_with_fewer_classes_than_the_data_is_refused(classifier):
    with pytest.raises(GcbenchError, match="num_classes is 2, mini-fmow has 10"):
        classifier(SHIFT | {"held_out = 16": 'data = "mini-fmow"'})


def test_rare_classes_are_drawn_as_often_as_frequent_ones(classifier):
    rows = torch.arange(1700, 1900)
    shares = [
        classifier(SHIFT | extra).batch(rows, torch.Generator().manual_seed(0))[1].float().mean()
        for extra in ({}, UNIFORM)
    ]
    assert abs(shares[1] - 0.5) < 0.1
    assert abs(shares[0] - 0.5) > 0.2


def test_evaluation_stops_after_the_images_it_is_given(classifier):
    images = classifier(SHIFT | {"[model]": "[options]\nevaluated_images = 30\n[model]"})._views()
    assert sum(len(views) for views in images) == 30
    assert [len(views) for views in classifier(SHIFT)._views()] == [200]


def test_uniform_classes_are_drawn_with_replacement_by_the_generator():
    split = Split(np.zeros((3, 4, 4), np.uint8), np.array([0, 0, 1]))
    drawn, again = (
        rows_of_uniform_classes(split, 3000, torch.Generator().manual_seed(7)) for _ in range(2)
    )
    assert torch.equal(drawn, again)
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.25, 0.5]), atol=0.04, rtol=0)


def test_balanced_and_worst_group_accuracy_weigh_small_classes_and_groups():
    labels, groups = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    split = Split(np.zeros((4, 4, 4), np.uint8), labels, groups)
    found = accuracies(np.array([0, 0, 0, 0]), split)
    assert found == {
        "accuracy": 0.75,
        "balanced_accuracy": 0.5,
        "worst_group_accuracy": 0.5,
    }
    assert set(accuracies(labels, Split(split.images, labels))) == {"accuracy", "balanced_accuracy"}


def test_accuracies_of_the_first_images_alone_leave_the_others_out():
    split = Split(np.zeros((4, 4, 4), np.uint8), np.array([0, 1, 1, 1]))
    assert accuracies(np.array([0, 1]), split)["accuracy"] == 1.0


def values(name):
    """What a shipped recipe says, but for its name."""
    recipe = read_recipe(name).as_dict()
    del recipe["name"]
    return recipe


def test_recipes_of_one_shift_differ_in_loss_or_sampling_alone():
    for shift in ("camelyon", "celeba", "fmow"):
        erm, rwy = (values(f"mini-{method}-{shift}") for method in ("erm", "rwy"))
        assert rwy["options"].pop("sampling") == "classes"
        assert rwy == erm
        if shift != "fmow":
            stitching = values(f"mini-stitching-{shift}")
            assert stitching["options"].pop("loss") == "sigma-stitching"
            assert stitching == erm


def test_budgets_of_a_method_are_equal_over_the_shifts():
    for method, shift in product(("erm", "dit", "randar"), ("celeba", "fmow")):
        first, other = values(f"mini-{method}-camelyon"), values(f"mini-{method}-{shift}")
        classes = [recipe["model"].pop("num_classes") for recipe in (first, other)]
        assert classes == [2, 10 if shift == "fmow" else 2]
        assert [recipe.pop("data") for recipe in (first, other)] == [
            "mini-camelyon",
            f"mini-{shift}",
        ]
        assert first == other
