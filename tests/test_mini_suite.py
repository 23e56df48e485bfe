import csv
import gzip
import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT
from PIL import Image

from gcbench._plugins.benchmarks import _fashion_mnist as fetch
from gcbench._plugins.benchmarks import mini
from gcbench._plugins.benchmarks._fashion_mnist import find_fashion_mnist
from gcbench.corruptions import gaussian_noise, jpeg_compression
from gcbench.errors import GcbenchError
from gcbench.registry import Registry
from gcbench.resources import resource
from tools.mini_suite import fashion
from tools.mini_suite.files import to_toml, write_npz
from tools.mini_suite.icons import (
    OPEN_LICENCES,
    SIDE,
    IconSet,
    read_iconify,
    rendition,
    sketch,
)
from tools.mini_suite.packages import Pin, read_pins, unpack

TOOL = ROOT / "tools" / "mini_suite"
SETS = ["mini-val", "mini-r", "mini-s", "mini-a", "mini-c-gauss", "mini-c-jpeg"]
ICON_SETS = ["mini-r", "mini-s"]


def chosen_icons(name: str) -> list[dict[str, str]]:
    with (TOOL / "icons.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["benchmark"] == name]


@pytest.mark.parametrize("name", SETS)
def test_embedded_set_is_what_its_manifest_says(name: str) -> None:
    content, manifest = mini.read_embedded(name), mini.read_manifest(name)
    assert manifest["name"] == name
    assert mini.content_digest(content.images, content.labels) == manifest["digest"]
    assert len(content.ids) == len(content.images) == len(content.labels) == manifest["count"]
    assert list(content.images.shape[1:3]) == manifest["image_shape"][:2]
    counts = Counter(mini.FASHION_10.labels[label] for label in content.labels)
    assert counts == manifest["per_class"]
    assert sum(source["count"] for source in manifest["sources"]) == manifest["count"]


@pytest.mark.parametrize("name", SETS)
def test_ids_are_unique_and_labels_are_in_range(name: str) -> None:
    content = mini.read_embedded(name)
    assert len(set(content.ids)) == len(content.ids)
    assert content.labels.min() >= 0
    assert content.labels.max() < len(mini.FASHION_10)


@pytest.mark.parametrize("name", SETS)
def test_candidate_classes_are_those_of_the_manifest(name: str) -> None:
    benchmark = Registry().benchmark(name)
    present = [benchmark.label_space.labels[index] for index in benchmark.classes]
    assert present == mini.read_manifest(name)["classes"]


@pytest.mark.parametrize("name", SETS)
def test_no_image_is_near_black(name: str) -> None:
    images = mini.read_embedded(name).images
    lit = (images.reshape(len(images), -1) > 64).mean(axis=1)
    assert lit.min() > 0.01


@pytest.mark.parametrize("name", ICON_SETS)
def test_icon_sets_hold_the_chosen_icons(name: str) -> None:
    content, chosen = mini.read_embedded(name), chosen_icons(name)
    assert list(content.ids) == [f"{row['set']}/{row['icon']}" for row in chosen]
    labels = [mini.FASHION_10.labels[label] for label in content.labels]
    assert labels == [row["label"] for row in chosen]
    with np.load(resource(f"benchmarks/data/{name}.npz"), allow_pickle=False) as file:
        assert file["sources"].tolist() == [row["set"] for row in chosen]


@pytest.mark.parametrize("name", ICON_SETS)
def test_icon_sets_are_large_and_no_class_dominates(name: str) -> None:
    counts = mini.read_manifest(name)["per_class"]
    assert sum(counts.values()) >= 150
    assert max(counts.values()) <= 40


@pytest.mark.parametrize("name", ICON_SETS)
def test_no_two_icons_are_the_same_picture(name: str) -> None:
    images = mini.read_embedded(name).images
    assert len({image.tobytes() for image in images}) == len(images)


def test_every_set_has_an_attribution_line_with_an_open_licence() -> None:
    text = resource("benchmarks/ATTRIBUTION.md").read_text(encoding="utf-8")
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:2] == "| "}
    pins = read_pins(TOOL / "packages.toml")
    used = {row["set"] for name in ICON_SETS for row in chosen_icons(name)}
    assert used == set(pins)
    for name in ICON_SETS:
        for source in mini.read_manifest(name)["sources"]:
            assert source["licence"] in OPEN_LICENCES
            assert source["version"] == pins[source["name"]].version
            line = lines[source["name"]]
            assert f"[{source['licence']}]({source['licence_url']})" in line
            assert f"[{source['author']}]" in line
            assert f"{source['package']} {source['version']}" in line


