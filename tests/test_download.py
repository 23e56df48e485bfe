"""Fetching data sets from the hub: announced, checked, and read by the benchmarks afterwards."""

import hashlib
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError
from trees import pack, write_classes

from gcbench._plugins.benchmarks import imagenet
from gcbench._plugins.benchmarks._imagenet_files import class_list
from gcbench.errors import GcbenchError
from gcbench.sources.download import fetch_data_set


@pytest.fixture
def hub(monkeypatch):
    """A hub of one repository, whose files are those put into the returned mapping."""
    files: dict[str, bytes] = {}

    def dataset_info(self, repository, files_metadata):
        siblings = [
            SimpleNamespace(
                rfilename=name,
                size=len(content),
                lfs={"sha256": hashlib.sha256(content).hexdigest()},
            )
            for name, content in files.items()
        ]
        return SimpleNamespace(siblings=siblings, sha="a1b2")

    def snapshot_download(repository, *, allow_patterns, local_dir, **options):
        assert options == {"repo_type": "dataset", "revision": "a1b2"}
        for name in allow_patterns:
            place = local_dir / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(files[name])

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return files


def test_only_the_files_of_the_split_are_fetched_and_their_size_is_said_first(hub, tmp_path):
    hub["data/validation-00000-of-00002.parquet"] = bytes(30_000_000)
    hub["data/validation-00001-of-00002.parquet"] = bytes(12_000_000)
    hub["data/train-00000-of-00001.parquet"] = b"train"
    hub["README.md"] = b"read me"
    said = []
    place = fetch_data_set("ILSVRC/imagenet-1k", ("validation",), tmp_path / "set", said.append)
    assert place == tmp_path / "set"
    assert said == [f"ILSVRC/imagenet-1k: 2 files, 0.04 GB, to {place}"]
    assert sorted(p.name[:16] for p in place.rglob("*.parquet")) == [
        "validation-00000",
        "validation-00001",
    ]


def test_repository_of_one_archive_gives_an_archive_that_the_benchmark_reads(hub, tmp_path):
    write_classes(tmp_path / "sketch", class_list("imagenet"), ["a.JPEG"], ["n01440764"])
    archive = pack(tmp_path / "sketch", tmp_path / "packed.zip", wrapped="sketch")
    hub["data/ImageNet-Sketch.zip"] = archive.read_bytes()
    hub["imagenet_sketch.py"] = b"raise SystemExit"
    family, root = imagenet.ImageNet(), tmp_path / "root"
    place = family.fetch("in-s", root, echo=lambda text: None)
    assert place == root / "imagenet_sketch.zip"
    assert [p.name for p in root.iterdir()] == ["imagenet_sketch.zip"]
    assert [s.id for s in family.load("in-s", root).samples] == ["n01440764/a.JPEG"]
    assert family.fetch("in-s", root, echo=lambda text: None) == place


def test_file_that_is_not_what_the_hub_says_is_deleted_and_named(hub, tmp_path, monkeypatch):
    hub["test/test-00000-of-00001.parquet"] = b"good"

    def truncated(repository, *, local_dir, allow_patterns, **options):
        (local_dir / "test").mkdir(parents=True)
        (local_dir / allow_patterns[0]).write_bytes(b"bad")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", truncated)
    with pytest.raises(GcbenchError, match=r"test-00000-of-00001\.parquet has sha256 .*the hub"):
        fetch_data_set("axiong/imagenet-r", ("test",), tmp_path / "set", lambda text: None)
    assert not list(tmp_path.rglob("*.parquet"))


def test_repository_without_the_split_is_refused(hub, tmp_path):
    hub["data/train-00000-of-00001.parquet"] = b""
    with pytest.raises(GcbenchError, match="has the splits train, expected validation"):
        fetch_data_set("x/y", ("validation",), tmp_path / "set", lambda text: None)


def test_repository_without_data_is_refused(hub, tmp_path):
    hub["script.py"] = b""
    with pytest.raises(GcbenchError, match="no parquet files and 0 archives"):
        fetch_data_set("x/y", ("test",), tmp_path / "set", lambda text: None)


def test_gated_set_says_how_to_get_access(tmp_path, monkeypatch):
    class Gated(GatedRepoError):
        def __init__(self):
            pass

    def gated(self, repository, files_metadata):
        raise Gated

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", gated)
    with pytest.raises(GcbenchError, match=r"gated \(accept its terms at huggingface\.co/datasets"):
        imagenet.ImageNet().fetch("in-val", tmp_path)


def test_unreachable_hub_is_one_clear_line(tmp_path, monkeypatch):
    def unreachable(self, repository, files_metadata):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    with pytest.raises(GcbenchError, match=r"imagenet-r could not be fetched .Name or"):
        imagenet.ImageNet().fetch("in-r", tmp_path)


def test_set_that_is_on_no_hub_says_where_it_is(tmp_path):
    with pytest.raises(GcbenchError, match=r"in-c as a whole is not on the hub .get noise\.tar"):
        imagenet.ImageNet().fetch("in-c", tmp_path)


def test_local_folder_is_not_copied_but_named_to_the_user(tmp_path):
    with pytest.raises(GcbenchError, match=r"nothing is copied.*\[paths\], in-r = "):
        imagenet.ImageNet().fetch("in-r", tmp_path, source=tmp_path)


@pytest.mark.parametrize(("name", "key"), [("celeba", "celeba"), ("camelyon17-id", "camelyon17")])
def test_local_folder_of_a_wilds_set_is_not_passed_over_for_the_hub(registry, tmp_path, name, key):
    (family,) = (f for f in registry.families if name in f.names)
    with pytest.raises(GcbenchError, match=rf"nothing is copied.*\[paths\], {key} = "):
        family.fetch(name, tmp_path, source=tmp_path)


def test_wilds_set_without_a_copy_says_how_to_get_it(registry, tmp_path):
    (family,) = (f for f in registry.families if "fmow-id" in f.names)
    with pytest.raises(GcbenchError, match=r"cannot be fetched .*wilds\.get_dataset"):
        family.fetch("fmow-id", tmp_path)
