"""`gcbench data`: what is on this machine, what is not whole, and how to get what is missing."""

import shutil

import pytest
from checkout import ROOT
from trees import write_camelyon17, write_classes

from gcbench._plugins.benchmarks import imagenet
from gcbench._plugins.benchmarks._imagenet_files import class_list
from gcbench.data_status import data_status


@pytest.fixture(autouse=True)
def no_config_and_no_hub_cache(tmp_path, monkeypatch):
    """A user's own data must not answer for the tests'."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GCBENCH_DATA", raising=False)
    monkeypatch.setattr(imagenet, "cached_snapshot", lambda repository: None)


@pytest.fixture
def root(tmp_path):
    """Camelyon17 and ImageNet-A whole, R with few images, Sketch with a class folder missing."""
    folder = tmp_path / "data"
    write_camelyon17(folder)
    write_classes(folder / "imagenet-a", class_list("imagenet_a"), ["a.jpg"])
    write_classes(folder / "imagenet-r", class_list("imagenet_r"), ["a.jpg"])
    sketch = folder / "imagenet-sketch"
    write_classes(sketch, class_list("imagenet"), ["a.JPEG"], ())
    shutil.rmtree(sketch / "n01440764")
    return folder


def test_status_tells_found_incomplete_and_missing_apart(registry, root):
    found = {s.name: s for s in data_status(registry, root)}
    assert list(found) == registry.benchmark_names
    whole = found["camelyon17-ood"]
    assert (whole.state, whole.samples, whole.classes) == ("found", 2, 2)
    assert whole.where == str(root / "camelyon17_v1.0")
    assert whole.digest == registry.benchmark("camelyon17-ood", root).digest
    assert (found["in-a"].state, found["in-a"].classes) == ("found", 200)
    short = found["in-r"]
    assert (short.state, short.samples) == ("incomplete", 200)
    assert short.note == "the complete set has 30,000 images"
    broken = found["in-s"]
    assert (broken.state, broken.samples, broken.digest) == ("incomplete", None, None)
    assert "class folder n01440764 is missing" in broken.note
    assert found["in-val"].state == found["celeba"].state == "missing"
    assert "image-net.org" in found["in-val"].note


def test_empty_class_folders_make_a_set_incomplete(registry, tmp_path):
    wnids = class_list("imagenet")
    write_classes(tmp_path / "imagenet-c/gaussian_noise/3", wnids, ["a.JPEG"], wnids[:2])
    few = next(s for s in data_status(registry, tmp_path) if s.name == "in-c-gauss")
    assert (few.state, few.classes) == ("incomplete", 2)
    assert few.note == "the complete set has 1,000 classes and 50,000 images"


def test_shipped_benchmarks_are_always_found(registry):
    shipped = [s for s in data_status(registry) if s.name.startswith("mini-")]
    families = [f for f in registry.families if f.suite in ("mini", "pairs", "shifts")]
    assert {s.name for s in shipped} == {name for f in families for name in f.names}
    assert {(s.state, s.where, s.note) for s in shipped} == {("found", "ships with gcbench", "")}


def test_documentation_names_every_benchmark_and_every_place(registry):
    text = (ROOT / "docs/data.md").read_text()
    assert all(", ".join(wanted.stems) in text for wanted in imagenet.SETS.values())
    for family in registry.families:
        if family.suite in ("imagenet", "wilds"):
            assert all(name in text for name in family.names)


def test_command_shows_every_benchmark_and_ends_well(gcbench, registry, root):
    done = gcbench("data", "--data-root", root)
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in registry.benchmark_names)
    assert "in-r: the complete set has 30,000 images" in done.output
    assert registry.benchmark("in-a", root).digest[:12] in done.output


def test_command_without_any_data_root_says_how_to_name_one(gcbench):
    done = gcbench("data")
    assert done.exit_code == 0, done.output
    assert "in-val: in-val: no data root is known" not in done.output
    assert "set GCBENCH_DATA" in done.output


def test_data_root_of_the_environment_is_used(gcbench_process, root, tmp_path):
    env = {"GCBENCH_DATA": str(root), "XDG_CONFIG_HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    done = gcbench_process("data", **env)
    assert done.returncode == 0, done.stderr
    assert "in-r: the complete set has 30,000 images" in done.stdout
