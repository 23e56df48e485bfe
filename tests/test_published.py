"""The published script's stream and grouped accuracies."""

import numpy as np
import pytest
import torch
from PIL import Image

from gcbench.errors import GcbenchError
from gcbench.published import grouped_accuracies, sequential_draws


def test_draws_depend_on_the_images_before():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    both = list(sequential_draws([image, image], trials=2, steps=16, size=32, seed=42))
    alone = list(sequential_draws([image], trials=2, steps=16, size=32, seed=42))
    assert len(both) == 4
    for (_, order), (_, same) in zip(both[:2], alone, strict=True):
        assert torch.equal(order, same)
    assert not torch.equal(both[2][1], alone[0][1])
    assert all(order.sort().values.tolist() == list(range(16)) for _, order in both)


def test_groups_are_disjoint_consecutive_and_drop_the_rest():
    # One image of class 5; trials 0 and 1 favour it together, trial 2 alone does not, 3 is left.
    scores = np.array([[[0.0, 3.0], [1.0, 0.0], [3.0, 0.0], [0.0, 9.0]]])
    labels, classes = np.array([5]), np.array([3, 5])

    def accuracies(trials):
        return grouped_accuracies(scores, labels, classes, trials, "mean").tolist()

    assert accuracies(1) == [1.0, 0.0, 0.0, 1.0]
    assert accuracies(2) == [1.0, 1.0]
    assert accuracies(3) == [0.0]


@pytest.mark.parametrize("trials", [0, 4])
def test_group_that_does_not_fit_is_refused(trials):
    with pytest.raises(
        GcbenchError, match=f"groups of {trials} trials asked of scores that hold 3"
    ):
        grouped_accuracies(np.zeros((1, 3, 2)), np.zeros(1, int), np.arange(2), trials, "mean")
