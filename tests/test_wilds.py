"""The WILDS sets: splits, labels and groups as their authors define them, broken tables named."""

import json
import shutil

import numpy as np
import pytest
from checkout import ROOT
from trees import pack, png, write, write_camelyon17, write_celeba, write_fmow

from gcbench.bench import Benchmark, LabelSpace, Metric, Sample
from gcbench.engine.summary import metrics
from gcbench.errors import GcbenchError
from gcbench.parity import run_parity
from gcbench.scores import Scores

GOLDEN = ROOT.parent / "shared" / "golden" / "wilds_metrics"
NAMES = ("camelyon17-id", "camelyon17-ood", "celeba", "fmow-id", "fmow-ood")


pytestmark = pytest.mark.usefixtures("no_config")


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wilds")
    for write_set in (write_camelyon17, write_celeba, write_fmow):
        write_set(folder)
    return folder


def contents(benchmark):
    return [(s.id, s.label, dict(s.groups), s.load().tobytes()) for s in benchmark.samples]


# Splits, labels, groups


def test_camelyon_splits_by_center_before_the_column_split(registry, root):
    held_out = registry.benchmark("camelyon17-ood", root)
    assert [(s.id, s.label, s.groups) for s in held_out.samples] == [
        (
            "patches/patient_040_node_3/patch_patient_040_node_3_x_15_y_16.png",
            1,
            {"hospital": "2", "slide": "20"},
        ),
        (
            "patches/patient_042_node_3/patch_patient_042_node_3_x_17_y_18.png",
            0,
            {"hospital": "2", "slide": "23"},
        ),
    ]
    known = registry.benchmark("camelyon17-id", root)
    assert [(s.id.split("/")[1], s.label) for s in known.samples] == [
        ("patient_004_node_4", 0),
        ("patient_010_node_2", 1),
    ]
    assert known.metric.name == held_out.metric.name == "accuracy"


def test_celeba_joins_its_two_tables_by_image(registry, root):
    benchmark = registry.benchmark("celeba", root)
    assert [(s.id, s.label, s.groups) for s in benchmark.samples] == [
        ("img_align_celeba/000002.jpg", 1, {"male": "0", "y": "1"}),
        ("img_align_celeba/000003.jpg", 0, {"male": "1", "y": "0"}),
        ("img_align_celeba/000005.jpg", 1, {"male": "1", "y": "1"}),
        ("img_align_celeba/000006.jpg", 0, {"male": "0", "y": "0"}),
    ]
    assert benchmark.label_space.labels == ("not blond", "blond")
    assert benchmark.metric.name == "worst male x y"


def test_fmow_splits_by_utc_year_and_numbers_images_by_row_of_the_whole_table(registry, root):
    later = registry.benchmark("fmow-ood", root)
    labels = later.label_space.labels
    assert [(s.id, labels[s.label], s.groups) for s in later.samples] == [
        ("images/rgb_img_5.png", "dam", {"region": "Africa", "year": "2016"}),
        ("images/rgb_img_6.png", "port", {"region": "Other", "year": "2016"}),
        ("images/rgb_img_8.png", "tower", {"region": "Other", "year": "2017"}),
    ]
    assert later.metric == Metric(("region",), ("Other",))
    known = registry.benchmark("fmow-id", root)
    assert [(s.id, labels[s.label]) for s in known.samples] == [("images/rgb_img_2.png", "zoo")]
    assert known.metric == Metric()


def test_fmow_has_sixty_two_classes_in_alphabetical_order(registry, root):
    labels = registry.benchmark("fmow-ood", root).label_space.labels
    assert len(labels) == len(set(labels)) == 62
    assert list(labels) == sorted(labels)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_those_of_their_ids(registry, root, name):
    folder = {"c": "camelyon17_v1.0", "e": "celebA_v1.0", "f": "fmow_v1.1"}
    key = "e" if name == "celeba" else name[0]
    for sample in registry.benchmark(name, root).samples:
        from PIL import Image

        with Image.open(root / folder[key] / sample.id) as expected:
            assert sample.load().tobytes() == expected.convert("RGB").tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archive_gives_the_samples_and_digest_of_the_folder(registry, root, tmp_path, name, kind):
    for folder in root.iterdir():
        pack(folder, tmp_path / f"{folder.name}.{kind}", wrapped=folder.name)
    one, other = registry.benchmark(name, root), registry.benchmark(name, tmp_path)
    assert one.digest == other.digest
    assert contents(one) == contents(other)


# Broken sets


