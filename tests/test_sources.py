"""Sources: the same files whatever holds them, unsafe archives refused, broken tables named."""

import gzip
import io
import pickle
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from trees import pack, write

from gcbench.errors import GcbenchError
from gcbench.sources import descend, open_source
from gcbench.sources.places import Config, find, read_config
from gcbench.sources.tables import read_rows

FILES = {
    "a/1.jpg": b"one",
    "a/2.JPEG": b"",
    "a/notes.txt": b"text",
    "b/c/3.png": bytes(range(256)) * 50,
    "top.jpg": b"top",
}


@pytest.fixture
def folder(tmp_path):
    for path, content in FILES.items():
        write(tmp_path / "set" / path, content)
    (tmp_path / "set" / "empty").mkdir()
    write(tmp_path / "set" / ".DS_Store", b"junk")
    write(tmp_path / "set" / "__MACOSX" / "._1.jpg", b"junk")
    return tmp_path / "set"


@pytest.fixture(params=["folder", "tar", "zip", "tar with ./"])
def source(request, folder, tmp_path):
    if request.param == "folder":
        return open_source(folder)
    if request.param == "tar with ./":
        with tarfile.open(tmp_path / "set.tar", "w") as packed:
            packed.add(folder, "./")
        return open_source(tmp_path / "set.tar")
    return open_source(pack(folder, tmp_path / f"set.{request.param}"))


def test_every_source_lists_and_reads_the_same(source):
    assert source.folders() == ["a", "b", "empty"]
    assert source.folders("b") == ["c"]
    assert source.files("a") == {"1.jpg": 3, "2.JPEG": 0, "notes.txt": 4}
    assert source.files() == {"top.jpg": 3}
    assert source.images("a") == {"1.jpg": 3, "2.JPEG": 0}
    assert source.files("empty") == {}
    assert {path: source.read(path) for path in FILES} == FILES
    assert {path: source.size(path) for path in FILES} == {p: len(c) for p, c in FILES.items()}


def test_every_source_says_what_is_not_there(source):
    assert source.size("a/9.jpg") is None
    assert source.size("top.jpg/9.jpg") is None
    assert (source.has_folder("b/c"), source.has_folder("b/d")) == (True, False)
    with pytest.raises(FileNotFoundError, match=r"a/9\.jpg"):
        source.read("a/9.jpg")
    with pytest.raises(GcbenchError, match="set"):
        source.files("nowhere")


def test_broken_link_is_listed_and_fails_when_read(folder):
    (folder / "a" / "3.jpg").symlink_to("nowhere.jpg")
    source = open_source(folder)
    assert source.files("a")["3.jpg"] == 0
    with pytest.raises(OSError, match=r"3\.jpg"):
        source.read("a/3.jpg")


def test_sources_can_be_sent_to_other_processes(source):
    again = pickle.loads(pickle.dumps(source))
    assert again.read("b/c/3.png") == FILES["b/c/3.png"]


def test_descend_goes_through_wrapping_folders_only(folder, tmp_path):
    wrapped = open_source(pack(folder, tmp_path / "w.tar", wrapped="outer/inner"))
    assert descend(wrapped, lambda s, path: s.has_folder(f"{path}/a".lstrip("/"))) == "outer/inner"
    assert descend(open_source(folder), lambda s, path: path == "b/c") is None


@pytest.mark.parametrize("name", ["/etc/a.jpg", "../a.jpg", "x/../../a.jpg", "C:\\a.jpg", "..\\a"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archive_with_a_path_outside_of_it_is_refused_by_name(tmp_path, kind, name):
    archive = tmp_path / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("fine.jpg", b"1")
            packed.writestr(name, b"1")
    else:
        with tarfile.open(archive, "w") as packed:
            packed.addfile(tarfile.TarInfo("fine.jpg"))
            packed.addfile(tarfile.TarInfo(name))
    with pytest.raises(GcbenchError, match=r"is an absolute path|leads out") as caught:
        open_source(archive)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_tar_with_a_link_or_device_is_refused_by_name(tmp_path, kind):
    info = tarfile.TarInfo("a/link.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "set.tar", "w") as packed:
        packed.addfile(info)
    with pytest.raises(GcbenchError, match=r"member 'a/link\.jpg' is (a link|no plain file)"):
        open_source(tmp_path / "set.tar")


def test_zip_with_a_link_is_refused_by_name(tmp_path):
    info = zipfile.ZipInfo("a/link.jpg")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(GcbenchError, match=r"member 'a/link\.jpg' is a link"):
        open_source(tmp_path / "set.zip")


def test_zip_with_an_unusual_compression_is_refused_by_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("a.jpg", b"1")
    with pytest.raises(GcbenchError, match=r"member 'a\.jpg' is encrypted or compressed"):
        open_source(tmp_path / "set.zip")


def test_compressed_tar_is_refused_with_the_way_out(folder, tmp_path):
    tar = pack(folder, tmp_path / "set.tar")
    packed = tmp_path / "set.tar.gz"
    packed.write_bytes(gzip.compress(tar.read_bytes()))
    with pytest.raises(GcbenchError, match=r"compressed as a whole \(gzip\).*plain \.tar"):
        open_source(packed)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_truncated_archive_is_refused(folder, tmp_path, kind):
    archive = pack(folder, tmp_path / f"set.{kind}")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 3])
    with pytest.raises(GcbenchError, match=r"set\.\w+ cannot be read as a tar or zip"):
        open_source(archive)


def test_text_file_is_no_archive(tmp_path):
    write(tmp_path / "set.tar", "404: not found\n" * 100)
    with pytest.raises(GcbenchError, match="cannot be read as a tar or zip"):
        open_source(tmp_path / "set.tar")


def test_archive_that_changed_is_indexed_anew(folder, tmp_path):
    archive = pack(folder, tmp_path / "set.zip")
    assert open_source(archive) is open_source(archive)
    write(folder / "a" / "new.jpg", b"new")
    pack(folder, archive)
    assert open_source(archive).read("a/new.jpg") == b"new"


@pytest.mark.parametrize("seed", range(100))
def test_damaged_zip_gives_the_content_or_an_error(folder, tmp_path, seed):
    archive = pack(folder, tmp_path / "set.zip")
    data = bytearray(archive.read_bytes())
    rng = random.Random(seed)
    for _ in range(3):
        data[rng.randrange(len(data))] = rng.randrange(256)
    archive.write_bytes(data)
    try:
        source = open_source(archive)
        for path in set(source.members) & set(FILES):
            assert source.read(path) == FILES[path]
    except (GcbenchError, OSError):
        pass


def test_zip_member_that_inflates_beyond_its_stated_size_is_damaged(tmp_path):
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.jpg", bytes(1 << 20))
    size = (1 << 20).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, (100).to_bytes(4, "little")))
    with pytest.raises(OSError, match=r"a\.jpg is damaged"):
        open_source(archive).read("a.jpg")


