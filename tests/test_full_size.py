"""The real path at its true size, without the real weights, on trees like the real data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from trees import write_camelyon17, write_celeba, write_classes, write_fmow

from gcbench._plugins.benchmarks._imagenet_files import class_list
from gcbench.method import Runtime
from gcbench.nets.llamagen_vq import VQModel
from gcbench.nets.randar import RandAR
from gcbench.store import Store


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """1,000 class folders, one image in each of the first two."""
    root = tmp_path_factory.mktemp("imagenet")
    wnids = class_list("imagenet")
    write_classes(root / "imagenet/val", wnids, ["ILSVRC2012_val_00000003.JPEG"], wnids[:2], 300)
    return root


@pytest.fixture(scope="module")
def weights(registry, tmp_path_factory):
    """Random weights under the official names and shapes, wrapped as they are published."""
    cls = registry.method("randar")
    method = cls(cls.variant_named("l"), Runtime())
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = RandAR(**method.config("model"))
    torch.nn.init.normal_(model.output.weight, std=0.02)
    save_file({k: v.half() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    del model
    tokenizer = VQModel(**method.config("tokenizer"))
    torch.save({"model": tokenizer.state_dict(), "steps": 1}, folder / "vq.pt")
    return folder


def test_randar_l_runs_end_to_end_on_an_imagenet_tree(gcbench, tree, weights, tmp_path):
    result = gcbench(
        *("run", "--method", "randar:l", "--bench", "in-val", "--trials", "1"),
        *("--data-root", tree, "--results", tmp_path / "results"),
        *("--checkpoint", f"model={weights / 'model.safetensors'}"),
        *("--checkpoint", f"tokenizer={weights / 'vq.pt'}"),
    )
    assert result.exit_code == 0, result.output
    (run,) = Store(tmp_path / "results").runs()
    scores = run.scores()
    assert scores.sample_ids == (
        "n01440764/ILSVRC2012_val_00000003.JPEG",
        "n01443537/ILSVRC2012_val_00000003.JPEG",
    )
    assert scores.classes.tolist() == [0, 1]
    # 256 tokens from a vocabulary of 16,384, under a model that knows nothing.
    np.testing.assert_allclose(scores.values, -256 * np.log(16384), rtol=0.1)
    assert len(np.unique(scores.values)) == 4


def test_the_2k_protocol_shows_its_bill(gcbench, tree, weights, tmp_path):
    result = gcbench(
        *("run", "--method", "randar:l", "--bench", "in-val", "--subset", "official-2k"),
        *("--data-root", tree, "--results", tmp_path / "none", "--dry-run"),
        *("--checkpoint", f"model={weights / 'model.safetensors'}"),
        *("--checkpoint", f"tokenizer={weights / 'vq.pt'}"),
    )
    assert result.exit_code == 0, result.output
    assert "official-2k" in result.output
    assert "GPU hours" in result.output
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("data_set", "bench", "write_set", "shape", "headline"),
    [
        ("camelyon17", "camelyon17-ood", write_camelyon17, (2, 1, 2), ""),
        ("celeba", "celeba", write_celeba, (4, 1, 2), "worst male x y"),
        ("fmow", "fmow-ood", write_fmow, (3, 1, 3), "worst region"),
    ],
)
def test_randar_runs_end_to_end_on_wilds_trees(
    gcbench, registry, weights, tmp_path, monkeypatch, data_set, bench, write_set, shape, headline
):
    """True tokenizer and label space; images are small and the transformer narrow, for speed."""
    write_set(tmp_path / "data")
    cls = registry.method("randar")
    variant = cls.variant_named(f"b-{data_set}")
    narrow = {**variant.config["model"], "dim": 64, "n_layer": 2, "n_head": 2, "block_size": 16}
    variant = replace(variant, config={**variant.config, "model": narrow}, image_size=64)
    monkeypatch.setattr(cls, "variants", (variant,))
    torch.manual_seed(0)
    model = RandAR(**narrow)
    torch.nn.init.normal_(model.output.weight, std=0.02)
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    del model
    result = gcbench(
        *("run", "--method", f"randar:b-{data_set}", "--bench", bench, "--trials", "1"),
        *("--data-root", tmp_path / "data", "--results", tmp_path / "results"),
        *("--checkpoint", tmp_path / "model.safetensors"),
        *("--checkpoint", f"tokenizer={weights / 'vq.pt'}"),
    )
    assert result.exit_code == 0, result.output
    assert headline in result.output
    (run,) = Store(tmp_path / "results").runs()
    values = run.scores().values
    assert values.shape == shape
    assert len(np.unique(values)) == values.size
    np.testing.assert_allclose(values, -16 * np.log(16384), rtol=0.1)
    assert run.summary["coverage"]["scored"] == shape[0]
