"""The ImageNet sets: labels by folder name, the same samples from any layout, broken sets named."""

import shutil
import socket
import tarfile
from importlib import resources

import numpy as np
import pytest
from PIL import Image
from trees import jpeg, pack, write, write_classes, write_imagenet

from gcbench._plugins.benchmarks import imagenet
from gcbench._plugins.benchmarks._imagenet_files import class_list, readable_labels
from gcbench.corruptions import gaussian_noise, jpeg_compression
from gcbench.errors import GcbenchError
from gcbench.preprocess import centre_crop, to_tensor, var_validation_transform

FAMILY = imagenet.ImageNet()
WNIDS = class_list("imagenet")


@pytest.fixture(autouse=True)
def no_config_and_no_hub_cache(tmp_path, monkeypatch):
    """A user's own data must not answer for the tests'."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(imagenet, "cached_snapshot", lambda repository: None)


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    write_imagenet(folder)
    return folder


def load(name, root):
    return FAMILY.load(name, root)


def contents(benchmark):
    return [(s.id, s.label, s.load().tobytes()) for s in benchmark.samples]


# Labels


@pytest.mark.parametrize("name", ["in-val", "in-r", "in-s", "in-a", "in-c-gauss", "in-c-jpeg"])
def test_labels_are_positions_among_the_thousand_sorted_wnids(root, name):
    benchmark = load(name, root)
    assert benchmark.suite == "imagenet"
    assert len(benchmark.label_space) == 1000
    assert all(WNIDS[s.label] == s.id.split("/")[0] for s in benchmark.samples)
    assert [s.id for s in benchmark.samples] == sorted(s.id for s in benchmark.samples)


def test_candidate_classes_are_those_that_have_images(root):
    r = class_list("imagenet_r")[:4]
    assert load("in-r", root).classes == tuple(WNIDS.index(wnid) for wnid in r) == (1, 2, 4, 6)
    assert load("in-val", root).classes == (0, 1, 2, 3)


def test_complete_r_and_a_are_200_way_problems_with_known_indices(tmp_path):
    for name, folder, listed in (("in-r", "imagenet-r", "r"), ("in-a", "imagenet-a", "a")):
        wnids = class_list(f"imagenet_{listed}")
        write_classes(tmp_path / folder, wnids, ["x.jpg"])
        info = resources.files("timm") / "data" / "_info" / f"imagenet_{listed}_indices.txt"
        assert load(name, tmp_path).classes == tuple(sorted(map(int, info.read_text().split())))


def test_readable_labels_are_unique():
    labels = readable_labels()
    assert (labels[0], len(set(labels))) == ("tench, Tinca tinca", 1000)
    assert [label for label in labels if "(n" in label][:2] == [
        "crane (n02012849)",
        "crane (n03126707)",
    ]


def test_a_file_name_that_speaks_of_another_class_is_not_the_label(root):
    sample = load("in-a", root).samples[0]
    assert "bee" in sample.id
    assert WNIDS[sample.label] == class_list("imagenet_a")[0]


# Layouts


@pytest.mark.parametrize("packed", ["imagenet-r.tar", "imagenet-r.zip"])
def test_archive_gives_the_samples_digest_and_pixels_of_the_folder(root, tmp_path, packed):
    pack(root / "imagenet-r", tmp_path / packed, wrapped="imagenet-r")
    one, other = load("in-r", root), load("in-r", tmp_path)
    assert one.digest == other.digest
    assert contents(one) == contents(other)


def write_flat(root, tmp_path, devkit):
    """The validation images of `root` without class folders, and the devkit that labels them."""
    from scipy.io import savemat

    ids = [(31 * i) % 1000 + 1 for i in range(1000)]  # ILSVRC ids are not in the order of wnids
    leaves = list(zip(ids, WNIDS, [0] * 1000, strict=True))
    synsets = np.array(
        [*leaves, (1001, "n00001740", 2)],
        dtype=[("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("num_children", "f8")],
    )
    truth = [1] * 1000
    for number, label in ((3, 5), (17, 0), (293, 999), (1000, 5)):
        truth[number - 1] = ids[label]
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        write(tmp_path / "flat" / name, jpeg(name))
        write(tmp_path / "classes/imagenet/val" / WNIDS[label] / name, jpeg(name))
    for wnid in WNIDS:
        (tmp_path / "classes/imagenet/val" / wnid).mkdir(exist_ok=True)
    write(tmp_path / "flat" / "notes.txt", "no image")
    data = tmp_path / "kit/ILSVRC2012_devkit_t12/data"
    write(data / "ILSVRC2012_validation_ground_truth.txt", "\n".join(map(str, truth)) + "\n")
    savemat(data / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    if devkit.endswith(".gz"):
        with tarfile.open(root / devkit, "w:gz") as kit:
            kit.add(data.parent, "ILSVRC2012_devkit_t12")
    else:
        shutil.copytree(data.parent, root / devkit)


@pytest.mark.parametrize("images", ["imagenet/val", "ILSVRC2012_img_val.tar"])
@pytest.mark.parametrize("devkit", ["ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12.tar.gz"])
def test_flat_validation_images_get_the_labels_of_the_class_folders(tmp_path, images, devkit):
    root = tmp_path / "root"
    root.mkdir()
    write_flat(root, tmp_path, devkit)
    if images.endswith(".tar"):
        pack(tmp_path / "flat", root / images)
    else:
        shutil.copytree(tmp_path / "flat", root / images)
    flat, folders = load("in-val", root), load("in-val", tmp_path / "classes")
    assert flat.classes == (0, 5, 999)
    assert flat.digest == folders.digest
    assert contents(flat) == contents(folders)


def test_flat_images_without_the_devkit_say_what_is_missing(tmp_path):
    write(tmp_path / "imagenet/val/ILSVRC2012_val_00000001.JPEG", jpeg(1))
    with pytest.raises(GcbenchError, match=r"neither ILSVRC2012_devkit_t12 \(folder"):
        load("in-val", tmp_path)


def write_kaggle(root, rows):
    lines = [f"{image},{boxes}" for image, boxes in rows]
    write(root / "LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *lines, ""]))


def test_kaggles_table_gives_the_labels_of_the_class_folders(tmp_path):
    kit, root = tmp_path / "kit", tmp_path / "kaggle"
    kit.mkdir()
    write_flat(kit, tmp_path, "ILSVRC2012_devkit_t12.tar.gz")
    shutil.copytree(tmp_path / "flat", root / "ILSVRC/Data/CLS-LOC/val")
    folders = load("in-val", tmp_path / "classes")
    boxes = "{} 10 20 30 40 {} 1 2 3 4 "
    labels = [s.id.removesuffix(".JPEG").split("/") for s in folders.samples]
    write_kaggle(root, [(image, boxes.format(wnid, wnid)) for wnid, image in labels[::-1]])
    kaggle = load("in-val", root)
    assert kaggle.digest == folders.digest
    assert contents(kaggle) == contents(folders)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("ILSVRC2012_val_00000001", "bee 1 2 3 4"), "line 2, column 'PredictionString'"),
        (("ILSVRC2012_val_1", f"{WNIDS[0]} 1 2 3 4"), "line 2, column 'ImageId'"),
        (("ILSVRC2012_val_00000002", f"{WNIDS[0]} 1 2 3 4"), "has no label: 1 images have one"),
    ],
)
def test_broken_row_of_kaggles_table_is_named(tmp_path, row, problem):
    write(tmp_path / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG", jpeg(1))
    write_kaggle(tmp_path, [row])
    with pytest.raises(GcbenchError, match=problem):
        load("in-val", tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "no meta", "other truth", "no mat"])
def test_damaged_devkit_is_named(tmp_path, damage):
    root = tmp_path / "root"
    root.mkdir()
    kit = "ILSVRC2012_devkit_t12.tar.gz" if damage == "truncated" else "ILSVRC2012_devkit_t12"
    write_flat(root, tmp_path, kit)
    pack(tmp_path / "flat", root / "ILSVRC2012_img_val.tar")
    if damage == "truncated":
        (root / kit).write_bytes((root / kit).read_bytes()[:2000])
    elif damage == "no meta":
        (root / kit / "data/meta.mat").unlink()
    elif damage == "no mat":
        write(root / kit / "data/meta.mat", b"text")
    else:
        write(root / kit / "data/ILSVRC2012_validation_ground_truth.txt", "5\n4000\n")
    with pytest.raises(GcbenchError, match=f"{kit} cannot be read"):
        load("in-val", root)


def test_corruption_is_found_with_and_without_its_group_and_in_a_groups_tar(root, tmp_path):
    grouped = root / "imagenet-c/noise"
    expected = load("in-c-gauss", root)
    shutil.copytree(grouped, tmp_path / "plain/imagenet-c")
    (tmp_path / "tar/imagenet-c").mkdir(parents=True)
    pack(grouped, tmp_path / "tar/imagenet-c/noise.tar")
    (tmp_path / "wrapped/imagenet-c").mkdir(parents=True)
    pack(grouped, tmp_path / "wrapped/imagenet-c/noise.tar", wrapped="noise")
    pack(root / "imagenet-c", tmp_path / "imagenet-c.zip")
    for place in ("plain", "tar", "wrapped", "."):
        found = load("in-c-gauss", tmp_path / place)
        assert found.digest == expected.digest
        assert found.samples_digest == expected.samples_digest
        assert found.samples[-1].load().tobytes() == expected.samples[-1].load().tobytes()


def test_every_corruption_and_severity_has_a_name(tmp_path):
    assert len(imagenet.GROUP_OF) == 19
    write_classes(tmp_path / "imagenet-c/weather/fog/5", WNIDS, ["a.JPEG"], WNIDS[:1], side=224)
    assert len(load("in-c:fog:5", tmp_path)) == 1
    with pytest.raises(GcbenchError, match=r"holds no fog/4 .*weather\.tar"):
        load("in-c:fog:4", tmp_path)


def test_short_corruption_name_stands_for_severity_three(root):
    short, full = load("in-c-gauss", root), load("in-c:gaussian_noise:3", root)
    assert (short.digest, short.name) == (full.digest, "in-c-gauss")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("in-c:fgo:3", "did you mean 'fog'"),
        ("in-c:", "unknown corruption"),
        ("in-c:fog", "got severity '', expected 1 to 5"),
        ("in-c:fog:6", "got severity '6', expected 1 to 5"),
        ("in-c:fog:3:x", "expected 1 to 5"),
    ],
)
def test_unknown_corruption_or_severity_suggests_a_name(root, name, problem):
    assert FAMILY.accepts(name)
    with pytest.raises(GcbenchError, match=problem):
        load(name, root)


@pytest.mark.parametrize("name", ["in-c-fog", "in-v2", "in-val:computed", "in-c"])
def test_other_names_are_not_claimed(name):
    assert not FAMILY.accepts(name)


# Broken sets


def rename(folder, old, new):
    (folder / old).rename(folder / new)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: shutil.rmtree(f / WNIDS[7]), f"class folder {WNIDS[7]} is missing .one of 1"),
        (lambda f: (f / "n99999999").mkdir(), "'n99999999' does not belong there"),
        (lambda f: rename(f, WNIDS[0], "tench"), "n01440764 is missing.*'tench'.*renamed"),
    ],
)
def test_missing_extra_or_renamed_class_folder_is_named(tmp_path, change, problem):
    val = tmp_path / "imagenet/val"
    write_classes(val, WNIDS, ["a.JPEG"], WNIDS[:1])
    change(val)
    with pytest.raises(GcbenchError, match=problem) as caught:
        load("in-val", tmp_path)
    assert "imagenet/val" in str(caught.value)


def test_folder_of_readable_class_names_is_refused(tmp_path):
    write(tmp_path / "imagenet-r/goldfish/a.jpg", jpeg(1))
    with pytest.raises(GcbenchError, match=r"no class folders \(as n01443537\)"):
        load("in-r", tmp_path)


def test_r_in_the_place_of_a_is_refused(tmp_path):
    write_classes(tmp_path / "imagenet-a", class_list("imagenet_r"), ["a.jpg"], ())
    with pytest.raises(GcbenchError, match=r"one of 114.*; class folder .*one of 114"):
        load("in-a", tmp_path)


def test_missing_set_names_the_places_and_how_to_get_it(tmp_path):
    with pytest.raises(GcbenchError, match=r"in-s was not found.*imagenet-sketch.*HaohanWang"):
        load("in-s", tmp_path)


def test_set_without_a_single_image_is_refused(tmp_path):
    write_classes(tmp_path / "imagenet-r", class_list("imagenet_r"), ["a.jpg"], ())
    with pytest.raises(GcbenchError, match="holds no images"):
        load("in-r", tmp_path)


def test_unreadable_image_is_an_os_error_with_its_path(tmp_path):
    write_classes(tmp_path / "imagenet-r", class_list("imagenet_r"), ["a.jpg"], ())
    bad = tmp_path / "imagenet-r/n01443537/bad.JPEG"
    write(bad, "404: not found")
    (sample,) = load("in-r", tmp_path).samples
    with pytest.raises(OSError, match=f"{bad} cannot be decoded"):
        sample.load()
    bad.unlink()
    with pytest.raises(OSError, match=r"bad\.JPEG"):
        sample.load()


# Crops


def test_published_corruptions_are_marked_as_cropped_and_clean_images_are_not(root):
    assert load("in-c-jpeg", root).samples[0].load().info["precropped"] == 224
    assert load("in-c-gauss:computed", root).samples[0].load().info["precropped"] == 224
    assert "precropped" not in load("in-val", root).samples[0].load().info


def test_adm_crop_keeps_the_whole_of_a_square_image():
    """So the methods that use it need no special handling of ImageNet-C: nothing is cut off."""
    square = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    expected = square.resize((256, 256), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(centre_crop(square, 256)), np.asarray(expected))


def test_var_transform_scales_a_cropped_image_as_a_whole():
    square = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    whole = to_tensor(square.resize((256, 256), Image.Resampling.LANCZOS))
    enlarged = to_tensor(square.resize((288, 288), Image.Resampling.LANCZOS))
    cropped = var_validation_transform(square, 256)
    assert (cropped == enlarged[:, 16:272, 16:272]).all()
    assert (cropped - whole).abs().max() > 0.1
    square.info["precropped"] = 224
    assert (var_validation_transform(square, 256) == whole).all()


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (100, 301), (1023, 768)])
def test_central_square_is_torchvisions_resize_and_crop(size):
    from torchvision.transforms import CenterCrop, Compose, Resize

    width, height = size
    rng = np.random.default_rng(width)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    expected = Compose([Resize(256), CenterCrop(224)])(image)
    np.testing.assert_array_equal(np.asarray(imagenet.central_square(image)), np.asarray(expected))


def test_computed_corruption_has_a_name_and_digest_of_its_own(root):
    computed, clean = load("in-c-gauss:computed", root), load("in-val", root)
    assert computed.name == "in-c-gauss:computed"
    assert computed.samples_digest == clean.samples_digest
    digests = {load(n, root).digest for n in ("in-val", "in-c-gauss", "in-c-jpeg:computed")}
    assert computed.digest not in digests


def test_computed_corruption_is_that_of_the_central_square(root):
    clean = load("in-val", root).samples[5]
    square = np.asarray(imagenet.central_square(clean.load()))
    for name, expected in (
        ("in-c-gauss:computed", gaussian_noise(square, 3, clean.id)),
        ("in-c-jpeg:computed", jpeg_compression(square, 3)),
    ):
        sample = load(name, root).samples[5]
        assert sample.id == clean.id
        np.testing.assert_array_equal(np.asarray(sample.load()), expected)


# Subsets


def test_official_subset_takes_the_first_two_of_each_class(root):
    chosen = load("in-val", root).choose("official-2k")
    assert [s.id.split("_")[-1] for s in chosen.samples] == ["00000003.JPEG", "00000017.JPEG"] * 4
    r = load("in-r", root).choose("official-2k")
    assert {s.id.split("/")[1] for s in r.samples} == {"art_0.jpg", "art_1.jpg"}


# The whole path


def test_a_run_records_the_unreadable_image_with_its_path_and_scores_the_rest(run_grey, tmp_path):
    r = class_list("imagenet_r")
    write_classes(tmp_path / "imagenet-r", r, ["a.jpg", "b.jpg"], r[:3])
    bad = tmp_path / "imagenet-r" / r[1] / "b.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    run = run_grey(load("in-r", tmp_path).choose("official-2k"))
    coverage = run.summary["coverage"]
    assert (coverage["scored"], coverage["total"]) == (5, 6)
    assert f"{bad} cannot be decoded" in coverage["failures"][f"{r[1]}/b.jpg"]
    assert run.spec["subset"] == "official-2k"
    assert run.spec["sample_ids"] == [f"{wnid}/{file}.jpg" for wnid in r[:3] for file in "ab"]


def test_folder_and_archive_give_the_same_scores(run_grey, root, tmp_path):
    pack(root / "imagenet-a", tmp_path / "imagenet-a.zip", wrapped="imagenet-a")
    one, other = run_grey(load("in-a", root), "a"), run_grey(load("in-a", tmp_path), "b")
    assert one.summary["scores_digest"] == other.summary["scores_digest"]
    assert one.name == other.name


def test_the_suite_runs_from_the_command_line_without_a_socket(gcbench, tmp_path, monkeypatch):
    """All six benchmarks with a discriminative model; one image is damaged, so it exits with 3."""
    import timm
    import torch
    from safetensors.torch import save_file

    def refuse(*arguments):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "model.safetensors")
    write_imagenet(tmp_path)
    damaged = tmp_path / "imagenet-sketch/sketch" / WNIDS[2] / "sketch_11.JPEG"
    damaged.write_bytes(b"404: not found")
    done = gcbench(
        *("run", "--method", "timm:test_resnet", "--checkpoint", tmp_path / "model.safetensors"),
        *("--bench", "suite:imagenet", "--subset", "official-2k", "--device", "cpu"),
        *("--data-root", tmp_path, "--results", tmp_path / "results"),
    )
    assert done.exit_code == 3, done.output
    for name in FAMILY.names:
        assert f"{name} (official-2k): accuracy " in done.output
    assert f"PARTIAL: 1 unreadable, first {WNIDS[2]}/sketch_11.JPEG" in done.output
