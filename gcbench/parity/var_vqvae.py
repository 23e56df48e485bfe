"""Kind ``var_vqvae``: features, codes of all scales, VAR's input and reconstructions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gcbench.parity.fixture import Fixture, Quantity, absolute, identical

_NOISE = 0.1


def arguments(params: Mapping[str, Any], arch: Mapping[str, Any]) -> dict[str, Any]:
    """Our network's constructor arguments from those of the official class and its two halves."""
    return {
        "patch_nums": params["v_patch_nums"],
        "codebook_size": params["vocab_size"],
        "z_channels": params["z_channels"],
        **arch,
    }


def check(fixture: Fixture) -> Iterator[Quantity]:
    """Codes must be identical, those of noisy features too."""
    import torch

    from gcbench.checkpoint import load_into
    from gcbench.nets.var_vqvae import VQVAE

    model = VQVAE(**arguments(fixture.config["vae_params"], fixture.config["vae_arch"])).eval()
    load_into(model, fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    io = fixture.tensors()
    with torch.inference_mode():
        encoded = model.encoder(io["images"])
        features = model.encode_latent(io["images"])
        tokens = model.encode(io["images"])
        _, second, *_, last = model.quantize.reconstructions(tokens)
        var_input = model.quantize.var_input(tokens)
        rebuilt = model.decode_tokens(tokens).clamp(-1, 1)
        noisy = model.quantize(features + _NOISE * io["noise"])
        noisy_input = model.quantize.var_input(noisy)
    yield absolute("encoder_out", encoded, io["encoder_out"])
    yield absolute("f", features, io["f"])
    yield identical("indices", tokens, io["indices"])
    yield absolute("var_input", var_input, io["var_input"])
    yield absolute("fhat_scale1", second, io["fhat_scale1"])
    yield absolute("fhat_last", last, io["fhat_last"])
    yield absolute("recon", rebuilt, io["recon"])
    yield absolute("recon_from_idx", rebuilt, io["recon_from_idx"])
    yield identical("indices_noisy_sigma0.1", noisy, io["indices_noisy_sigma0.1"])
    yield absolute("var_input_noisy_sigma0.1", noisy_input, io["var_input_noisy_sigma0.1"])
