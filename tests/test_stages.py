"""Staged classification: who survives, and which settings are refused."""

import pytest
import torch

from gcbench.errors import GcbenchError
from gcbench.stages import Stage, check_stages, eliminate


def test_best_classes_go_on_and_scores_are_not_carried_over():
    asked = []
    tables = [
        torch.tensor([[0.0, 3.0, 1.0, 2.0], [9.0, 0.0, 8.0, 7.0]]),
        torch.tensor([[1.0, 5.0], [0.0, 4.0]]),
    ]

    def evaluate(stage, candidates):
        asked.append((stage, candidates.tolist()))
        return tables[stage]

    classes = torch.tensor([10, 11, 12, 13]).expand(2, -1)
    stages = [Stage(2, trials=1, scales=1), Stage(1, trials=1, scales=2)]
    first, last = eliminate(stages, classes, evaluate)
    assert first.survivors.tolist() == [[11, 13], [10, 12]]
    assert asked[1] == (1, [[11, 13], [10, 12]])
    assert last.survivors.tolist() == [[13], [12]]
    assert torch.equal(last.scores, tables[1])


def test_of_equal_scores_the_earlier_class_wins():
    classes = torch.tensor([[4, 7, 2]])
    (only,) = eliminate([Stage(1, 1, 1)], classes, lambda stage, c: torch.zeros(c.shape))
    assert only.survivors.tolist() == [[4]]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([Stage(11, 1, 4)], "stage 1 keeps 11 classes, but only 10 are left"),
        ([Stage(5, 1, 4), Stage(6, 1, 4)], "stage 2 keeps 6 classes, but only 5 are left"),
        ([Stage(5, 1, 4), Stage(2, 1, 4)], "the last of 2 stages keeps 2 classes, expected 1"),
        ([Stage(1, 0, 4)], "stage 1 keeps 1 classes on 0 trials"),
        ([Stage(0, 1, 4)], "stage 1 keeps 0 classes on 1 trials"),
        ([Stage(1, 1, 5)], "stage 1 covers 5 scales, the network has 4"),
        ([Stage(1, 1, 0)], "stage 1 covers 0 scales, the network has 4"),
        ([], "the last of 0 stages keeps 10 classes, expected 1"),
    ],
)
def test_impossible_stages_are_named(stages, message):
    with pytest.raises(GcbenchError, match=message):
        check_stages(stages, classes=10, scales=4)
