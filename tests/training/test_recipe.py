"""Recipes are checked when they are read."""

import pytest

from gcbench.errors import GcbenchError
from gcbench.resources import resource
from gcbench.training.recipe import read_recipe

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
    ("replace", "message"),
    [
        ({"batch_size": "bach_size"}, "'bach_size'.*did you mean 'batch_size'"),
        ({"learning_rate": "learning_rat"}, "'learning_rat'.*did you mean 'learning_rate'"),
        ({"steps = 5\n": ""}, "lacks the key 'steps'"),
        ({'"classifier"': '"clasifier"'}, "'clasifier'.*did you mean 'classifier'"),
        ({"steps = 5": "steps = 0"}, "steps must be a positive integer, got 0"),
        ({"steps = 5": "steps = "}, "is no TOML file"),
        ({'"fp32"': '"fp23"'}, "'fp23'.*did you mean 'fp32'"),
    ],
)
def test_wrong_recipe_is_refused_with_what_is_wrong(recipe_file, replace, message):
    with pytest.raises(GcbenchError, match=message):
        read_recipe(str(recipe_file("classifier", replace)))


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
