"""Hugging Face data sets on this machine: the samples of the folder, by name and never by guess."""

import io
import socket

import pytest
from PIL import Image
from trees import jpeg, png, write, write_camelyon17, write_celeba

from gcbench._plugins.benchmarks import _wilds, imagenet
from gcbench._plugins.benchmarks._imagenet_files import class_list
from gcbench.errors import GcbenchError

datasets = pytest.importorskip("datasets")

FAMILY = imagenet.ImageNet()
WNIDS = class_list("imagenet")


@pytest.fixture(autouse=True)
def nothing_but_the_tests_own_data(tmp_path, monkeypatch):
    """No config, no cache of the hub, no network."""

    def refuse(*arguments):
        raise AssertionError("a socket was opened")

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(imagenet, "cached_snapshot", lambda repository: None)
    monkeypatch.setattr(_wilds, "cached_snapshot", lambda repository: None)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def load(name, root):
    return FAMILY.load(name, root)


def contents(benchmark):
    return [(s.id, s.label, dict(s.groups), s.load().tobytes()) for s in benchmark.samples]


def hub_set(columns, features=None):
    """A data set whose column `image` holds encoded images under the names of `path`."""
    images = zip(columns["image"], columns.pop("path"), strict=True)
    columns["image"] = [{"bytes": image, "path": path} for image, path in images]
    features = datasets.Features({"image": datasets.Image(), **(features or {})})
    return datasets.Dataset.from_dict(columns, features=features)


# ImageNet


def r_rows():
    """ImageNet-R's classes in another order, one row each, as (wnid, file name, bytes)."""
    wnids = class_list("imagenet_r")[::-1]
    return [(wnid, f"art_{i}.jpg", jpeg(wnid)) for i, wnid in enumerate(wnids)]


def test_hub_set_with_a_wnid_column_gives_the_samples_of_the_folder(tmp_path):
    text = datasets.Value("string")
    rows = r_rows()
    for wnid, file, content in rows:
        write(tmp_path / "folders/imagenet-r" / wnid / file, content)
    wnids, files, images = zip(*rows, strict=True)
    columns = {"image": list(images), "path": list(files), "wnid": list(wnids)}
    data = hub_set(columns, {"wnid": text})
    datasets.DatasetDict({"test": data}).save_to_disk(str(tmp_path / "hub/imagenet-r"))
    hub, folders = load("in-r", tmp_path / "hub"), load("in-r", tmp_path / "folders")
    assert contents(hub) == contents(folders)
    assert hub.samples_digest == folders.samples_digest
    assert hub.classes == folders.classes


def test_hub_class_names_that_are_wnids_are_mapped_by_name(tmp_path):
    wnids = class_list("imagenet_a")
    shuffled = [*wnids[100:], *wnids[:100]]
    columns = {
        "image": [jpeg(w) for w in shuffled],
        "path": [None] * 200,
        "label": list(range(200)),
    }
    data = hub_set(columns, {"label": datasets.ClassLabel(names=shuffled)})
    data.to_parquet(tmp_path / "imagenet-a/data/train-00000-of-00001.parquet")
    benchmark = load("in-a", tmp_path)
    assert len(benchmark) == 200
    for sample in benchmark.samples:
        wnid, row = sample.id.split("/")
        assert WNIDS[sample.label] == wnid
        assert shuffled[int(row.removeprefix("row-"))] == wnid
        expected = Image.open(io.BytesIO(jpeg(wnid))).convert("RGB")
        assert sample.load().tobytes() == expected.tobytes()


def test_hub_validation_images_get_the_ids_of_the_folder(tmp_path):
    names = [f"name {i}" for i in range(1000)]
    columns = {
        "image": [jpeg(w) for w in WNIDS],
        "path": [f"ILSVRC2012_val_{i:08d}_{w}.JPEG" for i, w in enumerate(WNIDS, 1)],
        "label": list(range(1000)),
    }
    data = hub_set(columns, {"label": datasets.ClassLabel(names=names)})
    data.to_parquet(tmp_path / "imagenet-1k/data/validation-00000-of-00001.parquet")
    benchmark = load("in-val", tmp_path)
    assert benchmark.samples[5].id == f"{WNIDS[5]}/ILSVRC2012_val_00000006.JPEG"
    assert benchmark.classes == tuple(range(1000))


