"""Close calls of a bf16 run are decided by fp32, and only these."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gcbench.engine.near_ties import NearTies, near_leader
from gcbench.engine.run import execute
from gcbench.method import Runtime, Trials
from gcbench.plan import plan
from gcbench.store import Store


def scores(*rows):
    return np.array(rows, np.float32)[:, None]  # [n, 1, C]


def test_only_classes_within_reach_of_the_leader_are_near():
    near = near_leader(scores([0.0, -1.0, -5.0], [0.0, -3.0, -5.0]), room=2.0)
    assert near.tolist() == [[True, True, False], [False, False, False]]


def test_classes_that_a_race_dropped_early_are_out_of_the_question():
    values = np.array([[[0.0, -1.0, -0.5], [0.0, -1.0, np.nan]]], np.float32)
    assert near_leader(values, room=2.0).tolist() == [[True, True, False]]


def exact(latent, trials, work):
    """What fp32 would say: class 1 beats class 0, class 2 is far."""
    return torch.tensor([0.0, 0.25, -9.0])[work.classes]


def test_settling_gives_near_ties_the_twins_scores_and_leaves_the_others():
    loads = []
    twin = SimpleNamespace(score=exact, load=lambda: loads.append(1))
    ties = NearTies(twin, error=0.1)
    values = scores([0.5, 0.25, -8.0], [9.0, 0.25, -8.0])
    for _ in range(2):
        ties.settle(torch.zeros(2), Trials(1, {}), torch.arange(3), values, 8)
    assert values[0, 0].tolist() == [0.0, 0.25, -8.0]
    assert values[1, 0].tolist() == [9.0, 0.25, -8.0]
    assert loads == [1]
    assert ties.take_count() == 4
    assert ties.take_count() == 0


@pytest.fixture(scope="module")
def runs(registry, tmp_path_factory):
    """RandAR on 30 images in fp32 and in bf16."""
    benchmark = registry.benchmark("mini-a").choose("first-3")
    store = Store(tmp_path_factory.mktemp("precisions")).create()
    found = {}
    for precision in ("fp32", "bf16"):
        cls = registry.method("randar")
        method = cls(cls.variants[0], Runtime(precision=precision, path="fast"))
        (planned,) = plan([method], [benchmark], store, trials=2, seed=0)
        execute(planned)
        found[precision] = planned.run
    return found


def test_bf16_decides_as_fp32(runs):
    fp32, bf16 = (runs[p].scores() for p in ("fp32", "bf16"))
    assert (fp32.predictions("mean") == bf16.predictions("mean")).all()
    assert (fp32.values != bf16.values).any()


def test_what_was_measured_and_rescored_is_on_record(runs):
    assert "near_ties" not in runs["fp32"].summary
    ties = runs["bf16"].summary["near_ties"]
    assert 0 < ties["centred_error"] < 0.2
    assert ties["rescored"] == sum(s.rescored for s in runs["bf16"].shards())
    assert 0 < ties["rescored"] < 30 * 2 * 10 / 2
    assert ties["calibration_evaluations"] == 2 * 8 * 2 * 10
