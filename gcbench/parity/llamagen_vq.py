"""Kind ``llamagen_vq``: features, code indices and reconstructions of the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from gcbench.parity.fixture import Fixture, Quantity, absolute, identical


def check(fixture: Fixture) -> Iterator[Quantity]:
    """Indices must be identical; the 8-bit reconstruction may be off by one."""
    import torch

    from gcbench.checkpoint import load_into
    from gcbench.nets.llamagen_vq import VQModel

    params = fixture.config["params"]
    model = VQModel(
        codebook_size=params["codebook_size"],
        codebook_embed_dim=params["codebook_embed_dim"],
        codebook_l2_norm=params["codebook_l2_norm"],
        z_channels=params["z_channels"],
        **params["arch"],
    ).eval()
    load_into(model, fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    io = fixture.tensors()
    with torch.inference_mode():
        encoded = model.encoder(io["images"])
        latent = model.encode_latent(io["images"])
        tokens = model.encode(io["images"])
        noise_share = fixture.config["noise_t"]
        noisy = model.quantize((1 - noise_share) * latent + noise_share * io["noise"])
        quantized = model.quantize.lookup(tokens)
        rebuilt = model.decode_tokens(tokens)
    pixels = (rebuilt * 127.5 + 128).clamp(0, 255).byte().permute(0, 2, 3, 1)
    yield absolute("encoder_out", encoded, io["encoder_out"])
    yield absolute("pre_quant", latent, io["pre_quant"])
    yield identical("indices", tokens, io["indices"])
    yield identical("indices_noisy", noisy, io["indices_noisy"])
    yield absolute("quantized", quantized, io["quantized"])
    yield absolute("recon", rebuilt, io["recon"])
    yield absolute("recon_uint8", pixels, io["recon_uint8"], tolerance=1)
