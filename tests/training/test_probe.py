"""Linear probes: what each reads, how each learns, and which one is kept."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gcbench.errors import GcbenchError
from gcbench.nets.dinov2 import DINOv2
from gcbench.training import train
from gcbench.training.data import as_rgb, centre_view, read_split
from gcbench.training.optim import build_optimizers, schedule
from gcbench.training.probe import Kind, ProbeTask
from gcbench.training.recipe import OptimizerSpec, read_recipe
from gcbench.training.tasks import Workplace

ENCODER = """
task = "dino"
steps = 2
batch_size = 8
held_out = 16
evaluate_every = 2
compile = false
precision = "fp32"
[model]
img_size = 16
patch_size = 8
embed_dim = 16
depth = 3
num_heads = 2
[optimizer]
learning_rate = 1e-3
[options]
image_size = 16
local_size = 8
prototypes = 8
hidden = 8
bottleneck = 8
"""
PROBE = """
task = "probe"
steps = 6
batch_size = 16
held_out = 16
evaluate_every = 3
compile = false
precision = "fp32"
[model]
classes = 10
[optimizer]
name = "sgd"
learning_rate = 1.0
schedule = "cosine"
warmup_steps = 0
[options]
backbone = "BACKBONE"
image_size = 16
blocks = [1, 3]
views = 2
"""


@pytest.fixture
def files(tmp_path, data_root):
    encoder, probe = tmp_path / "encoder.toml", tmp_path / "probe.toml"
    encoder.write_text(ENCODER)
    probe.write_text(PROBE.replace("BACKBONE", str(encoder)))
    train(str(encoder), data_root, tmp_path / "out")
    return probe


@pytest.fixture
def build(files, data_root, tmp_path):
    split = read_split(data_root / "fashion-mnist")

    def task(**replaced):
        text = files.read_text()
        for old, new in replaced.items():
            text = text.replace(f"{old} = ", f"{old} = {new} # ")
        files.write_text(text)
        place = Workplace(tmp_path / "out", tmp_path / "work", lambda line: None)
        parts = split.cut(0, 64), split.cut(64, 80)
        return ProbeTask(read_recipe(str(files)), *parts, place)

    return task


def test_grid_is_the_official_one(build):
    kinds = build().grid.kinds
    assert len(kinds) == 2 * 2 * 13
    assert {k.blocks for k in kinds} == {1, 3}
    assert (min(k.rate for k in kinds), max(k.rate for k in kinds)) == (1e-5, 1e-1)


def test_every_probe_reads_what_the_backbone_gives_for_its_kind(build, data_root, tmp_path):
    task = build()
    backbone = DINOv2(img_size=16, patch_size=8, embed_dim=16, depth=3, num_heads=2).eval()
    backbone.load_state_dict(load_file(tmp_path / "out/encoder.safetensors"))
    images = read_split(data_root / "fashion-mnist").images[:4]
    grey = torch.stack([torch.from_numpy(centre_view(i, 16).copy()) for i in images])
    for kind in (Kind(1, False, 1), Kind(1, True, 1), Kind(3, False, 1), Kind(3, True, 1)):
        with torch.inference_mode():
            expected = backbone.probe_features(as_rgb(grey), kind.blocks, kind.average)
        part = task.grid.part(task.features.view(0)[:4].float(), kind)
        torch.testing.assert_close(part, expected, atol=2e-3, rtol=2e-3)  # kept in fp16


def test_probes_learn_apart(build):
    """One step moves every probe by its own rate times its own gradient."""
    task = build()
    spec = OptimizerSpec(learning_rate=2.0, name="sgd", betas=(0.9, 0.9))
    (optimizer,) = build_optimizers(task.module, spec)
    before = [p.weight.detach().clone() for p in task.grid.probes]
    features, labels = task.batch(torch.arange(8), torch.Generator().manual_seed(0))
    task.losses(features, labels)["loss"].backward()
    optimizer.step()
    for kind, probe, old in zip(task.grid.kinds, task.grid.probes, before, strict=True):
        alone = torch.nn.functional.cross_entropy(
            task.grid.part(features, kind) @ old.T, labels, reduction="mean"
        )
        assert alone > 0
        torch.testing.assert_close(probe.weight, old - 2.0 * kind.rate * probe.weight.grad)


def test_best_probe_on_held_out_images_is_kept(build):
    task = build()
    right = task.grid.kinds.index(Kind(3, False, 1e-3))
    with torch.no_grad():
        for probe in task.grid.probes:
            probe.weight.zero_()
        task.grid.probes[right].bias[int(task.held_out_labels.mode().values)] = 1.0
        for index, probe in enumerate(task.grid.probes):
            if index != right:
                probe.bias.fill_(0.0)
                probe.bias[int(task.held_out_labels.bincount().argmin())] = 1.0
    metrics = task.evaluate(last=True)
    assert task.network() is task.grid.probes[right]
    assert metrics["accuracy"] > metrics["median"]
    assert task.notes()["chosen"] == {"blocks": 3, "average": False, "factor": 1e-3}


def test_training_publishes_a_probe_with_what_it_reads(files, data_root, tmp_path):
    weights = train(str(files), data_root, tmp_path / "out")
    card = json.loads(weights.with_suffix(".json").read_text())
    chosen = card["chosen"]
    tensors = load_file(weights)
    assert tensors["weight"].shape == (10, (chosen["blocks"] + chosen["average"]) * 16)
    assert card["backbone"]["name"] == "encoder"


def test_logistic_regression_fits_the_training_images_without_a_step(files, build):
    files.write_text(files.read_text() + 'solver = "logistic"\npenalties = [100.0]\n')
    with pytest.raises(GcbenchError, match=r"learning rate is 1\.0, logistic regression is solved"):
        build()
    task = build(learning_rate="0.0")
    assert len(task.features) == 1
    assert len(task.grid.kinds) == 4
    deepest = task.grid.kinds.index(Kind(3, True, 100.0))
    fitted = task.grid(task.features.view(0).float())[deepest].argmax(dim=1)
    assert (fitted == task.labels).float().mean() > 0.9


def test_more_blocks_than_the_backbone_has_are_refused(build):
    with pytest.raises(GcbenchError, match="features of 4 blocks, encoder has 3"):
        build(blocks="[1, 4]")


def test_cosine_schedule_falls_from_one_to_zero():
    shares = [schedule(step, 10, 0, "cosine") for step in range(11)]
    assert shares[0] == 1
    assert shares[5] == pytest.approx(0.5)
    assert shares[-1] == pytest.approx(0)
    assert np.all(np.diff(shares) < 0)