def test_hub_set_whose_integers_are_not_explained_is_refused(tmp_path):
    columns = {"image": [jpeg(1)], "path": [None], "label": [3]}
    data = hub_set(columns, {"label": datasets.Value("int64")})
    data.save_to_disk(str(tmp_path / "imagenet-a"))
    with pytest.raises(GcbenchError, match="does not say which class a row is; its columns"):
        load("in-a", tmp_path)


def test_damaged_hub_set_is_named(tmp_path):
    write(tmp_path / "imagenet-a/data/train-00000-of-00001.parquet", "no parquet")
    with pytest.raises(GcbenchError, match="imagenet-a cannot be read as a Hugging Face data set"):
        load("in-a", tmp_path)
    write(tmp_path / "imagenet-r/state.json", "{")
    with pytest.raises(GcbenchError, match="imagenet-r cannot be read as a Hugging Face data set"):
        load("in-r", tmp_path)


def test_hub_set_without_the_wanted_split_is_refused(tmp_path):
    data = hub_set({"image": [jpeg(1)], "path": [None]})
    datasets.DatasetDict({"train": data}).save_to_disk(str(tmp_path / "imagenet-1k"))
    with pytest.raises(GcbenchError, match="has the splits train, expected validation or val"):
        load("in-val", tmp_path)


def test_hub_set_that_is_a_script_is_refused_with_the_way_by_folder(tmp_path):
    write(tmp_path / "imagenet-sketch/imagenet_sketch.py", "raise SystemExit('I was run')")
    with pytest.raises(GcbenchError, match=r"loading script \(imagenet_sketch\.py\).*folders, tar"):
        load("in-s", tmp_path)


def test_hub_set_in_the_local_cache_is_the_last_place(tmp_path, monkeypatch):
    rows = r_rows()
    wnids, files, images = zip(*rows, strict=True)
    columns = {"image": list(images), "path": list(files), "wnid": list(wnids)}
    snapshot = tmp_path / "cached"
    hub_set(columns, {"wnid": datasets.Value("string")}).to_parquet(
        snapshot / "test-00000-of-00001.parquet"
    )
    places = {"axiong/imagenet-r": snapshot}
    monkeypatch.setattr(imagenet, "cached_snapshot", places.get)
    assert FAMILY.locate("in-r", tmp_path) == str(snapshot)
    assert len(load("in-r", tmp_path)) == 200


def test_no_snapshot_in_an_empty_cache_and_no_socket(tmp_path, monkeypatch):
    from huggingface_hub import constants

    from gcbench.sources.hub import cached_snapshot

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert cached_snapshot("axiong/imagenet-r") is None


# ImageNet-C


def corrupted_set(side=224):
    """Four classes of ImageNet-C as the hub has them: class names of ImageNet-1K, one split."""
    columns = {
        "image": [jpeg("c", w, side=side) for w in WNIDS],
        "path": [None] * 1000,
        "label": list(range(1000)),
    }
    names = datasets.ClassLabel(names=[f"name {i}" for i in range(1000)])
    return hub_set(columns, {"label": names})


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("in-c-gauss", "ImageNet-C-gaussian_noise-severity_3"),
        ("in-c:fog:1", "ImageNet-C-fog-severity_1"),
    ],
)
def test_corruption_on_the_hub_is_found_by_its_own_name_and_never_cropped(tmp_path, name, folder):
    corrupted_set(side=16).to_parquet(tmp_path / folder / "data/validation-00000-of-00001.parquet")
    benchmark = load(name, tmp_path)
    assert benchmark.classes == tuple(range(1000))
    assert benchmark.shortfall == "the complete set has 50,000 images"
    with pytest.raises(OSError, match="row 0 is 16 x 16, expected 224 x 224"):
        benchmark.samples[0].load()
    with pytest.raises(GcbenchError, match=r"in-c was not found.*gcbench fetch in-c-jpeg, or get"):
        load("in-c-jpeg", tmp_path)


def test_image_of_the_hubs_imagenet_c_is_marked_as_cropped(tmp_path):
    corrupted_set().select(range(1000)).save_to_disk(
        str(tmp_path / "ImageNet-C-jpeg_compression-severity_3")
    )
    image = load("in-c-jpeg", tmp_path).samples[0].load()
    assert (image.size, image.info["precropped"]) == ((224, 224), 224)


