"""Checkpoints: any wrapping is read, nothing that does not fit is loaded, and the key is named."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gcbench.checkpoint import load_into, read_state_dict, sha256_of
from gcbench.errors import GcbenchError


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


@pytest.fixture
def tensors():
    return {k: torch.randn_like(v) for k, v in network().state_dict().items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: {"model": t},
        lambda t: {"module": t},
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model": {f"module.{k}": v for k, v in t.items()}, "steps": 5},
        lambda t: {"model": {k: -v for k, v in t.items()}, "ema": t},
        lambda t: {"var_wo_ddp": t},
        lambda t: {"trainer": {"var_wo_ddp": t, "vae_local": {"x": torch.zeros(1)}}, "epoch": 3},
        lambda t: {**t, "freqs_cis": torch.zeros(3)},
    ],
)
def test_every_published_wrapping_is_read(tmp_path, tensors, wrap):
    torch.save(wrap(tensors), tmp_path / "x.pt")
    found = read_state_dict(tmp_path / "x.pt")
    target = network()
    load_into(target, found, tmp_path / "x.pt")
    for name, value in target.state_dict().items():
        assert torch.equal(value, tensors[name])


def test_safetensors_and_torch_files_give_the_same_tensors(tmp_path, tensors):
    save_file(tensors, tmp_path / "x.safetensors")
    torch.save(tensors, tmp_path / "x.pt")
    one, other = read_state_dict(tmp_path / "x.safetensors"), read_state_dict(tmp_path / "x.pt")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_missing_extra_and_misshapen_keys_are_named(tmp_path, tensors):
    del tensors["0.bias"]
    tensors["2.weight"] = torch.zeros(1)
    tensors["1.weight"] = torch.zeros(1, 4)
    with pytest.raises(GcbenchError) as caught:
        load_into(network(), tensors, tmp_path / "x.pt")
    assert "1 missing keys, first '0.bias'" in caught.value.message
    assert "1 unexpected keys, first '2.weight'" in caught.value.message
    assert "first '1.weight': got [1, 4], expected [1, 3]" in caught.value.message


def test_wrong_sha256_is_refused_before_reading(tmp_path, tensors):
    file = tmp_path / "x.safetensors"
    save_file(tensors, file)
    assert read_state_dict(file, sha256_of(file))
    with pytest.raises(GcbenchError, match="its card names 00"):
        read_state_dict(file, "00")


class Malicious:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x89PNG\r\n\x1a\n" + b"0" * 50])
def test_file_that_is_no_checkpoint_is_one_clear_line(tmp_path, suffix, content):
    file = tmp_path / f"x.{suffix}"
    file.write_bytes(content)
    with pytest.raises(GcbenchError, match="is not a readable checkpoint"):
        read_state_dict(file)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_truncated_checkpoint_is_one_clear_line(tmp_path, tensors, suffix):
    file = tmp_path / f"x.{suffix}"
    save_file(tensors, file) if suffix == "safetensors" else torch.save(tensors, file)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(GcbenchError, match="is not a readable checkpoint"):
        read_state_dict(file)


def test_code_in_a_checkpoint_is_never_run(tmp_path, capsys):
    torch.save({"model": Malicious()}, tmp_path / "x.pt")
    with pytest.raises(GcbenchError, match="is not a readable checkpoint"):
        read_state_dict(tmp_path / "x.pt")
    assert "code ran" not in capsys.readouterr().out


def test_file_without_tensors_is_refused(tmp_path):
    torch.save({"model": {"steps": 3}}, tmp_path / "x.pt")
    with pytest.raises(GcbenchError, match="holds no tensors"):
        read_state_dict(tmp_path / "x.pt")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(GcbenchError, match=r"no checkpoint at .*gone\.pt"):
        read_state_dict(tmp_path / "gone.pt")
