"""A run keeps to the path that it began with, and every path of a method gives the same scores."""

from dataclasses import replace

import numpy as np
import pytest

from gcbench import paths
from gcbench.engine.run import BatchSize, execute, score_shard
from gcbench.errors import GcbenchError
from gcbench.method import Runtime
from gcbench.paths import on_path
from gcbench.plan import plan
from gcbench.store import Store


@pytest.fixture
def planned(registry, tmp_path):
    """RandAR on ten images, two orders each; not begun."""
    method = registry.method("randar")
    benchmark = registry.benchmark("mini-val").choose("first-1")
    made = method(method.variants[0], Runtime())
    (one,) = plan([made], [benchmark], Store(tmp_path).create(), trials=2, seed=0)
    return one


def test_small_runs_are_not_compiled_and_large_ones_are(planned, monkeypatch):
    assert on_path(planned, "auto").method.runtime.path == "fast"
    monkeypatch.setattr(paths, "COMPILE_FROM_FLOPS", 1.0)
    assert on_path(planned, "auto").method.runtime.path == "compiled"


def test_resumed_run_stays_on_its_path(planned):
    planned.run.begin(planned.record())  # on the reference path
    assert on_path(planned, "auto").method.runtime.path == "reference"
    with pytest.raises(GcbenchError, match="begun on the reference path, --path asks for fast"):
        on_path(planned, "fast")
    fresh = on_path(planned, "fast", rerun="all")
    planned.run.begin(fresh.record(), anew=True)
    assert on_path(planned, "auto").method.runtime.path == "fast"


def test_unknown_path_is_named(planned):
    with pytest.raises(GcbenchError, match="unknown path 'turbo'"):
        on_path(planned, "turbo")


def test_fast_path_gives_the_scores_of_the_reference(planned):
    values = {}
    for path in ("reference", "fast"):
        one = on_path(planned, path)
        one.method.load()
        values[path] = score_shard(one, 0, BatchSize(32)).values
    difference = values["fast"] - values["reference"]
    assert np.abs(difference / values["reference"]).max() <= 1e-6
    centred = difference - difference.mean(axis=-1, keepdims=True)
    assert np.abs(centred).max() <= 1e-3


def test_path_is_recorded_and_not_in_the_key(planned):
    fast = on_path(planned, "fast")
    execute(replace(fast, run=planned.run))
    assert planned.run.spec["path"] == "fast"
    assert fast.spec.key == planned.spec.key


def test_tf32_is_for_gpus_and_leaves_the_process_as_it_was():
    import torch

    from gcbench.nets.kernels import tf32_products

    with pytest.raises(GcbenchError, match="tf32 needs an NVIDIA GPU, the device is cpu"):
        Runtime(precision="tf32")
    before = torch.get_float32_matmul_precision()
    with tf32_products():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