@pytest.fixture
def copy(root, tmp_path):
    return shutil.copytree(root, tmp_path / "copy")


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "problem"),
    [
        ("camelyon17-id", "camelyon17_v1.0/metadata.csv", "3200", "3200.5", "line 3.*'x_coord'"),
        ("camelyon17-id", "camelyon17_v1.0/metadata.csv", ",3,1\n", ",3,7\n", "line 4.*'split'"),
        ("camelyon17-ood", "camelyon17_v1.0/metadata.csv", "tumor", "tumour", "column 'tumor'"),
        ("camelyon17-ood", "camelyon17_v1.0/metadata.csv", "20,2,0", "20,9,0", "line 6.*'center'"),
        ("celeba", "celebA_v1.0/list_attr_celeba.csv", "-1,1,-1,1", "-1,0,-1,1", "line 3.*'Blond"),
        ("celeba", "celebA_v1.0/list_attr_celeba.csv", "000005.jpg,-1", "000005.jpg", "line 6"),
        ("celeba", "celebA_v1.0/list_eval_partition.csv", "5.jpg", "7.jpg", "line 6.*000005.jpg"),
        ("fmow-ood", "fmow_v1.1/rgb_metadata.csv", "KEN,dam", "KEN,damm", "line 7.*'damm'"),
        ("fmow-ood", "fmow_v1.1/rgb_metadata.csv", "3,seq", "3,sec", "line 3, column 'split'"),
        (
            "fmow-id",
            "fmow_v1.1/rgb_metadata.csv",
            "2010-05-01T",
            "2010-13-01T",
            "line 2.*'timestamp'",
        ),
        ("fmow-id", "fmow_v1.1/rgb_metadata.csv", "10:00:00Z", "10:00:00", "with its zone"),
        ("fmow-id", "fmow_v1.1/country_code_mapping.csv", "alpha-3", "alpha3", "'alpha-3'"),
    ],
)
def test_broken_row_names_file_line_and_column(registry, copy, name, file, old, new, problem):
    edit(copy / file, old, new)
    with pytest.raises(GcbenchError, match=problem) as caught:
        registry.benchmark(name, copy)
    assert str(copy / file.split("/")[0]) in str(caught.value)
    assert file.split("/")[1] in str(caught.value)


def test_image_that_the_table_names_but_is_not_there_is_named(registry, copy):
    (copy / "fmow_v1.1/images/rgb_img_6.png").unlink()
    with pytest.raises(GcbenchError, match=r"rgb_img_6\.png does not exist.*1 of 3 images are mis"):
        registry.benchmark("fmow-ood", copy)


def test_folder_of_something_else_is_refused(registry, tmp_path):
    write(tmp_path / "celebA_v1.0/other/readme.txt", "not CelebA")
    with pytest.raises(GcbenchError, match=r"holds no list_attr_celeba\.csv"):
        registry.benchmark("celeba", tmp_path)


def test_table_without_a_row_of_the_split_is_refused(registry, copy):
    table = copy / "camelyon17_v1.0/metadata.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(GcbenchError, match="names no image of this split"):
        registry.benchmark("camelyon17-ood", copy)


@pytest.mark.parametrize("name", NAMES)
def test_missing_set_says_how_to_get_it(registry, tmp_path, name):
    with pytest.raises(GcbenchError, match=r"was not found.*wilds\.get_dataset"):
        registry.benchmark(name, tmp_path)


# Metrics


def scored(labels, predictions, groups, metric, classes):
    """Scores with these predictions, and the benchmark that they are about."""
    space = LabelSpace("space", tuple(f"class {c}" for c in range(classes)))
    samples = tuple(
        Sample(f"s{i}", int(y), lambda: None, {f: str(v[i]) for f, v in groups.items()})
        for i, y in enumerate(labels)
    )
    values = np.zeros((len(labels), 1, classes), np.float32)
    values[np.arange(len(labels)), 0, predictions] = 1
    ids = tuple(s.id for s in samples)
    benchmark = Benchmark("b", "t", space, tuple(range(classes)), samples, "digest", metric=metric)
    return Scores(ids, np.asarray(labels), np.arange(classes), values), benchmark


def test_metrics_by_hand():
    labels = [0, 0, 0, 0, 1, 1]
    predictions = [0, 0, 1, 1, 1, 0]
    region = ["Asia", "Asia", "Asia", "Other", "Europe", "Europe"]
    metric = Metric(("region",), ("Other",))
    got = metrics(*scored(labels, predictions, {"region": region}, metric, 2), "mean")
    assert got == {
        "at": "mean@1",
        "headline": {"name": "worst region", "value": 0.5},
        "top1": 0.5,
        "class_balanced": 0.5,
        "per_class": {"0": 0.5, "1": 0.5},
        "groups": {"region": {"Asia": pytest.approx(2 / 3), "Europe": 0.5, "Other": 0.0}},
    }


def test_headline_is_missing_and_not_invented_when_every_group_is_ignored():
    metric = Metric(("region",), ("Other",))
    got = metrics(*scored([0, 1], [0, 1], {"region": ["Other"] * 2}, metric, 2), "mean")
    assert got["headline"]["value"] is None
    assert got["top1"] == 1.0


def test_top5_is_given_for_more_than_five_classes():
    rng = np.random.default_rng(0)
    scores, benchmark = scored([0] * 50, [1] * 50, {}, Metric(), 7)
    scores.values[:] = rng.normal(size=scores.values.shape)
    better = (scores.values[:, 0] > scores.values[:, 0, :1]).sum(axis=1)
    assert metrics(scores, benchmark, "mean")["top5"] == (better < 5).mean()
    assert "top5" not in metrics(*scored([0], [0], {}, Metric(), 5), "mean")


