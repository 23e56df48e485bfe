"""Fetching: announced, resumed, checked; and the catalogue of published checkpoints."""

import hashlib
import http.server
import threading
from functools import partial

import pytest

from gcbench.checkpoint import ByHand, Hub, Url, catalogue, published
from gcbench.errors import GcbenchError
from gcbench.fetch import bring, fetch

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, byte ranges included, and notes what was asked for."""

    def __init__(self, *args, asked, **kwargs):
        self.asked = asked
        super().__init__(*args, **kwargs)

    def do_GET(self):
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.asked.append(start)
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Address of a file on this machine, and the list of offsets asked for."""
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path / "cache"))
    asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, asked=asked))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/weights.pth", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_file_is_announced_fetched_checked_and_kept(served):
    address, asked = served
    lines = []
    card = Url(address, "MIT", sha256=SHA256[:8])
    file = bring(card, lines.append)
    assert file.read_bytes() == CONTENT
    assert lines == [f"{address}: 1.0 MB, licence MIT"]
    assert card.locate() == (file, SHA256[:8])
    bring(card, lines.append)
    assert asked == [0]


def test_cut_download_is_resumed_where_it_stopped(served):
    address, asked = served
    card = Url(address, "MIT", sha256=SHA256)
    partial_file = card.file.with_name("weights.pth.part")
    partial_file.parent.mkdir(parents=True)
    partial_file.write_bytes(CONTENT[:300_000])
    lines = []
    assert bring(card, lines.append).read_bytes() == CONTENT
    assert asked == [300_000]
    assert "0.3 MB of it here already" in lines[0]


def test_download_that_was_complete_but_not_renamed_is_taken(served):
    address, asked = served
    card = Url(address, "MIT", sha256=SHA256)
    partial_file = card.file.with_name("weights.pth.part")
    partial_file.parent.mkdir(parents=True)
    partial_file.write_bytes(CONTENT)
    assert bring(card, print).read_bytes() == CONTENT
    assert asked == [len(CONTENT)]


def test_file_of_another_sha256_is_deleted_and_refused(served):
    address, _ = served
    card = Url(address, "MIT", sha256="00000000")
    with pytest.raises(GcbenchError, match="its card names 00000000"):
        bring(card, print)
    assert list(card.file.parent.iterdir()) == []


def test_server_that_is_not_there_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path))
    with pytest.raises(GcbenchError, match="could not be fetched") as caught:
        bring(Url("http://127.0.0.1:1/x.pth", "MIT"), print)
    assert "resumed" in caught.value.hint


@pytest.mark.parametrize("name", catalogue())
def test_catalogue_entry_is_complete(name):
    card = catalogue()[name]
    assert len({"hub", "url", "by_hand"} & set(card)) == 1
    assert set(card) <= {
        *("hub", "file", "url", "by_hand", "repo", "holds"),
        *("wrapping", "licence", "sha256", "note", "for", "tokenizer"),
    }
    assert card["licence"]
    assert card["for"]
    found = published(name)
    assert isinstance(found, Hub | Url | ByHand)
    assert isinstance(found, ByHand) or card["wrapping"] in ("bare", "model")


