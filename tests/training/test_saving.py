"""Trainings that are killed or cannot write go on from the last whole checkpoint."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gcbench.engine.interrupt import Interrupted
from gcbench.errors import GcbenchError
from gcbench.training import loop, train
from gcbench.training.recipe import read_recipe
from gcbench.training.saving import load_checkpoint, replacing

# Ends the process by force while it writes its second checkpoint: every checkpoint and every curve
# is synced once.
KILLED = """
import os, signal, sys
from pathlib import Path
from gcbench.training import train

synced = []

def fsync(descriptor):
    synced.append(descriptor)
    if len(synced) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

os.fsync = fsync
train(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.fixture
def whole(recipe_file, data_root, tmp_path) -> Path:
    """Weights of the recipe with averages, micro-batches and a chosen checkpoint, in one go."""
    return train(str(recipe_file("dino")), data_root, tmp_path / "whole")


def same(weights: Path, other: Path) -> bool:
    curves = [file.with_suffix(".curve.csv").read_text() for file in (weights, other)]
    return weights.read_bytes() == other.read_bytes() and curves[0] == curves[1]


def test_killed_training_resumes_to_the_same_weights_and_curve(
    whole, recipe_file, data_root, tmp_path
):
    out = tmp_path / "killed"
    words = [str(recipe_file("dino")), str(data_root), str(out)]
    ended = subprocess.run([sys.executable, "-c", KILLED, *words], check=False)
    assert ended.returncode == -signal.SIGKILL
    left = sorted(file.name for file in (out / "work").iterdir())
    assert left == ["dino.checkpoint.pt", "dino.checkpoint.pt.partial"]
    rows = (out / "dino.curve.csv").read_text().splitlines()
    assert len(rows) == 2  # the curve is written as it grows
    assert same(train(words[0], data_root, out), whole)
    assert not list(out.rglob("*.partial"))


@pytest.mark.parametrize("last", [2, 3])  # evaluated, and between evaluations
def test_signal_ends_after_the_step_at_hand_and_loses_none(
    whole, recipe_file, data_root, tmp_path, monkeypatch, last
):
    out, step = tmp_path / "stopped", loop.Trainer._step

    def signalled(self, number):
        if number == last - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", signalled)
        with pytest.raises(Interrupted, match=f"stopped after step {last}") as raised:
            train(str(recipe_file("dino")), data_root, out)
    assert raised.value.exit_code == 128 + signal.SIGTERM
    recipe = read_recipe(str(recipe_file("dino")))
    state, _ = load_checkpoint(out / "work/dino.checkpoint.pt", recipe)
    assert (state.step, len(state.curve)) == (last, 1)
    assert same(train(str(recipe_file("dino")), data_root, out), whole)


def test_checkpoints_between_evaluations_change_nothing(
    whole, recipe_file, data_root, tmp_path, monkeypatch
):
    saved, save = [], loop.save_checkpoint

    def noted(file, recipe, state, tensors):
        saved.append(state.step)
        save(file, recipe, state, tensors)

    monkeypatch.setattr(loop, "save_checkpoint", noted)
    monkeypatch.setattr(loop, "_SAVE_SECONDS", -1.0)
    assert same(train(str(recipe_file("dino")), data_root, tmp_path / "often"), whole)
    assert saved == [1, 2, 3, 4]


def test_disk_that_fills_while_saving_leaves_the_checkpoint_before(
    whole, recipe_file, data_root, tmp_path, monkeypatch
):
    out, save = tmp_path / "full", loop.save_checkpoint
    saved = []

    def fills(file, recipe, state, tensors):
        saved.append(state.step)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if len(saved) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            save(file, recipe, state, tensors)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", fills)
        with pytest.raises(
            GcbenchError, match=r"cannot write .*dino.checkpoint.pt: File too large"
        ):
            train(str(recipe_file("dino")), data_root, out)
    assert [file.name for file in (out / "work").iterdir()] == ["dino.checkpoint.pt"]
    recipe = read_recipe(str(recipe_file("dino")))
    assert load_checkpoint(out / "work/dino.checkpoint.pt", recipe)[0].step == 2
    assert same(train(str(recipe_file("dino")), data_root, out), whole)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no such device here")
def test_reason_of_a_full_disk_is_the_systems(tmp_path):
    file = tmp_path / "x"
    file.write_text("before")
    with (
        pytest.raises(GcbenchError, match=f"cannot write {file}: No space left on device"),
        replacing(file),
        Path("/dev/full").open("wb") as stream,
    ):
        torch.save({"a": torch.zeros(1_000_000)}, stream)
    assert file.read_text() == "before"


def test_reason_of_a_failed_write_is_kept_where_the_library_gives_none(tmp_path):
    with (
        pytest.raises(GcbenchError, match="3000 requested and 10 written"),
        replacing(tmp_path / "x"),
    ):
        raise OSError("3000 requested and 10 written")
    with pytest.raises(GcbenchError, match="Read-only file system"), replacing(tmp_path / "x"):
        raise OSError(errno.EROFS, "Read-only file system")


def test_file_that_is_no_checkpoint_is_named(recipe_file, tmp_path):
    file = tmp_path / "dino.checkpoint.pt"
    file.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(GcbenchError, match=f"{file} is no checkpoint.*remove it to start afresh"):
        load_checkpoint(file, read_recipe(str(recipe_file("dino"))))