# Places


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def write_config(text):
        write(tmp_path / "config/gcbench/config.toml", text)

    return write_config


def test_given_root_comes_before_the_configs_path_and_that_before_its_root(tmp_path, config):
    for place in ("given/b", "own", "root/a.tar"):
        write(tmp_path / place, "")
    config(f'data_root = "{tmp_path}/root"\n[paths]\nset = "{tmp_path}/own"\n')
    given = tmp_path / "given"
    assert find("set", ["a", "b"], given, hint="") == given / "b"
    (given / "b").unlink()
    assert find("set", ["a", "b"], given, hint="") == tmp_path / "own"
    assert find("other", ["a", "b"], given, hint="") == tmp_path / "root/a.tar"


def test_first_stem_wins_and_a_folder_wins_over_its_archive(tmp_path, config):
    for place in ("b", "a.zip", "a/x"):
        write(tmp_path / place, "")
    assert find("set", ["a", "b"], tmp_path, hint="") == tmp_path / "a"


def test_missing_set_names_every_place_and_how_to_get_it(tmp_path, config):
    config(f'data_root = "{tmp_path}/root"\n[paths]\nset = "{tmp_path}/own"\n')
    with pytest.raises(GcbenchError) as caught:
        find("set", ["a", "b"], tmp_path / "given", hint="download set.tar")
    for part in ("a, b", "/given", "/root", "/own", "download set.tar"):
        assert part in str(caught.value)


def test_without_any_root_the_error_says_how_to_name_one(tmp_path, config):
    with pytest.raises(GcbenchError, match=r"--data-root.*GCBENCH_DATA.*config\.toml"):
        find("set", ["a"], None, hint="")


def test_config_expands_the_home_folder(config):
    config('data_root = "~/data"\n[paths]\nset = "~/set"\n')
    assert read_config() == Config(Path.home() / "data", {"set": Path.home() / "set"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("data_root = ", "cannot be read"),
        ('root = "/data"', "did you mean 'data_root'"),
        ("data_root = 3", "data_root is 3, expected a path in quotes"),
        ("[paths]\nset = 3", "set is 3, expected a path in quotes"),
        ('paths = "/data"', "paths is no table"),
    ],
)
def test_broken_config_names_the_file_and_the_mistake(config, text, problem):
    config(text)
    with pytest.raises(GcbenchError, match=problem) as caught:
        read_config()
    assert "config.toml" in str(caught.value)


# Tables


def rows(tmp_path, text):
    write(tmp_path / "t.csv", text)
    return list(read_rows(open_source(tmp_path), "t.csv", ["x", "y"]))


def test_rows_hold_the_wanted_columns_whatever_their_order(tmp_path):
    (row,) = rows(tmp_path, 'y,z,x\r\n007,"a, b",3\r\n')
    assert (row.text("y"), row.integer("x"), row.line) == ("007", 3, 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x,z\n1,2\n", "no column 'y'; it has x, z"),
        ("", "no column 'x'; it has none"),
        ("x,y\n1,2\n1\n", "line 3, column 'y': the row has 1 cells, expected 2"),
        ("x,y\n1,2,3\n", "line 2, column 'y': the row has 3 cells, expected 2"),
        ("x,y\n1,2\n\n", "line 3, column 'x': the row has 0 cells"),
        ('x,y\n1,"2\n', "line 2: unexpected end of data"),
    ],
)
def test_broken_table_names_line_and_column(tmp_path, text, problem):
    with pytest.raises(GcbenchError, match=problem):
        rows(tmp_path, text)


def test_cell_of_another_kind_names_line_column_and_value(tmp_path):
    (row,) = rows(tmp_path, "x,y\nmany,7\n")
    with pytest.raises(GcbenchError, match="line 2, column 'x': got 'many', expected a whole num"):
        row.integer("x")
    with pytest.raises(GcbenchError, match="line 2, column 'y': got '7', expected one of 0, 1"):
        row.integer("y", among=(0, 1))
    with pytest.raises(GcbenchError, match="line 2, column 'x': got 'many', expected one of few"):
        row.text("x", among=("few",))


def test_binary_table_is_refused(tmp_path):
    write(tmp_path / "t.csv", io.BytesIO(b"\xff\xfe\x00").getvalue())
    with pytest.raises(GcbenchError, match=r"t\.csv cannot be read"):
        list(read_rows(open_source(tmp_path), "t.csv", ["x"]))
