"""Self-distillation: crops, the teacher's average, and what is agreed on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gcbench.training import train
from gcbench.training.data import read_split
from gcbench.training.dino import DINOTask, augmented, crowding
from gcbench.training.recipe import read_recipe

TEXT = """
task = "dino"
steps = 4
batch_size = 8
held_out = 16
evaluate_every = 2
compile = false
precision = "fp32"
[model]
img_size = 16
patch_size = 8
embed_dim = 16
depth = 1
num_heads = 2
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
[options]
image_size = 16
local_size = 8
local_crops = 3
hidden = 8
bottleneck = 8
prototypes = 12
gallery = 64
"""


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "dino.toml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def task(recipe, data_root):
    split = read_split(data_root / "fashion-mnist")
    torch.manual_seed(0)
    return DINOTask(read_recipe(str(recipe)), split.cut(0, 64), split.cut(64, 80))


def crops(task, seed=0):
    return task.batch(torch.arange(6), torch.Generator().manual_seed(seed))


def test_every_image_gives_two_large_and_several_small_crops(task):
    large, small = crops(task)
    assert large.shape == (2, 6, 16, 16)
    assert small.shape == (3, 6, 8, 8)
    assert (large[0] != large[1]).any()
    assert torch.equal(crops(task)[0], large)
    assert not torch.equal(crops(task, seed=1)[0], large)


def test_loss_compares_every_other_crop_with_each_large_one(task):
    large, small = crops(task)
    task.pair.centre.normal_()
    loss = task.losses(large, small)["loss"]
    views = [v[:, None].expand(-1, 3, -1, -1) / 127.5 - 1 for v in (*large, *small)]
    teacher = [((task.pair.teacher(v)[1] - task.pair.centre) / 0.04).softmax(1) for v in views[:2]]
    student = [(task.pair.student(v)[1] / 0.1).log_softmax(1) for v in views]
    terms = [
        -(t * s).sum(1).mean()
        for i, t in enumerate(teacher)
        for j, s in enumerate(student)
        if i != j
    ]
    assert len(terms) == 2 * 4
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_crowding_is_minus_the_mean_logarithm_of_the_distance_to_the_nearest():
    angles = torch.tensor([0.0, 0.1, 1.0, 3.0])
    lengths = torch.tensor([[1.0], [5.0], [0.3], [2.0]])
    tokens = lengths * torch.stack([angles.cos(), angles.sin()], dim=1)
    chords = [2 * math.sin(gap / 2) for gap in (0.1, 0.1, 0.9, 2.0)]
    expected = -sum(math.log(chord) for chord in chords) / 4
    torch.testing.assert_close(crowding(tokens), torch.tensor(expected), atol=1e-5, rtol=0)


def test_spread_adds_the_crowding_of_the_large_crops(task):
    large, small = crops(task)
    plain = task.losses(large, small)["loss"]
    task.options = replace(task.options, spread=0.5)
    tokens = [task.pair.student(v[:, None].expand(-1, 3, -1, -1) / 127.5 - 1)[0] for v in large]
    added = 0.5 * (crowding(tokens[0]) + crowding(tokens[1])) / 2
    torch.testing.assert_close(task.losses(large, small)["loss"], plain + added)


def test_gradients_reach_the_student_alone(task):
    task.losses(*crops(task))["loss"].backward()
    trained = [p for p in task.pair.student.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert all(p.grad is None for p in task.pair.teacher.parameters())


def test_teacher_follows_the_student_and_stands_still_at_the_end(task):
    with torch.no_grad():
        for p in task.pair.student.parameters():
            p.add_(1.0)
    before = task.pair.teacher.backbone.pos_embed.clone()
    generator = torch.Generator()
    task.after_step(0, crops(task), generator)
    moved = task.pair.teacher.backbone.pos_embed - before
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - 0.992), atol=1e-6, rtol=0)
    task.after_step(4, crops(task), generator)
    torch.testing.assert_close(task.pair.teacher.backbone.pos_embed, before + moved)


def test_centre_moves_towards_the_teachers_outputs(task):
    task.losses(*crops(task))
    mean = task.pair.output_sum.clone()
    assert mean.abs().sum() > 0
    task.after_step(0, crops(task), torch.Generator())
    torch.testing.assert_close(task.pair.centre, 0.1 * mean)


def test_prototypes_have_unit_length(task):
    weight = task.pair.student.head.last_layer.weight
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(12))


def test_crop_shows_no_more_than_its_share_of_the_image():
    ramp = np.tile(np.linspace(0, 255, 28).astype(np.uint8), (28, 1))
    spans = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        view = augmented(Image.fromarray(ramp), 16, (0.1, 0.1), generator)
        assert view.shape == (16, 16)
        assert view.dtype == np.uint8
        spans.append(int(view.max()) - int(view.min()))
    assert max(spans) < 0.6 * 255  # a tenth of the area, at most 1.4 times the range


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_publishes_the_teachers_backbone(recipe, precision, data_root, tmp_path):
    recipe.write_text(TEXT.replace('"fp32"', f'"{precision}"'))
    from gcbench.checkpoint import load_into, read_state_dict
    from gcbench.nets.dinov2 import DINOv2

    weights = train(str(recipe), data_root, tmp_path / "out")
    network = DINOv2(**read_recipe(str(recipe)).model)
    load_into(network, read_state_dict(weights), weights)