def test_unreadable_samples_do_not_shift_the_groups():
    scores, benchmark = scored([0, 0, 1], [0, 1, 1], {"site": ["a", "b", "c"]}, Metric(), 2)
    kept = Scores(scores.sample_ids[1:], scores.labels[1:], scores.classes, scores.values[1:])
    assert metrics(kept, benchmark, "mean")["groups"] == {"site": {"b": 0.0, "c": 1.0}}


def test_nothing_scored_gives_no_metrics():
    scores, benchmark = scored([], [], {}, Metric(), 2)
    assert metrics(scores, benchmark, "mean") == {}


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the official numbers are not on this machine")
def test_metrics_equal_the_official_evaluation():
    from safetensors.numpy import load_file

    config = json.loads((GOLDEN / "config.json").read_text())
    io = load_file(GOLDEN / "io.safetensors")
    expected = config["results"]
    male, y = io["celeba.metadata"].T
    groups = {"male": male, "y": y}
    metric = Metric(("male", "y"))
    got = metrics(*scored(io["celeba.y"], io["celeba.pred"], groups, metric, 2), "mean")
    assert got["top1"] == pytest.approx(expected["celeba"]["acc_avg"], abs=1e-6)
    assert got["headline"]["value"] == pytest.approx(expected["celeba"]["acc_wg"], abs=1e-6)
    for group, share in got["groups"]["male x y"].items():
        name = "acc_y:{1}_male:{0}".format(*group.split(" x "))
        assert share == pytest.approx(expected["celeba"][name], abs=1e-6)
    region, year, _ = io["fmow.metadata"].T
    groups = {"region": [config["regions"][r] for r in region], "year": year + 2002}
    metric = Metric(("region",), ("Other",))
    got = metrics(*scored(io["fmow.y"], io["fmow.pred"], groups, metric, 62), "mean")
    assert got["top1"] == pytest.approx(expected["fmow"]["acc_avg"], abs=1e-6)
    worst = expected["fmow"]["acc_worst_region"]
    assert got["headline"]["value"] == pytest.approx(worst, abs=1e-6)
    worst = expected["fmow"]["acc_worst_year"]
    assert min(got["groups"]["year"].values()) == pytest.approx(worst, abs=1e-6)


@pytest.mark.parametrize("wrong", [None, "acc_wg", "acc_y:1_male:0", "acc_worst_region"])
def test_parity_passes_on_the_right_numbers_and_notices_a_wrong_one(tmp_path, wrong):
    from safetensors.numpy import save_file

    tensors = {
        "celeba.pred": [1, 0, 1, 0],
        "celeba.y": [1, 1, 0, 0],
        "celeba.metadata": [[0, 1], [0, 1], [1, 0], [1, 0]],
        "fmow.pred": [3, 4, 5],
        "fmow.y": [3, 4, 6],
        "fmow.metadata": [[0, 14, 3], [1, 14, 4], [1, 15, 6]],
    }
    results = {
        "celeba": {"acc_avg": 0.5, "acc_wg": 0.5, "acc_y:1_male:0": 0.5, "acc_y:0_male:1": 0.5},
        "fmow": {
            **{"acc_avg": 2 / 3, "acc_worst_region": 1.0, "acc_worst_year": 0.0},
            **{"acc_region:Asia": 1.0, "acc_region:Other": 0.5},
            **{"acc_year:2016": 1.0, "acc_year:2017": 0.0},
        },
    }
    for expected in results.values():
        if wrong in expected:
            expected[wrong] += 0.01
    config = {"fixture": "wilds_metrics", "regions": ["Asia", "Other"], "results": results}
    write(tmp_path / "f/config.json", json.dumps(config))
    save_file({n: np.array(v) for n, v in tensors.items()}, tmp_path / "f/io.safetensors")
    lines = []
    assert run_parity([tmp_path / "f"], echo=lines.append) == (1 if wrong else 0)
    assert sum(line.startswith("FAIL") for line in lines) == (1 if wrong else 0)


# The whole path


@pytest.mark.parametrize("name", NAMES)
def test_a_run_stores_groups_and_headline(registry, root, run_grey, name):
    benchmark = registry.benchmark(name, root)
    run = run_grey(benchmark)
    assert run.spec["groups"] == benchmark.groups
    assert run.spec["metric"]["fields"] == list(benchmark.metric.fields)
    assert run.summary["metrics"]["headline"]["name"] == benchmark.metric.name
    assert run.summary["coverage"]["scored"] == len(benchmark)
    for field, values in benchmark.groups.items():
        assert set(run.summary["metrics"]["groups"][field]) == set(values)


def test_damaged_png_is_a_failure_of_its_sample_and_the_run_goes_on(registry, copy, run_grey):
    damaged = bytearray(png(5))
    damaged[40:60] = bytes(20)
    (copy / "fmow_v1.1/images/rgb_img_5.png").write_bytes(damaged)
    run = run_grey(registry.benchmark("fmow-ood", copy))
    failures = run.summary["coverage"]["failures"]
    assert list(failures) == ["images/rgb_img_5.png"]
    assert str(copy) in failures["images/rgb_img_5.png"]
    assert run.summary["metrics"]["headline"]["value"] is None