def test_every_method_of_the_paper_has_an_entry():
    methods = {method for card in catalogue().values() for method in card["for"]}
    assert methods >= {
        *("randar", "llamagen", "var", "avarc", "dit", "sit", "sit-repa", "sit-irepa", "sit-reg"),
        *("vit", "resnet", "dinov2", "dat"),
    }


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A file as DAT's authors publish it, narrow, and the card's folder."""
    import torch

    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "model_bestfid.pth"
    stem, head = torch.zeros(96, 3, 3, 3), torch.zeros(1000, 1536)
    names = ("module.base_model.stem.stem.0.weight", "module.base_model.head.fc.weight")
    torch.save(dict(zip(names, (stem, head), strict=True)), file)
    return file


def test_what_can_only_be_brought_by_hand_says_what_to_do(registry, brought):
    with pytest.raises(GcbenchError, match="dat-convnext-l has to be brought by hand") as caught:
        fetch(registry, "dat:convnext-l", echo=print)
    for step in ("dropbox.com/scl/fo/81n3lxw5", "download model_bestfid.pth", "--checkpoint"):
        assert step in caught.value.hint
    assert "gcbench fetch dat-convnext-l --from FILE" in caught.value.hint


def test_file_brought_by_hand_is_checked_and_kept(registry, brought, tmp_path):
    lines = []
    fetch(registry, "dat:convnext-l", source=brought, echo=lines.append)
    kept = tmp_path / "cache/checkpoints/dat-convnext-l.pth"
    assert lines == [str(kept)]
    assert published("dat-convnext-l").locate() == (kept, None)
    assert kept.read_bytes() == brought.read_bytes()
    fetch(registry, "dat:convnext-l", echo=lines.append)
    assert lines == [str(kept)] * 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("shape", r"expected 'head.fc.weight' of shape \[1000, 1536\].*as \[10, 1536\]"),
        ("key", "the file has no 'stem.stem.0.weight'"),
        ("cut", "is not a readable checkpoint"),
        ("suffix", r"expected a file that ends in \.safetensors"),
        ("gone", "expected a file that ends in"),
    ],
)
def test_another_file_is_refused_and_nothing_is_kept(registry, brought, tmp_path, change, problem):
    import torch

    content = torch.load(brought, weights_only=True)
    if change == "shape":
        content["module.base_model.head.fc.weight"] = torch.zeros(10, 1536)
    if change == "key":
        content["stem.0.weight"] = content.pop("module.base_model.stem.stem.0.weight")
    torch.save(content, brought)
    if change == "cut":
        brought.write_bytes(brought.read_bytes()[:1000])
    if change == "suffix":
        brought = brought.rename(tmp_path / "model.zip")
    if change == "gone":
        brought.unlink()
    with pytest.raises(GcbenchError, match=problem):
        fetch(registry, "dat:convnext-l", source=brought, echo=print)
    assert not (tmp_path / "cache").exists()


def test_from_brings_the_one_file_of_a_variant_that_needs_a_hand(registry, brought, tmp_path):
    import torch

    file = tmp_path / "mine.pt"
    torch.save({"output.weight": torch.zeros(16384, 1024)}, file)
    lines = []
    fetch(registry, "randar-raster:l", source=file, echo=lines.append)
    assert lines == [str(tmp_path / "cache/checkpoints/randar-raster-l.pt")]
    with pytest.raises(GcbenchError, match="llamagen:l has 0 that are brought so"):
        fetch(registry, "llamagen:l", source=file, echo=print)


def test_file_of_an_address_can_be_brought_too(registry, brought, tmp_path):
    with pytest.raises(GcbenchError, match="its card names f37072fd"):
        fetch(registry, "resnet18", source=brought, echo=print)
    lines = []
    fetch(registry, "sit-xl", source=brought, echo=lines.append)
    assert lines == [str(tmp_path / "cache/checkpoints/SiT-XL-2-256.pt")]


def test_cache_that_cannot_be_written_is_one_clear_line(registry, brought, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(GcbenchError, match="cannot be written") as caught:
        fetch(registry, "dat:convnext-l", source=brought, echo=print)
    assert "GCBENCH_CACHE" in caught.value.hint


def test_shipped_weights_need_no_download(registry):
    lines = []
    fetch(registry, "randar:mini", echo=lines.append)
    assert [line.rsplit("/", 1)[1] for line in lines] == [
        "mini-randar.safetensors",
        "mini-vq.safetensors",
    ]


def test_unknown_checkpoint_suggests_the_nearest():
    with pytest.raises(GcbenchError, match="did you mean 'var-d16'"):
        published("var_d16")


class Metadata:
    """What the hub says of a file."""

    def __init__(self, size, etag):
        self.size, self.etag = size, etag


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for the hub's client that serves one file and notes the calls."""
    file = tmp_path / "hub" / "weights.pth"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    state = {"file": file, "etag": SHA256, "error": None}

    def metadata(url):
        if state["error"]:
            raise state["error"]
        return Metadata(len(CONTENT), state["etag"])

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", metadata)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *a, **k: str(file))
    return state


def test_hub_file_is_announced_and_checked_against_the_hubs_own_sha256(hub):
    lines = []
    assert bring(Hub("owner/model", "weights.pth", "MIT"), lines.append) == hub["file"]
    assert lines == ["owner/model/weights.pth: 1.0 MB, licence MIT"]
    hub["etag"] = "0" * 64
    with pytest.raises(GcbenchError, match="its card names 0000"):
        bring(Hub("owner/model", "weights.pth", "MIT"), print)
    assert not hub["file"].exists()


def test_etag_that_is_no_sha256_is_not_mistaken_for_one(hub):
    hub["etag"] = "1234abcd"  # a git object, as the hub gives for small files
    assert bring(Hub("owner/model", "weights.pth", "MIT"), print) == hub["file"]


def test_gated_repository_says_how_to_get_access(hub):
    from unittest.mock import Mock

    from huggingface_hub.errors import GatedRepoError

    hub["error"] = GatedRepoError("403", response=Mock(headers={}))
    with pytest.raises(GcbenchError, match="owner/model is gated") as caught:
        bring(Hub("owner/model", "weights.pth", "MIT"), print)
    assert "accept its terms at huggingface.co/owner/model" in caught.value.hint


def test_name_of_a_fetched_file_leaves_out_what_follows_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path))
    found = published("sit-xl")
    assert found.file == tmp_path / "checkpoints" / "SiT-XL-2-256.pt"


def test_repository_of_unknown_names_lists_its_weights_and_keeps_the_chosen_one(
    hub, registry, monkeypatch, tmp_path
):
    import torch

    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path / "cache"))
    torch.save({"ema": {"final_layer.linear_cls.weight": torch.zeros(768, 1152)}}, hub["file"])
    hub["etag"] = hashlib.sha256(hub["file"].read_bytes()).hexdigest()
    names = ["README.md", "a/ema.pt", "b.safetensors"]
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, repo: names)
    with pytest.raises(GcbenchError, match="2 files of Martinser/REG, and no --file") as lack:
        fetch(registry, "sit-xl-reg", echo=print)
    assert "a/ema.pt, b.safetensors" in lack.value.hint
    with pytest.raises(GcbenchError, match=r"it has no file 'c\.pt'"):
        fetch(registry, "sit-xl-reg", file="c.pt", echo=print)
    lines = []
    fetch(registry, "sit-xl-reg", file="a/ema.pt", echo=lines.append)
    kept = tmp_path / "cache/checkpoints/sit-xl-reg.pth"
    assert lines == ["Martinser/REG/a/ema.pt: 1.0 MB, licence see page", str(kept)]
    assert published("sit-xl-reg").locate() == (kept, None)