def test_val_holds_the_first_images_of_each_class_in_file_order() -> None:
    val = mini.read_embedded("mini-val")
    assert list(val.ids) == sorted(val.ids)
    assert Counter(val.labels.tolist()) == dict.fromkeys(range(10), 200)


def test_images_that_val_and_a_share_are_equal() -> None:
    val, hard = mini.read_embedded("mini-val"), mini.read_embedded("mini-a")
    pixels = dict(zip(val.ids, val.images, strict=True))
    shared = [row for row, id in enumerate(hard.ids) if id in pixels]
    assert shared
    for row in shared:
        np.testing.assert_array_equal(hard.images[row], pixels[hard.ids[row]])


def test_a_was_chosen_by_the_shipped_reference() -> None:
    card = json.loads(resource("baselines/weights/mini-reference.json").read_text())
    assert mini.read_manifest("mini-a")["sources"][0]["reference_sha256"] == card["sha256"]


def test_the_reference_is_wrong_on_every_image_of_a() -> None:
    hard = mini.read_embedded("mini-a")
    answers = fashion.reference_predictions(fashion.Split(hard.images, hard.labels))
    assert (answers != hard.labels).all()


def test_first_per_class_keeps_file_order_and_takes_all_where_there_are_fewer() -> None:
    labels = np.array([1, 0, 1, 1, 0, 2])
    assert fashion.first_per_class(np.array([0, 2, 3, 4, 5]), labels, 2) == [0, 2, 4, 5]


@pytest.mark.parametrize("kind", ["gauss", "jpeg"])
def test_severity_3_recomputed_equals_the_embedded_set(kind: str) -> None:
    recomputed = mini.corrupt(mini.read_embedded("mini-val"), kind, 3)
    embedded = mini.read_embedded(f"mini-c-{kind}")
    np.testing.assert_array_equal(recomputed.images, embedded.images)
    np.testing.assert_array_equal(recomputed.labels, embedded.labels)
    assert recomputed.ids == embedded.ids


@pytest.mark.parametrize("kind", ["gauss", "jpeg"])
def test_severity_3_has_the_same_content_under_both_names(kind: str) -> None:
    registry = Registry()
    by_severity = registry.benchmark(f"mini-c:{kind}:3")
    assert by_severity.digest == registry.benchmark(f"mini-c-{kind}").digest


@pytest.mark.parametrize("kind", ["gauss", "jpeg"])
def test_higher_severity_is_further_from_the_original(kind: str) -> None:
    val = mini.read_embedded("mini-val")
    part = mini.ImageSet(val.images[:100], val.labels[:100], val.ids[:100])
    distances = [
        np.abs(mini.corrupt(part, kind, severity).images - part.images.astype(float)).mean()
        for severity in (1, 2, 3, 4, 5)
    ]
    assert distances == sorted(distances)
    assert len(set(distances)) == 5


def test_corruption_does_not_depend_on_the_other_images() -> None:
    val = mini.read_embedded("mini-val")
    backwards = mini.ImageSet(val.images[19::-1], val.labels[19::-1], val.ids[19::-1])
    forwards = mini.corrupted("gauss", 3).images[:20]
    np.testing.assert_array_equal(mini.corrupt(backwards, "gauss", 3).images[::-1], forwards)


def test_noise_is_its_own_for_every_image_and_severity() -> None:
    grey = np.full((28, 28), 128, dtype=np.uint8)
    noise = gaussian_noise(grey, 1, "a")
    np.testing.assert_array_equal(noise, gaussian_noise(grey, 1, "a"))
    assert (noise != gaussian_noise(grey, 1, "b")).any()
    # The same draws at two sigmas would move every pixel in the same direction.
    stronger = gaussian_noise(grey, 2, "a")
    assert (((noise > 128) & (stronger < 127)) | ((noise < 127) & (stronger > 128))).any()


