"""Kind ``maskgit_vq``: features, code indices and reconstructions of the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from gcbench.parity.fixture import Fixture, Quantity, absolute, identical


def check(fixture: Fixture) -> Iterator[Quantity]:
    """Indices must be identical; the 8-bit reconstruction may be off by one."""
    import torch

    from gcbench.checkpoint import load_into
    from gcbench.nets.maskgit_vq import MaskGITVQ

    params = fixture.config["params"]
    model = MaskGITVQ(
        codebook_size=params["num_embeddings"],
        ch=params["hidden_channels"],
        ch_mult=params["channel_mult"],
        num_res_blocks=params["num_res_blocks"],
        z_channels=params["z_channels"],
    ).eval()
    load_into(model, fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    io = fixture.tensors()
    with torch.inference_mode():
        latent = model.encode_latent(io["images"])
        tokens = model.encode(io["images"])
        quantized = model.quantize.lookup(tokens)
        rebuilt = model.decode_tokens(tokens)
    clamped = rebuilt.clamp(0, 1)
    pixels = (clamped * 255).byte().permute(0, 2, 3, 1)
    yield absolute("encoder_out", latent, io["encoder_out"])
    yield identical("indices", tokens, io["indices"])
    yield absolute("quantized", quantized, io["quantized"])
    yield absolute("recon_unclamped", rebuilt, io["recon_unclamped"])
    yield absolute("recon", clamped, io["recon"])
    yield absolute("recon_uint8", pixels, io["recon_uint8"], tolerance=1)