def test_corruption_in_the_local_cache_is_the_last_place(tmp_path, monkeypatch):
    corrupted_set(side=16).to_parquet(tmp_path / "cached/data/validation-0.parquet")
    places = {"Tsomaros/ImageNet-C-gaussian_noise-severity_3": tmp_path / "cached"}
    monkeypatch.setattr(imagenet, "cached_snapshot", places.get)
    assert FAMILY.locate("in-c-gauss", tmp_path) == str(tmp_path / "cached")


# WILDS


def image_files(folder, ids):
    return {
        "image": [(folder / i).read_bytes() for i in ids],
        "path": [i.split("/")[-1] for i in ids],
    }


@pytest.mark.parametrize("name", ["camelyon17-id", "camelyon17-ood"])
def test_camelyons_copy_gives_the_samples_of_the_folder(registry, tmp_path, name):
    """The copy's validation split holds both of WILDS's; its centers tell them apart."""
    from trees import CAMELYON17_ROWS

    folder = write_camelyon17(tmp_path / "folder")
    rows = {"validation": CAMELYON17_ROWS[1:4], "test": CAMELYON17_ROWS[4:]}
    copy = {}
    for split, members in rows.items():
        patient, node, x, y, tumor, slide, center, _ = zip(*members, strict=True)
        cases = [f"patient_{p}_node_{n}" for p, n in zip(patient, node, strict=True)]
        ids = [
            f"patches/{case}/patch_{case}_x_{a}_y_{b}.png"
            for case, a, b in zip(cases, x, y, strict=True)
        ]
        columns = {**image_files(folder, ids), "label": tumor, "center": center, "slide": slide}
        integer = datasets.Value("int64")
        label = datasets.ClassLabel(names=["0", "1"])
        copy[split] = hub_set(columns, {"label": label, "center": integer, "slide": integer})
    datasets.DatasetDict(copy).save_to_disk(str(tmp_path / "hub/Camelyon17-WILDS"))
    hub = registry.benchmark(name, tmp_path / "hub")
    expected = registry.benchmark(name, tmp_path / "folder")
    assert contents(hub) == contents(expected)
    assert hub.samples_digest == expected.samples_digest
    assert hub.metric == expected.metric


@pytest.mark.parametrize(
    ("columns", "negative"),
    [(("Blond_Hair", "Male"), -1), (("Blond_Hair", "Male"), 0), (("y", "male"), 0)],
)
def test_celebas_copy_gives_the_samples_of_the_folder(registry, tmp_path, columns, negative):
    folder = write_celeba(tmp_path / "folder")
    expected = registry.benchmark("celeba", tmp_path / "folder")
    values = [(s.label, int(s.groups["male"])) for s in expected.samples]
    blond, male = ([v or negative for v in value] for value in zip(*values, strict=True))
    integer = datasets.Value("int64")
    data = hub_set(
        {
            **image_files(folder, [s.id for s in expected.samples]),
            columns[0]: blond,
            columns[1]: male,
        },
        dict.fromkeys(columns, integer),
    )
    data.to_parquet(tmp_path / "hub/celeba-wilds/data/test-00000-of-00001.parquet")
    hub = registry.benchmark("celeba", tmp_path / "hub")
    assert contents(hub) == contents(expected)
    assert hub.samples_digest == expected.samples_digest
    assert hub.metric.name == "worst male x y"


def test_rows_without_file_names_are_numbered(registry, tmp_path):
    columns = {"image": [png(i) for i in range(3)], "path": [None] * 3, "label": [1, 0, 1]}
    integer = datasets.Value("int64")
    data = hub_set({**columns, "center": [2, 1, 2]}, {"label": integer, "center": integer})
    data.to_parquet(tmp_path / "camelyon17/test-0.parquet")
    benchmark = registry.benchmark("camelyon17-ood", tmp_path)
    assert [(s.id, s.label) for s in benchmark.samples] == [
        ("row-00000000", 1),
        ("row-00000002", 1),
    ]
    assert benchmark.groups == {"hospital": ["2", "2"]}