def test_corruptions_keep_the_shape_of_colour_images() -> None:
    image = mini.read_embedded("mini-r").images[0]
    assert gaussian_noise(image, 5, "a").shape == image.shape
    assert jpeg_compression(image, 5).shape == image.shape


@pytest.mark.parametrize("severity", [0, 6])
def test_unknown_severity_is_refused(severity: int) -> None:
    image = np.zeros((8, 8), dtype=np.uint8)
    with pytest.raises(GcbenchError, match=f"severity {severity}"):
        gaussian_noise(image, severity, "a")
    with pytest.raises(GcbenchError, match=f"severity {severity}"):
        jpeg_compression(image, severity)
    assert not mini.Mini().accepts(f"mini-c:gauss:{severity}")


def test_samples_are_rgb_images_of_the_stored_pixels() -> None:
    content = mini.read_embedded("mini-s")
    sample = Registry().benchmark("mini-s").samples[3]
    image = sample.load()
    assert (sample.id, sample.label, image.mode) == (content.ids[3], content.labels[3], "RGB")
    np.testing.assert_array_equal(np.asarray(image)[..., 1], content.images[3])


def test_digest_covers_pixels_labels_and_shape() -> None:
    images, labels = np.zeros((2, 4, 4), dtype=np.uint8), np.zeros(2, dtype=np.int64)
    digests = {mini.content_digest(images, labels)}
    digests.add(mini.content_digest(images.reshape(2, 2, 8), labels))
    digests.add(mini.content_digest(images, labels + 1))
    digests.add(mini.content_digest(images + 1, labels))
    assert len(digests) == 4


def test_a_changed_pixel_is_refused(tmp_path: Path) -> None:
    content, file = mini.read_embedded("mini-s"), tmp_path / "mini-s.npz"
    images = content.images.copy()
    images[5, 30, 30] ^= 1
    write_npz(file, {"images": images, "labels": content.labels, "ids": np.array(content.ids)})
    with pytest.raises(GcbenchError, match=r"mini-s\.npz has digest .* its manifest says"):
        mini.read_image_set(file, mini.read_manifest("mini-s"))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    whole, file = resource("benchmarks/data/mini-s.npz").read_bytes(), tmp_path / "mini-s.npz"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GcbenchError, match=r"mini-s\.npz cannot be read"):
        mini.read_image_set(file, mini.read_manifest("mini-s"))


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mini-s.npz"
    write_npz(file, {"images": mini.read_embedded("mini-s").images})
    with pytest.raises(GcbenchError, match="labels"):
        mini.read_image_set(file, mini.read_manifest("mini-s"))


