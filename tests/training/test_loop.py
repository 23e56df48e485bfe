"""Training: resumable, the same curve, and clear when it cannot go on."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from gcbench.checkpoint import sha256_of
from gcbench.errors import GcbenchError
from gcbench.nets.randar import RandAR
from gcbench.training import train
from gcbench.training.average import WeightAverage
from gcbench.training.classifier import Classifier
from gcbench.training.loop import Trainer
from gcbench.training.optim import build_optimizers, schedule
from gcbench.training.recipe import OptimizerSpec

# The tasks that encode images by a network which another recipe trains.
BUILT_ON = {"randar": "tokenizer", "var": "multiscale", "diffusion": "vae"}


class Killed(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def run(recipe_file, data_root, tmp_path):
    """Trains the tiny recipe of a task (and its tokenizer first) into a folder of this test."""

    def call(task, folder="out", replace=None):
        out = tmp_path / folder
        first = BUILT_ON.get(task)
        if first and not (out / f"{first}.safetensors").exists():
            train(str(recipe_file(first)), data_root, out)
        return train(str(recipe_file(task, replace)), data_root, out)

    return call


@pytest.mark.parametrize(
    "task", ["classifier", "tokenizer", "randar", "multiscale", "var", "vae", "diffusion"]
)
def test_resumed_run_equals_uninterrupted_run(task, run, monkeypatch):
    whole = run(task, "whole")
    if task in BUILT_ON:
        run(BUILT_ON[task], "broken")
    step = Trainer._step

    def dies_at_step_3(self, number):
        if number == 3:
            raise Killed
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dies_at_step_3)
        with pytest.raises(Killed):
            run(task, "broken")
    assert not (whole.parents[1] / "broken" / whole.name).exists()
    resumed = run(task, "broken")
    assert resumed.read_bytes() == whole.read_bytes()
    curves = [path.with_name(f"{task}.curve.csv").read_text() for path in (whole, resumed)]
    assert curves[0] == curves[1]


def test_finished_run_leaves_weights_card_and_curve(run):
    weights = run("randar")
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_of(weights)
    assert card["recipe"]["options"]["class_dropout"] == 0.2
    assert card["tokenizer"]["sha256"] == sha256_of(weights.with_name("tokenizer.safetensors"))
    assert all(tensor.dtype == torch.float16 for tensor in load_file(weights).values())
    with weights.with_name("randar.curve.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["2", "4", "5"]
    assert 0 <= float(rows[-1]["accuracy_2_orders"]) <= 1
    assert not list(weights.parent.rglob("*.partial"))


def test_a_few_steps_lower_the_loss(run):
    weights = run("classifier", replace={"steps = 5": "steps = 40", "every = 2": "every = 20"})
    with weights.with_name("classifier.curve.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses[-1] < losses[0]


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(run, monkeypatch, tmp_path):
    losses = Classifier.losses
    calls = []

    def breaks_at_step_2(self, *batch):
        calls.append(batch)
        factor = float("nan") if len(calls) == 3 else 1.0
        return {"loss": losses(self, *batch)["loss"] * factor}

    monkeypatch.setattr(Classifier, "losses", breaks_at_step_2)
    with pytest.raises(GcbenchError, match=r"the loss is nan at step 2.*last good state"):
        run("classifier")
    saved = torch.load(tmp_path / "out/work/classifier.checkpoint.pt", weights_only=True)
    assert saved["step"] == 2
    assert all(value.isfinite().all() for value in saved["module"].values())
    assert not (tmp_path / "out/classifier.safetensors").exists()


def test_checkpoint_of_another_recipe_is_not_continued(run):
    run("classifier")
    with pytest.raises(GcbenchError, match="belongs to another version of recipe classifier"):
        run("classifier", replace={"width = 4": "width = 8"})


def test_randar_without_its_tokenizer_names_the_command(recipe_file, data_root, tmp_path):
    recipe_file("tokenizer")
    with pytest.raises(GcbenchError, match="train it first: gcbench train tokenizer"):
        train(str(recipe_file("randar")), data_root, tmp_path / "out")


def test_too_small_a_training_split_is_refused(run):
    with pytest.raises(GcbenchError, match="a batch needs 128"):
        run("classifier", replace={"batch_size = 8": "batch_size = 128"})


def test_weights_of_the_best_evaluation_are_published(run, monkeypatch, tmp_path):
    seen = []
    values = [0.0, 0.1, 0.9, 0.2, 0.9]  # before training, of three evaluations, of the chosen one

    def evaluate(self, last):
        seen.append({name: value.clone() for name, value in self.module.state_dict().items()})
        return {"accuracy": values[len(seen) - 1]}

    monkeypatch.setattr(Classifier, "evaluate", evaluate)
    weights = run("classifier", replace={"steps = 5": 'steps = 5\nema = 0.5\nselect = "accuracy"'})
    published = load_file(weights)
    for name, value in seen[2].items():
        torch.testing.assert_close(published[name], value.half() if value.ndim else value)
    assert any((published[name] != value.half()).any() for name, value in seen[3].items())
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["selected"] == {"step": 4.0, "accuracy": 0.9}
    assert card["final"]["accuracy"] == 0.2


def test_metric_that_no_evaluation_has_is_refused_before_the_first_step(run, monkeypatch):
    monkeypatch.setattr(Trainer, "_step", None)
    with pytest.raises(GcbenchError, match=r"'accurracy'.*did you mean 'accuracy'"):
        run("classifier", replace={"steps = 5": 'steps = 5\nselect = "accurracy"'})


def test_average_starts_at_the_weights_and_follows_them():
    module = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)
        average = WeightAverage(module, decay=0.75)
        for weight in (5.0, 9.0):
            module.weight.fill_(weight)
            average.update()
    with average.applied():
        assert module.weight.item() == 0.75 * (0.75 * 1 + 0.25 * 5) + 0.25 * 9
    assert module.weight.item() == 9.0


def test_curve_is_logged_for_tensorboard(recipe_file, data_root, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    file = recipe_file("dino", {"steps = 4": "steps = 3"})
    train(str(file), data_root, tmp_path / "out", tensorboard=True)
    found = events.EventAccumulator(str(tmp_path / "out/work/dino.tensorboard")).Reload()
    with (tmp_path / "out/dino.curve.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for key in ("loss", "accuracy", "images"):
        points = [(event.step, event.value) for event in found.Scalars(key)]
        assert points == [
            (int(row["step"]), pytest.approx(float(row[key]), rel=1e-5)) for row in rows
        ]


def test_schedule_is_constant_after_the_warm_up():
    assert [schedule(s, 10, 2, "constant") for s in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]


def test_schedule_warms_up_and_ends_at_zero():
    shares = [schedule(step, steps=10, warmup=4) for step in range(11)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert shares[4:] == sorted(shares[4:], reverse=True)
    assert shares[10] == 0.0


def test_muon_owns_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = RandAR(dim=16, n_layer=2, n_head=2, block_size=4, vocab_size=8, num_classes=3)
    spec = OptimizerSpec(learning_rate=1e-3, name="muon", matrix_learning_rate=1e-2)
    adamw, muon = build_optimizers(model, spec)
    owned = [{id(p) for g in o.param_groups for p in g["params"]} for o in (adamw, muon)]
    matrices = {id(p) for n, p in model.named_parameters() if "layers." in n and p.ndim == 2}
    assert owned[1] == matrices
    assert owned[0] | owned[1] == {id(p) for p in model.parameters()}
    assert not owned[0] & owned[1]
    decayed = [p.ndim for g in adamw.param_groups if g["weight_decay"] for p in g["params"]]
    assert all(axes > 1 for axes in decayed)
