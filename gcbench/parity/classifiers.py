"""Kinds ``dat_convnext`` and ``dinov2_vit``: networks of the discriminative and joint rows."""

from __future__ import annotations

from collections.abc import Iterator

from gcbench.parity.fixture import Fixture, Quantity, absolute, identical


def check_dat(fixture: Fixture) -> Iterator[Quantity]:
    """Stem, logits, energies and predictions."""
    import torch

    from gcbench.checkpoint import load_into
    from gcbench.nets.dat import DAT

    config = fixture.config
    model = DAT(
        num_classes=config["num_classes"],
        depths=config["depths"],
        dims=config["dims"],
        stem_width=config["planes"],
    ).eval()
    load_into(model, fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    io = fixture.tensors()
    with torch.inference_mode():
        stem, logits = model.stem(io["x"]), model(io["x"])
    yield absolute("stem", stem, io["stem"])
    yield absolute("logits", logits, io["logits"])
    yield absolute("energy", -logits.logsumexp(dim=1), io["energy"])
    yield identical("pred", logits.argmax(dim=1), io["pred"])


def check_dinov2(fixture: Fixture) -> Iterator[Quantity]:
    """Tokens and probe features at the stored size and at another one."""
    import torch

    from gcbench.checkpoint import load_into
    from gcbench.nets.dinov2 import DINOv2

    config = fixture.config
    names = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
    model = DINOv2(**{name: config[name] for name in names}, init_values=config["init_values"])
    load_into(model.eval(), fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    io = fixture.tensors()
    for size in ("native", "interp"):
        with torch.inference_mode():
            ((patches, token),) = model.last_blocks(io[f"{size}.x"], 1)
            yield absolute(f"{size}.cls", token, io[f"{size}.cls"])
            yield absolute(f"{size}.patch", patches, io[f"{size}.patch"])
            for blocks in (1, 4):
                for average in (False, True):
                    name = f"{size}.linear_n{blocks}_avg{int(average)}"
                    features = model.probe_features(io[f"{size}.x"], blocks, average)
                    yield absolute(name, features, io[name])