@pytest.mark.parametrize(
    ("label", "center", "problem"),
    [
        ([1, 2], [2, 2], "row 1, column 'label': got '2', expected one of 0, 1"),
        ([1, 0], [2, 5], "row 1, column 'center': got '5', expected one of 0, 1, 2, 3, 4"),
        ([1, 0], [1, 1], "holds no image of this split"),
        ([1, 0], None, "has no column 'center' or 'hospital'; it has image, label"),
    ],
)
def test_rows_that_are_not_wildss_are_named(registry, tmp_path, label, center, problem):
    columns = {"image": [png(1), png(2)], "path": [None] * 2, "label": label}
    columns |= {} if center is None else {"center": center}
    features = {name: datasets.Value("int64") for name in columns if name not in ("image", "path")}
    hub_set(columns, features).to_parquet(tmp_path / "camelyon17/test-0.parquet")
    with pytest.raises(GcbenchError, match=problem):
        registry.benchmark("camelyon17-ood", tmp_path)


def test_class_names_that_are_no_numbers_are_not_guessed_at(registry, tmp_path):
    columns = {"image": [png(1)], "path": [None], "label": [1], "center": [2]}
    label = datasets.ClassLabel(names=["tumor", "normal"])
    data = hub_set(columns, {"label": label, "center": datasets.Value("int64")})
    data.to_parquet(tmp_path / "camelyon17/test-0.parquet")
    with pytest.raises(GcbenchError, match="column 'label': got 'normal', expected one of 0, 1"):
        registry.benchmark("camelyon17-ood", tmp_path)


@pytest.mark.parametrize("name", ["camelyon17-id", "celeba"])
def test_wilds_copy_that_is_a_script_is_refused_with_the_way_by_folder(registry, tmp_path, name):
    write(tmp_path / name.split("-")[0] / "load.py", "raise SystemExit('I was run')")
    write(tmp_path / "celebA" / "load.py", "raise SystemExit('I was run')")
    with pytest.raises(GcbenchError, match=r"loading script \(load\.py\).*class folders"):
        registry.benchmark(name, tmp_path)


def test_fmow_has_no_copy_that_names_its_groups(registry, tmp_path):
    hub_set({"image": [png(1)], "path": [None]}).to_parquet(tmp_path / "fmow/test-0.parquet")
    with pytest.raises(GcbenchError, match=r"no copy of fmow is known.*wilds\.get_dataset"):
        registry.benchmark("fmow-ood", tmp_path)


def test_wilds_copy_in_the_local_cache_is_the_last_place(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(_wilds, "cached_snapshot", {"pietrolesci/celeba-wilds": tmp_path}.get)
    (family,) = (f for f in registry.families if "celeba" in f.names)
    assert family.locate("celeba", tmp_path / "none") == str(tmp_path)


def test_fetch_asks_the_hub_for_the_split_of_the_benchmark(registry, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(_wilds, "fetch_data_set", lambda *a: asked.append(a[:3]) or a[2])
    from gcbench.fetch import fetch

    for name in ("camelyon17-id", "camelyon17-ood", "celeba"):
        fetch(registry, name, data_root=tmp_path, echo=lambda line: None)
    camelyon = "wltjr1007/Camelyon17-WILDS"
    assert asked == [
        (camelyon, ("validation", "val"), tmp_path / "Camelyon17-WILDS"),
        (camelyon, ("test",), tmp_path / "Camelyon17-WILDS"),
        ("pietrolesci/celeba-wilds", ("test",), tmp_path / "celeba-wilds"),
    ]
    with pytest.raises(GcbenchError, match=r"fmow cannot be fetched|fmow-id cannot be fetched"):
        fetch(registry, "fmow-id", data_root=tmp_path, echo=lambda line: None)


def test_any_corruption_can_be_fetched_by_name(registry, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(imagenet, "fetch_data_set", lambda *a: asked.append(a[0]) or a[2])
    from gcbench.fetch import fetch

    fetch(registry, "in-c:fog:2", data_root=tmp_path, echo=lambda line: None)
    fetch(registry, "in-c-jpeg", data_root=tmp_path, echo=lambda line: None)
    assert asked == [
        "Tsomaros/ImageNet-C-fog-severity_2",
        "Tsomaros/ImageNet-C-jpeg_compression-severity_3",
    ]
    with pytest.raises(GcbenchError, match="corruption in in-c:frog:2"):
        fetch(registry, "in-c:frog:2", data_root=tmp_path, echo=lambda line: None)
