"""Several processes train what one trains, and end together."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gcbench.errors import GcbenchError
from gcbench.training import train
from gcbench.training.processes import Processes, _buckets
from gcbench.training.recipe import adapted, read_recipe


@pytest.fixture
def launched(data_root, tmp_path):
    """Trains a recipe in two processes of torchrun; returns how that ended."""

    def call(recipe, program=("-m", "gcbench.cli")):
        launcher = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
        ]
        words = [
            "train",
            str(recipe),
            "--data-root",
            str(data_root),
            "--out",
            str(tmp_path / "two"),
        ]
        return subprocess.run(
            [*launcher, *program, *words],
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_two_processes_train_what_one_trains(recipe_file, launched, data_root, tmp_path):
    recipe = recipe_file("dino")
    alone = train(str(recipe), data_root, tmp_path / "one")
    ended = launched(recipe)
    assert ended.returncode == 0, ended.stderr
    together = tmp_path / "two" / alone.name
    torch.testing.assert_close(load_file(together), load_file(alone), atol=1e-5, rtol=1e-5)
    curves = [file.with_name("dino.curve.csv").read_text() for file in (alone, together)]
    assert len(curves[0].splitlines()) == 3
    for one, two in zip(*(curve.splitlines()[1:] for curve in curves), strict=True):
        numbers = [[float(value) for value in row.split(",")] for row in (one, two)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-4)
    assert ended.stderr.count("step 2 ") == 1  # one process prints


def test_all_processes_end_when_the_loss_is_not_finite(recipe_file, launched, tmp_path):
    rate = {"learning_rate = 1e-3": 'learning_rate = 1e30\nname = "sgd"'}
    ended = launched(recipe_file("dino", rate))
    assert ended.returncode != 0
    assert ended.stderr.count("error: recipe dino: the loss is nan at step 1") == 1
    assert not (tmp_path / "two/dino.safetensors").exists()


SIGNALLED = """
import os, signal
from gcbench.cli import main
from gcbench.training.loop import Trainer

step = Trainer._step

def signalled(self, number):
    if number == 0 and self.processes.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, number)

Trainer._step = signalled
main()
"""


def test_signal_to_one_process_stops_all_after_the_same_step(recipe_file, launched, tmp_path):
    script = tmp_path / "signalled.py"
    script.write_text(SIGNALLED)
    ended = launched(recipe_file("dino"), program=(str(script),))
    assert ended.returncode != 0
    assert ended.stderr.count("stopped after step 1") == 1
    assert (tmp_path / "two/work/dino.checkpoint.pt").exists()


def test_all_processes_end_when_the_main_one_cannot_write(recipe_file, launched, tmp_path):
    (tmp_path / "two").write_text("a file in the way")
    ended = launched(recipe_file("dino"))
    assert ended.returncode != 0
    assert ended.stderr.count("error: cannot write") == 1


@pytest.fixture
def as_one_of_two():
    processes = Processes()
    processes.count, processes.rank = 2, 1
    return processes


def test_micro_batches_that_cannot_be_dealt_out_evenly_are_refused(recipe_file, as_one_of_two):
    recipe = read_recipe(str(recipe_file("dino")))
    assert as_one_of_two.share(recipe) == range(2, 4)
    with pytest.raises(GcbenchError, match=r"2 processes cannot share a step of 1.*--accumulate"):
        as_one_of_two.share(adapted(recipe, accumulate=1))


def test_batch_normalisation_is_refused_in_several_processes(as_one_of_two):
    as_one_of_two.check(nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2)))
    with pytest.raises(GcbenchError, match="batch normalisation sees another batch"):
        as_one_of_two.check(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def test_buckets_hold_every_tensor_once_and_one_type_each(monkeypatch):
    monkeypatch.setattr("gcbench.training.processes._BUCKET", 10)
    types = (torch.float32, torch.int64)
    tensors = [torch.zeros(size, dtype=kind) for size in (4, 5, 30, 1, 9) for kind in types]
    buckets = list(_buckets(tensors))
    assert sorted(id(t) for b in buckets for t in b) == sorted(id(t) for t in tensors)
    assert all(len({t.dtype for t in b}) == 1 for b in buckets)
    assert all(len(b) == 1 or sum(t.numel() for t in b) <= 10 for b in buckets)
