"""Kind ``wilds_metrics``: average, group and worst-group accuracies of the official evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gcbench.metrics import accuracy, group_accuracy, worst_group_accuracy
from gcbench.parity.fixture import Fixture, Quantity, absolute

# The official evaluation averages in float32.
_TOLERANCE = 1e-6
_FIRST_YEAR = 2002
_Columns = dict[str, np.ndarray[Any, Any]]


def check(fixture: Fixture) -> Iterator[Quantity]:
    """CelebA over male x y; FMoW over regions (worst without "Other") and years."""
    tensors = {name: tensor.numpy() for name, tensor in fixture.tensors().items()}
    male, y = tensors["celeba.metadata"].T
    region, year, _ = tensors["fmow.metadata"].T
    regions = np.array(fixture.config["regions"])[region]
    groupings: tuple[tuple[str, str, _Columns, str], ...] = (
        ("celeba", "acc_wg", {"y": y, "male": male}, "y:{}_male:{}"),
        ("fmow", "acc_worst_region", {"region": regions}, "region:{}"),
        ("fmow", "acc_worst_year", {"year": year + _FIRST_YEAR}, "year:{}"),
    )
    results = fixture.config["results"]
    for name in ("celeba", "fmow"):
        got = accuracy(tensors[f"{name}.pred"], tensors[f"{name}.y"])
        yield absolute(f"{name}.acc_avg", got, results[name]["acc_avg"], _TOLERANCE)
    for name, worst, groups, pattern in groupings:
        expected = results[name]
        labels, predictions = tensors[f"{name}.y"], tensors[f"{name}.pred"]
        got = worst_group_accuracy(predictions, labels, groups, ignore=("Other",))
        yield absolute(f"{name}.{worst}", got, expected[worst], _TOLERANCE)
        found = group_accuracy(predictions, labels, groups)
        shares = [expected[f"acc_{pattern.format(*group)}"] for group in found]
        what = " x ".join(groups)
        yield absolute(f"{name}.acc by {what}", list(found.values()), shares, _TOLERANCE)
