"""Dual adversarial training: the ascent, what the two losses compare, the stages."""

import csv
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from gcbench.checkpoint import load_into, read_state_dict
from gcbench.errors import GcbenchError
from gcbench.nets.dat import DAT
from gcbench.nets.randar import RandAR
from gcbench.training import train
from gcbench.training.dat import (
    DATTask,
    ascended,
    collages,
    pixels,
    probability_of_larger,
)
from gcbench.training.data import read_split
from gcbench.training.loop import Trainer
from gcbench.training.recipe import read_recipe

TEXT = """
task = "dat"
steps = 6
batch_size = 8
held_out = 16
evaluate_every = 2
compile = false
precision = "fp32"
[model]
num_classes = 10
depths = [1, 1, 1, 1]
dims = [8, 8, 8, 8]
stem_width = 4
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
[options]
robust_steps = 2
attack_radius = 0.5
contrast_steps = 2
separation = 0.0
window = 1
attacked_images = 10
"""


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "dat.toml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def task_of(recipe, data_root):
    def build(old="", new=""):
        split = read_split(data_root / "fashion-mnist")
        torch.manual_seed(0)
        recipe.write_text(TEXT.replace(old, new) if old else TEXT)
        return DATTask(read_recipe(str(recipe)), split.cut(0, 64), split.cut(64, 80))

    return build


def batch_of(task, seed=0):
    return task.batch(torch.arange(6), torch.Generator().manual_seed(seed))


def test_ascent_raises_the_objective_within_the_ball_and_the_range_of_pixels():
    start, direction = torch.rand(4, 1, 8, 8), torch.randn(4, 1, 8, 8)

    def objective(x):
        return (x * direction).flatten(1).sum(1)

    near = ascended(objective, start, steps=5, size=0.4, radius=0.7)
    far = ascended(objective, start, steps=5, size=0.4)
    assert (objective(start) < objective(near)).all()
    assert (objective(near) < objective(far)).all()
    assert (near - start).flatten(1).norm(dim=1).max() <= 0.7 + 1e-5
    assert (far - start).flatten(1).norm(dim=1).min() > 0.7
    for moved in (near, far):
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert not moved.requires_grad
    assert torch.equal(ascended(objective, start, steps=0, size=0.4), start)


def test_a_step_of_the_ascent_has_its_length_whatever_the_slope():
    start = torch.full((2, 1, 4, 4), 0.5)
    scale = torch.tensor([1e-4, 1e4])[:, None, None, None]
    moved = ascended(lambda x: (scale * x).flatten(1).sum(1), start, steps=1, size=0.2)
    torch.testing.assert_close((moved - start).flatten(1).norm(dim=1), torch.full((2,), 0.2))
    still = ascended(lambda x: 0 * x.flatten(1).sum(1), start, steps=1, size=0.2)
    assert torch.equal(still, start)


def test_a_collage_holds_every_square_of_the_images_once():
    grey = torch.arange(3 * 8 * 8, dtype=torch.int32).view(3, 8, 8)
    made = collages(grey, 4, torch.Generator().manual_seed(0))
    assert made.shape == grey.shape
    squares = [
        {
            tuple(image[r : r + 2, c : c + 2].flatten().tolist())
            for image in images
            for r in range(0, 8, 2)
            for c in range(0, 8, 2)
        }
        for images in (grey, made)
    ]
    assert squares[0] == squares[1]
    assert len(squares[0]) == 48
    assert all({value // 64 for value in image.flatten().tolist()} == {0, 1, 2} for image in made)
    assert not torch.equal(made, collages(grey, 4, torch.Generator().manual_seed(1)))


def test_probability_of_larger_counts_ties_half():
    found = probability_of_larger(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]))
    assert float(found) == (1 + 0 + 1 + 0.5) / 4


def test_first_stage_learns_to_classify_attacked_images(task_of):
    task = task_of()
    grey, labels, outside = batch_of(task)
    losses = task.losses(grey, labels, outside)
    moved = task.attacked(pixels(grey), labels)
    torch.testing.assert_close(losses["loss"], F.cross_entropy(task.joint(moved), labels))
    assert losses["loss"] > F.cross_entropy(task.joint(pixels(grey)), labels)
    assert (moved - pixels(grey)).flatten(1).norm(dim=1).max() <= 0.5 + 1e-5


def test_second_stage_adds_the_contrast_of_energies(task_of):
    task = task_of()
    task.joint.dual.fill_(True)
    task.joint.contrast_steps.fill_(2)
    grey, labels, outside = batch_of(task)
    losses = task.losses(grey, labels, outside)
    contrastive = ascended(
        lambda x: task.joint(x).gather(1, labels[:, None]), pixels(outside), 2, 0.3
    )
    real, made = task.joint(pixels(grey)), task.joint(contrastive)
    contrast = -(F.logsigmoid(real.logsumexp(1)).sum() + F.logsigmoid(-made.logsumexp(1)).sum()) / (
        2 * len(labels)
    )
    torch.testing.assert_close(losses["contrast"], contrast)
    torch.testing.assert_close(losses["loss"], losses["cross_entropy"] + contrast)
    own = [logits.gather(1, labels[:, None]).squeeze(1) for logits in (real, made)]
    torch.testing.assert_close(losses["separation"], probability_of_larger(*own))
    assert task.joint(contrastive).gather(1, labels[:, None]).mean() > (
        task.joint(pixels(outside)).gather(1, labels[:, None]).mean()
    )


