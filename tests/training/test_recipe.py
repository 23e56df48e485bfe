"""Recipes are checked when they are read."""

from dataclasses import replace

import pytest

from gcbench.errors import GcbenchError
from gcbench.nets.mini_cnn import MiniCNN
from gcbench.nets.randar import RandAR
from gcbench.nets.sit import REPA
from gcbench.resources import resource
from gcbench.training.optim import schedule
from gcbench.training.recipe import adapted, read_recipe

SHIPPED = sorted(path.stem for path in resource("baselines/recipes").glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_reads_under_its_own_name(name):
    assert read_recipe(name).name == name


def test_the_two_randar_recipes_differ_in_their_order_alone():
    random, raster = (read_recipe(name).as_dict() for name in ("mini-randar", "mini-randar-raster"))
    assert random.pop("name") != raster.pop("name")
    assert random["options"].pop("order") == "random"
    assert raster["options"].pop("order") == "raster"
    assert random == raster


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": "bach_size"}, "'bach_size'.*did you mean 'batch_size'"),
        ({"learning_rate": "learning_rat"}, "'learning_rat'.*did you mean 'learning_rate'"),
        ({"steps = 5\n": ""}, "lacks the key 'steps'"),
        ({'"classifier"': '"clasifier"'}, "'clasifier'.*did you mean 'classifier'"),
        ({"steps = 5": "steps = 0"}, "steps must be a positive integer, got 0"),
        ({"steps = 5": "steps = "}, "is no TOML file"),
        ({'"fp32"': '"fp23"'}, "'fp23'.*did you mean 'fp32'"),
        ({"steps = 5": 'steps = "5"'}, "classifier.toml: steps must be a whole number, got '5'"),
        ({"steps = 5": "steps = true"}, "steps must be a whole number, got True"),
        ({"compile = false": "compile = 0"}, "compile must be true or false, got 0"),
        ({"learning_rate = 1e-3": "learning_rate = [1]"}, r"learning_rate must be a number"),
        ({"warmup_steps = 2": "betas = [0.9]"}, r"betas must be a list of 2 numbers, got \[0\.9\]"),
        ({"warmup_steps = 2": 'betas = [0.9, ""]'}, "betas must be a list of 2 numbers"),
        ({"[model]\nwidth": "model"}, "model must be a table, got 4"),
        ({"[optimizer]\nlearning_rate": "[model.optimizer]\nlearning_rate"}, "lacks the key"),
        ({"warmup_steps = 2": "warmup_steps = -2"}, "warmup_steps must not be negative, got -2"),
        ({"warmup_steps = 2": 'schedule = "step"'}, "unknown schedule in recipe classifier 'step'"),
        ({"steps = 5": "steps = 5\nema = 1.0"}, r"ema must be from 0 to below 1, got 1\.0"),
        ({"steps = 5": "steps = 5\naccumulate = 3"}, "8 cannot be cut into 3 equal micro-batches"),
    ],
)
def test_wrong_recipe_is_refused_with_what_is_wrong(recipe_file, changes, message):
    with pytest.raises(GcbenchError, match=message):
        read_recipe(str(recipe_file("classifier", changes)))


def test_a_tokenizer_learns_from_whole_batches_only(recipe_file):
    file = recipe_file("tokenizer", {"steps = 6": "steps = 6\naccumulate = 2"})
    with pytest.raises(GcbenchError, match="codes of a tokenizer are chosen by a whole batch"):
        read_recipe(str(file))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"widht": 4}, r"unknown key in \[model\] of classifier 'widht'.*did you mean 'width'"),
        ({"width": "4"}, r"\[model\] of classifier: width must be a whole number, got '4'"),
    ],
)
def test_arguments_of_a_network_are_checked(recipe_file, model, message):
    recipe = replace(read_recipe(str(recipe_file("classifier"))), model=model)
    with pytest.raises(GcbenchError, match=message):
        recipe.network(MiniCNN)


@pytest.mark.parametrize(
    ("kind", "model", "message"),
    [
        (RandAR, {"n_layer": 1, "n_head": 1}, "lacks the key 'dim'"),
        (REPA, {"encoder_deph": 1}, "did you mean 'encoder_depth'"),
        (REPA, {"z_dims": [8.5]}, r"z_dims must be a list of whole numbers, got \[8\.5\]"),
        (REPA, {"hidden_size": 8.0}, "hidden_size must be a whole number"),  # DiT's argument
        (RandAR, {"n_kv_head": "2"}, "n_kv_head must be a whole number"),
    ],
)
def test_arguments_are_those_of_the_base_too(recipe_file, kind, model, message):
    recipe = replace(read_recipe(str(recipe_file("classifier"))), model=model)
    with pytest.raises(GcbenchError, match=message):
        recipe.network(kind)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_small(name):
    folder = resource("baselines/weights")
    assert all(file.stat().st_size <= 6 * 2**20 for file in folder.glob(f"{name}*.safetensors"))


def test_a_seed_replaces_that_of_the_recipe_and_names_the_weights(recipe_file):
    recipe = read_recipe(str(recipe_file("classifier")))
    assert adapted(recipe) == recipe
    other = adapted(recipe, seed=3, accumulate=2)
    assert (other.name, other.seed, other.accumulate) == ("classifier-seed3", 3, 2)
    with pytest.raises(GcbenchError, match="cannot be cut into 5"):
        adapted(recipe, accumulate=5)


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(GcbenchError, match="did you mean 'mini-randar'"):
        read_recipe("mini-rander")


def test_absent_recipe_file_is_named():
    with pytest.raises(GcbenchError, match=r"no recipe at nowhere\.toml"):
        read_recipe("nowhere.toml")


def test_digest_changes_with_any_value(recipe_file):
    before = read_recipe(str(recipe_file("classifier"))).digest()
    after = read_recipe(str(recipe_file("classifier", {"width = 4": "width = 8"}))).digest()
    assert before != after


def test_rates_fall_to_the_floor_of_the_schedule():
    shares = [schedule(step, 10, 2, "cosine", 0.05) for step in range(11)]
    assert shares[1] == shares[2] == 1
    assert shares[6] == pytest.approx(0.525)
    assert shares[10] == pytest.approx(0.05)
