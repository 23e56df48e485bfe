"""Plugins are found by file, clashes name both sides, misses suggest the nearest."""

import pytest

from gcbench.errors import GcbenchError
from gcbench.registry import Registry

METHOD = """
from gcbench.method import DiscriminativeMethod, Variant
class Constant(DiscriminativeMethod):
    name, family, summary = {name!r}, "discriminative", "says the same of every image"
    variants = (Variant("one", "fashion-10", {{}}, {{}}, 32),)
"""


def test_a_new_file_is_a_new_method(tmp_path):
    (tmp_path / "constant.py").write_text(METHOD.format(name="constant"))
    assert "constant" in Registry([tmp_path]).methods


def test_file_name_is_method_name(registry):
    for name, cls in registry.methods.items():
        if cls.__module__.startswith("gcbench._plugins"):
            assert cls.__module__.rsplit(".", 1)[1].replace("_", "-") == name


def test_two_plugins_of_one_name_are_both_named(tmp_path):
    (tmp_path / "mine.py").write_text(METHOD.format(name="randar"))
    with pytest.raises(GcbenchError, match=r"method randar: .*baselines/randar\.py and .*mine\.py"):
        Registry([tmp_path])


def test_missing_plugin_folder_is_named(tmp_path):
    with pytest.raises(GcbenchError, match="no such folder"):
        Registry([tmp_path / "nowhere"])


def test_unknown_names_suggest_the_nearest(registry):
    with pytest.raises(GcbenchError, match="did you mean 'randar'"):
        registry.method("randr")
    with pytest.raises(GcbenchError, match="did you mean 'greys'"):
        registry.benchmark("grays")


def test_unknown_variant_suggests_the_nearest(registry):
    with pytest.raises(GcbenchError, match=r"unknown variant of grey-level 'tine'.*'tiny'"):
        registry.method("grey-level").variant_named("tine")