def test_searching_images_leaves_no_gradient_on_the_weights(task_of):
    task = task_of()
    task.joint.dual.fill_(True)
    task.joint.contrast_steps.fill_(1)
    task.losses(*batch_of(task))
    assert all(parameter.grad is None for parameter in task.module.parameters())


def test_images_stay_grey_on_their_way_to_the_network(task_of, monkeypatch):
    task, seen = task_of(), []
    forward = task.network().forward

    def record(images):
        seen.append(images.detach())
        return forward(images)

    monkeypatch.setattr(task.network(), "forward", record)
    task.joint.dual.fill_(True)
    task.joint.contrast_steps.fill_(2)
    task.losses(*batch_of(task))
    assert len(seen) == 3 + 1 + 2 + 1  # attack, its images, contrast, both
    for images in seen:
        assert images.shape[1] == 3
        assert (images == images[:, :1]).all()
        assert images.min() >= 0
        assert images.max() <= 1


def test_second_stage_begins_after_its_step(task_of):
    task = task_of()
    batch, generator = batch_of(task), torch.Generator()
    assert not task.joint.dual
    task.after_step(0, batch, generator)
    assert not task.joint.dual
    task.after_step(1, batch, generator)
    assert task.joint.dual
    assert task_of("robust_steps = 2", "robust_steps = 0").joint.dual


@pytest.mark.parametrize(("separations", "grown"), [((0.9, 0.8), 1), ((0.9, 0.5), 0)])
def test_ascent_grows_when_a_window_is_told_apart(task_of, separations, grown):
    task = task_of("separation = 0.0\nwindow = 1", "separation = 0.8\nwindow = 2")
    joint, generator = task.joint, torch.Generator()
    for separation in separations:
        assert joint.contrast_steps == 0
        joint.separation += separation
        joint.counted += 1
        task.after_step(5, (), generator)
    assert joint.contrast_steps == grown
    assert joint.counted == joint.separation == 0
    task.after_step(6, (), generator)  # nothing counted, nothing decided
    assert joint.contrast_steps == grown


def test_ascent_grows_to_its_most_steps_only(task_of):
    task = task_of()
    for step in range(4):
        task.joint.separation += 1
        task.joint.counted += 1
        task.after_step(step, (), torch.Generator())
    assert task.joint.contrast_steps == task.options.contrast_steps == 2


def test_evaluation_attacks_the_first_images_without_a_gradient_on_the_weights(task_of):
    task = task_of()
    torch.nn.init.normal_(task.network().head.fc.weight)
    with torch.no_grad():
        metrics = task.evaluate(last=True)
        moved = task.attacked(pixels(task.held_out[:10]), task.held_out_labels[:10])
        hits = task.joint(moved).argmax(1) == task.held_out_labels[:10]
    assert metrics["robust_accuracy"] == pytest.approx(float(hits.float().mean()))
    assert 0 <= metrics["accuracy"] <= 1
    assert all(parameter.grad is None for parameter in task.module.parameters())


def test_resumed_run_equals_uninterrupted_run_in_both_stages(
    recipe, data_root, tmp_path, monkeypatch
):
    whole = train(str(recipe), data_root, tmp_path / "whole")
    step = Trainer._step

    def dies_at_step_5(self, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dies_at_step_5)
        with pytest.raises(KeyboardInterrupt):
            train(str(recipe), data_root, tmp_path / "broken")
    resumed = train(str(recipe), data_root, tmp_path / "broken")
    expected, found = load_file(whole), load_file(resumed)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    curves = [file.with_suffix(".curve.csv").read_text() for file in (whole, resumed)]
    assert curves[0] == curves[1]
    assert float(list(csv.DictReader(curves[0].splitlines()))[-1]["contrast_steps"]) == 2


def test_training_publishes_the_network_alone(recipe, data_root, tmp_path):
    weights = train(str(recipe), data_root, tmp_path / "out")
    load_into(DAT(**read_recipe(str(recipe)).model), read_state_dict(weights), weights)
    final = json.loads(weights.with_suffix(".json").read_text())["final"]
    assert {"accuracy", "robust_accuracy", "cross_entropy", "contrast"} <= final.keys()


def test_tiles_that_do_not_fit_are_refused(task_of):
    with pytest.raises(GcbenchError, match="5 tiles do not divide 32 pixels"):
        task_of("window = 1", "window = 1\ntiles = 5")


def test_shipped_recipe_costs_no_more_than_the_generative_ones():
    recipe, randar = read_recipe("mini-dat"), read_recipe("mini-randar")
    options = recipe.options
    with torch.device("meta"):
        image, tokens = torch.empty(1, 3, 32, 32), torch.empty(1, 64, dtype=torch.long)
        networks = DAT(**recipe.model), RandAR(**randar.model)
        inputs = (image,), (tokens, tokens[:, 0], tokens)
    forward = []
    for network, arguments in zip(networks, inputs, strict=True):
        with FlopCounterMode(display=False) as counter:
            network(*arguments)
        forward.append(counter.get_total_flops())
    first = 2 * options["attack_steps"] + 3
    second = first + 2 * options["contrast_steps"] + 2 * 3
    robust = options["robust_steps"]
    passes = robust * first + (recipe.steps - robust) * second
    cost = recipe.batch_size * passes * forward[0]
    reference = randar.batch_size * randar.steps * 3 * forward[1]
    assert cost / reference == pytest.approx(1 / 8, abs=0.01)  # what the recipe says
    assert 2 * sum(p.numel() for p in networks[0].parameters()) < 6e6
