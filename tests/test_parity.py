"""Parity: the official numbers hold, and a wrong one is noticed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import GOLDEN
from safetensors.torch import save_file

from gcbench.errors import GcbenchError
from gcbench.nets.randar import RandAR
from gcbench.parity import CHECKS, run_parity
from gcbench.parity.fixture import absolute, identical, relative


def write_fixture(folder: Path, config: dict, io: dict, weights: dict | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(io, folder / "io.safetensors")
    if weights:
        save_file(weights, folder / "weights.safetensors")
    return folder


def statistics_fixture(folder: Path, shift: float = 0.0) -> Path:
    """Accuracies of three rules from plain loops over groups of trials; ``shift`` spoils them."""
    rng = np.random.default_rng(0)
    scores = rng.normal(-50, 3, (12, 3, 4)).astype(np.float32)
    classes, labels = np.array([4, 7, 8, 9]), rng.choice([4, 7, 8, 9], 12)
    io = {
        "likelihoods": torch.from_numpy(scores),
        "targets": torch.from_numpy(labels),
        "classes": torch.from_numpy(classes),
    }
    shares = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    for n in (1, 2, 3):
        for j, values in enumerate((scores, shares, np.exp(scores))):
            sums = [values[:, i : i + n].sum(1) for i in range(0, 3 - n + 1, n)]
            hits = [float((classes[s.argmax(1)] == labels).mean()) for s in sums]
            io[f"n{n}.rule{j}"] = torch.tensor(hits) + shift
    return write_fixture(folder, {"fixture": "calc_statistics", "T": 3}, io)


def echoed(folders, **options) -> tuple[int, list[str]]:
    lines: list[str] = []
    return run_parity(folders, echo=lines.append, **options), lines


@pytest.mark.skipif(
    not GOLDEN.exists(), reason="the official fixtures are not beside this checkout"
)
@pytest.mark.parametrize("kind", CHECKS)
def test_official_numbers_hold(kind):
    folders = [
        path.parent
        for path in sorted(GOLDEN.glob("*/config.json"))
        if json.loads(path.read_text())["fixture"] == kind
    ]
    assert folders
    code, lines = echoed(folders)
    assert code == 0, "\n".join(line for line in lines if line.startswith("FAIL"))
    assert sum(line.startswith("pass") for line in lines) >= 4


def test_right_numbers_pass_and_a_wrong_one_fails(tmp_path):
    right = statistics_fixture(tmp_path / "right")
    wrong = statistics_fixture(tmp_path / "wrong", shift=0.01)
    assert echoed([right])[0] == 0
    code, lines = echoed([right, wrong])
    assert code == 1
    assert {line.split()[1].split("/")[0] for line in lines if line.startswith("FAIL")} == {"wrong"}
    assert "9 quantities failed" in lines[-1]


def test_folder_of_fixtures_is_searched(tmp_path):
    for name in ("a", "b"):
        statistics_fixture(tmp_path / name)
    code, lines = echoed([tmp_path])
    assert code == 0
    assert lines[-1].startswith("2 fixtures checked")


def test_unknown_kind_is_refused_with_the_known_ones_before_any_check(tmp_path):
    statistics_fixture(tmp_path / "a")
    write_fixture(tmp_path / "b", {"fixture": "novel"}, {"x": torch.zeros(1)})
    lines: list[str] = []
    with pytest.raises(GcbenchError, match=r"unknown kind 'novel'.*known kinds: randar") as caught:
        run_parity([tmp_path], echo=lines.append)
    assert caught.value.exit_code == 2
    assert not lines


def test_unknown_kind_can_be_listed_instead(tmp_path):
    statistics_fixture(tmp_path / "a")
    write_fixture(tmp_path / "b", {"fixture": "novel"}, {"x": torch.zeros(1)})
    code, lines = echoed([tmp_path], unknown="list")
    assert code == 0
    assert "b: kind 'novel' is not yet known, skipped" in lines


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_damaged_config_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(GcbenchError, match=r"config\.json cannot be read"):
        run_parity([tmp_path])


def test_folder_without_fixtures_is_refused(tmp_path):
    with pytest.raises(GcbenchError, match="no fixture in"):
        run_parity([tmp_path])


def test_network_that_does_not_fit_its_weights_is_refused_by_key(tmp_path):
    sizes = {
        "dim": 16,
        "n_layer": 1,
        "n_head": 2,
        "block_size": 4,
        "vocab_size": 8,
        "num_classes": 3,
    }
    weights = {k: v.contiguous() for k, v in RandAR(**sizes).state_dict().items()}
    del weights["norm.weight"]
    config = {"fixture": "randar", "params": sizes}
    folder = write_fixture(tmp_path / "f", config, {"tokens": torch.zeros(1, 4)}, weights)
    with pytest.raises(GcbenchError, match=r"1 missing keys, first 'norm\.weight'"):
        run_parity([folder])


def test_errors_are_measured_as_their_unit_says():
    assert absolute("x", [1.0, 2.0], [1.0, 2.5]).error == 0.5
    assert relative("x", [-90.0], [-100.0]).error == pytest.approx(0.1)
    assert identical("x", [1, 2, 3], [1, 0, 0]).error == 2


def test_not_a_number_never_passes():
    assert not absolute("x", [float("nan")], [0.0]).passed


def test_another_shape_is_refused():
    with pytest.raises(GcbenchError, match=r"x has shape \[2\], the fixture says \[3\]"):
        absolute("x", [0, 0], [0, 0, 0])