def test_written_files_carry_no_time(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", {"images": np.arange(10)})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert [entry.date_time for entry in archive.infolist()] == [(1980, 1, 1, 0, 0, 0)]


@pytest.mark.parametrize("name", SETS)
def test_manifests_are_in_the_form_that_the_tool_writes(name: str) -> None:
    text = resource(f"benchmarks/manifests/{name}.toml").read_text(encoding="utf-8")
    assert to_toml(mini.read_manifest(name)) == text


def test_drawings_fill_the_frame_up_to_the_margin() -> None:
    drawing = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    drawing.paste((200, 100, 50, 255), (10, 40, 50, 60))  # 40 wide, 20 high, off centre
    colour, ink = rendition(drawing), sketch(drawing)
    assert colour.shape == (SIDE, SIDE, 3)
    assert ink.shape == (SIDE, SIDE)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (18, 45, 4, 59)
    assert colour[32, 32].tolist() == [200, 100, 50]
    assert ink[32, 32] == 255


def test_black_ink_is_no_rendition_on_black() -> None:
    with pytest.raises(GcbenchError, match="nothing of the icon shows"):
        rendition(Image.new("RGBA", (10, 10), (0, 0, 0, 255)))


def test_a_set_without_an_open_licence_is_refused(tmp_path: Path) -> None:
    info = {"license": {"title": "Commercial"}, "author": {"name": "A"}}
    (tmp_path / "info.json").write_text(json.dumps(info))
    (tmp_path / "icons.json").write_text(json.dumps({"prefix": "a", "icons": {}}))
    (tmp_path / "package.json").write_text(json.dumps({"name": "a", "version": "1"}))
    with pytest.raises(GcbenchError, match="licence 'unknown'"):
        read_iconify(tmp_path)


def test_an_icon_that_the_set_lacks_is_named() -> None:
    empty = IconSet("a", "pack", "1.0", "MIT", "", "", "", drawings={})
    with pytest.raises(GcbenchError, match=r"pack 1\.0 has no icon 'shirt'"):
        empty.draw("shirt")


def test_another_tarball_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    pin = Pin(set="a", package="@iconify-json/a", version="1.0", sha256="0" * 64)
    (tmp_path / pin.tarball).write_bytes(b"something else")
    with pytest.raises(GcbenchError, match=r"iconify-json-a-1\.0\.tgz has sha256"):
        unpack(pin, tmp_path)


@pytest.fixture
def idx_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small stand-ins, registered as the files to look for."""
    files = {name: name.encode() for name in fetch.SHA256}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(fetch, "SHA256", digests)
    monkeypatch.setattr(fetch, "DEBIAN_FOLDER", Path("no/such/folder"))
    return files


def test_plain_and_gzipped_files_are_found_in_subfolders(
    tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    source = tmp_path / "given" / "deep"
    source.mkdir(parents=True)
    for index, (name, content) in enumerate(idx_files.items()):
        if index % 2:
            (source / name).write_bytes(content)
        else:
            (source / f"{name}.gz").write_bytes(gzip.compress(content))
    folder = find_fashion_mnist(tmp_path / "given", tmp_path / "data")
    assert folder == tmp_path / "data" / "fashion-mnist"
    for name, content in idx_files.items():
        assert gzip.decompress((folder / f"{name}.gz").read_bytes()) == content
    assert len(list(folder.iterdir())) == 4
    # What was found once is found again without naming the folder.
    assert find_fashion_mnist(None, tmp_path / "data") == folder


def test_a_damaged_file_is_refused(tmp_path: Path, idx_files: dict[str, bytes]) -> None:
    for name, content in idx_files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"other")
    with pytest.raises(GcbenchError, match="is not Fashion-MNIST's t10k-labels-idx1-ubyte"):
        find_fashion_mnist(tmp_path, tmp_path / "data")


def test_a_cut_gzip_file_is_refused(tmp_path: Path, idx_files: dict[str, bytes]) -> None:
    for name, content in idx_files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(GcbenchError, match="cannot be read"):
        find_fashion_mnist(tmp_path, tmp_path / "data")


def test_a_folder_without_the_files_is_refused(tmp_path: Path, idx_files: dict[str, bytes]) -> None:
    with pytest.raises(GcbenchError, match=r"holds no train-images-idx3-ubyte"):
        find_fashion_mnist(tmp_path, tmp_path / "data")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GcbenchError, match=r"no folder .*nowhere"):
        find_fashion_mnist(tmp_path / "nowhere", tmp_path / "data")


def test_what_is_in_the_given_folder_is_never_downloaded(
    tmp_path: Path, idx_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(scratch: Path) -> dict[str, Path]:
        raise AssertionError("tried to download")

    monkeypatch.setattr(fetch, "_download", refuse)
    with pytest.raises(GcbenchError, match="holds no"):
        find_fashion_mnist(tmp_path, tmp_path / "data")
    for name, content in idx_files.items():
        (tmp_path / name).write_bytes(content)
    assert find_fashion_mnist(tmp_path, tmp_path / "data").is_dir()


def test_a_failed_download_gives_the_reason_of_every_source(
    tmp_path: Path, idx_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(scratch: Path) -> Path:
        raise OSError("no route to the mirror")

    monkeypatch.setattr(fetch, "_from_debian", fail)
    monkeypatch.setattr(fetch, "_from_torchvision", fail)
    with pytest.raises(GcbenchError, match=r"no route to the mirror; no route to the mirror"):
        find_fashion_mnist(None, tmp_path / "data")
