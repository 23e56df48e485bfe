"""Kind ``var_transformer``: outputs for every image, class and number of scales of the fixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gcbench.parity.fixture import Fixture, Quantity, absolute, identical, relative

_SAME = ("num_classes", "depth", "embed_dim", "num_heads", "mlp_ratio", "norm_eps", "patch_nums")


def arguments(params: Mapping[str, Any], vocab_size: int, code_dim: int) -> dict[str, Any]:
    """Our network's constructor arguments from those of the official class."""
    return {
        "vocab_size": vocab_size,
        "code_dim": code_dim,
        "shared_aln": params["shared_aln"],
        **{name: params[name] for name in _SAME},
    }


def check(fixture: Fixture) -> Iterator[Quantity]:
    """Block outputs, logits, likelihood of tokens, scales, and the first n scales."""
    import torch

    from gcbench.checkpoint import load_into
    from gcbench.nets.var import VAR, scale_ends
    from gcbench.parity.trace import outputs_of

    config = fixture.config
    model = VAR(**arguments(config["var_params"], config["V"], config["Cvae"])).eval()
    load_into(model, fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    io = fixture.tensors()
    tokens, var_input, classes = io["indices"], io["var_input"], io["class_ids"]
    images, length, count = *tokens.shape, len(classes)
    tokens = tokens.repeat_interleave(count, dim=0)  # [B*C, L]
    var_input = var_input.repeat_interleave(count, dim=0)  # [B*C, L-1, e]
    labels = classes.repeat(images)  # [B*C]
    ends = scale_ends(model.patch_nums)
    with torch.inference_mode():
        logits = model(var_input, labels).view(images, count, length, -1)
        per_token = model.token_log_likelihood(tokens, var_input, labels)
        first_n = torch.stack(
            [
                model.token_log_likelihood(tokens[:, :n], var_input[:, : n - 1], labels).sum(1)
                for n in ends
            ],
            dim=1,
        )  # [B*C, S]
        trace = outputs_of(model.blocks, lambda: model(var_input[:1], labels[:1]))
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    per_scale = torch.stack([scale.sum(1) for scale in per_token.split(sizes, dim=1)], dim=1)
    per_token, per_scale, first_n = (
        t.view(images, count, -1) for t in (per_token, per_scale, first_n)
    )
    sums = per_token.sum(2)  # [B, C]
    yield absolute("trace_block_outputs", trace, io["trace_block_outputs"])
    yield absolute("logits", logits, io["logits"])
    yield absolute("token_logprob", per_token, io["token_logprob"])
    yield relative("loglik_per_scale", per_scale, io["loglik_per_scale"])
    yield relative("loglik_first_n_scales", first_n, io["loglik_first_n_scales"])
    yield relative("loglik", sums, io["loglik"])
    yield identical("loglik.argmax", sums.argmax(1), io["loglik"].argmax(1))
