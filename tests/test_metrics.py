"""Accuracies, hand-computed and against the official WILDS evaluation."""

import json

import numpy as np
import pytest
from checkout import GOLDEN

from gcbench.errors import GcbenchError
from gcbench.metrics import (
    accuracy,
    class_balanced_accuracy,
    group_accuracy,
    per_class_accuracy,
    psnr_db,
    top_k_accuracy,
    worst_group_accuracy,
)

LABELS = np.array([0, 0, 0, 0, 1, 1])
PREDICTIONS = np.array([0, 0, 0, 1, 1, 0])
WILDS = GOLDEN / "wilds_metrics"


def test_accuracy_counts_images_and_balanced_accuracy_counts_classes() -> None:
    assert accuracy(PREDICTIONS, LABELS) == pytest.approx(4 / 6)
    assert per_class_accuracy(PREDICTIONS, LABELS) == {0: 0.75, 1: 0.5}
    assert class_balanced_accuracy(PREDICTIONS, LABELS) == pytest.approx(0.625)


def test_top_k_counts_labels_among_the_best_candidates() -> None:
    classes = np.array([3, 5, 9])
    scores = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    labels = np.array([9, 9, 9])
    assert [top_k_accuracy(scores, classes, labels, k) for k in (1, 2, 3)] == [1 / 3, 2 / 3, 1.0]


def test_top_1_breaks_ties_as_argmax_does() -> None:
    scores = np.array([[1.0, 1.0, 0.0]])
    assert top_k_accuracy(scores, np.array([3, 5, 9]), np.array([3]), 1) == 1.0
    assert top_k_accuracy(scores, np.array([3, 5, 9]), np.array([5]), 1) == 0.0


def test_groups_are_combinations_of_fields_and_the_worst_one_counts() -> None:
    groups = {"male": np.array([0, 0, 1, 1, 0, 1]), "y": LABELS}
    assert group_accuracy(PREDICTIONS, LABELS, groups) == {
        (0, 0): 1.0,
        (1, 0): 0.5,
        (0, 1): 1.0,
        (1, 1): 0.0,
    }
    assert worst_group_accuracy(PREDICTIONS, LABELS, groups) == 0.0


def test_ignored_groups_do_not_count() -> None:
    region = {"region": np.array(["Asia", "Asia", "Other", "Other", "Asia", "Other"])}
    assert worst_group_accuracy(PREDICTIONS, LABELS, region) == pytest.approx(1 / 3)
    assert worst_group_accuracy(PREDICTIONS, LABELS, region, ignore={"Other"}) == 1.0
    with pytest.raises(GcbenchError, match="no group has samples"):
        worst_group_accuracy(PREDICTIONS, LABELS, region, ignore={"Other", "Asia"})


def test_arguments_that_do_not_fit_are_refused() -> None:
    none = np.array([], int)
    with pytest.raises(GcbenchError, match="at least one sample"):
        accuracy(none, none)
    with pytest.raises(GcbenchError, match=r"\(6,\)"):
        accuracy(PREDICTIONS[:2], LABELS)
    with pytest.raises(GcbenchError, match=r"'male' has 2 values, expected 6"):
        group_accuracy(PREDICTIONS, LABELS, {"male": LABELS[:2]})
    with pytest.raises(GcbenchError, match="at least one field"):
        group_accuracy(PREDICTIONS, LABELS, {})
    with pytest.raises(GcbenchError, match="top-4 of 3"):
        top_k_accuracy(np.zeros((1, 3)), np.arange(3), np.array([0]), 4)
    with pytest.raises(GcbenchError, match=r"expected \[2, 3\]"):
        top_k_accuracy(np.zeros((1, 3)), np.arange(3), np.array([0, 1]), 1)


@pytest.mark.skipif(not WILDS.is_dir(), reason="the WILDS fixture is not beside this checkout")
def test_worst_groups_equal_the_official_wilds_evaluation() -> None:
    from safetensors.numpy import load_file

    config = json.loads((WILDS / "config.json").read_text())
    results, regions = config["results"], np.array(config["regions"])
    data = load_file(WILDS / "io.safetensors")

    predictions, labels = data["celeba.pred"], data["celeba.y"]
    cross = {"group": data["celeba.group"]}
    assert accuracy(predictions, labels) == pytest.approx(results["celeba"]["acc_avg"])
    assert worst_group_accuracy(predictions, labels, cross) == pytest.approx(
        results["celeba"]["acc_wg"]
    )

    predictions, labels = data["fmow.pred"], data["fmow.y"]
    region = {"region": regions[data["fmow.metadata"][:, 0]]}
    year = {"year": data["fmow.metadata"][:, 1]}
    assert worst_group_accuracy(predictions, labels, region, ignore={"Other"}) == pytest.approx(
        results["fmow"]["acc_worst_region"]
    )
    assert worst_group_accuracy(predictions, labels, year) == pytest.approx(
        results["fmow"]["acc_worst_year"]
    )
    for (name,), value in group_accuracy(predictions, labels, region).items():
        assert value == pytest.approx(results["fmow"][f"acc_region:{name}"])


def test_an_error_of_a_hundredth_is_twenty_decibels() -> None:
    assert psnr_db(0.01) == pytest.approx(20)
    assert psnr_db(0) == float("inf")
