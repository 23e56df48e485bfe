"""Kind ``llamagen_gpt``: the transformer's outputs for every image and class of the fixture."""

from __future__ import annotations

from collections.abc import Iterator

from gcbench.parity.fixture import Fixture, Quantity, absolute, identical, relative

# Constructor arguments of the official class that have no part in a likelihood.
_IRRELEVANT = {"model_type", "cls_token_num"}


def check(fixture: Fixture) -> Iterator[Quantity]:
    """RoPE table, block outputs, logits, per-token and summed log-likelihoods."""
    import torch

    from gcbench.checkpoint import load_into
    from gcbench.nets.llamagen_gpt import LlamaGenGPT
    from gcbench.parity.trace import outputs_of

    params = {k: v for k, v in fixture.config["params"].items() if k not in _IRRELEVANT}
    model = LlamaGenGPT(**params).eval()
    load_into(model, fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    io = fixture.tensors()
    tokens, classes = io["tokens"], io["class_ids"]
    shape = (len(tokens), len(classes), tokens.shape[1])  # [B, C, N]
    batch = (
        tokens[:, None].expand(shape).flatten(0, 1),
        classes[None].expand(shape[:2]).flatten(),
    )
    with torch.inference_mode():
        logits = model(*batch).view(*shape, -1)
        per_token = model.token_log_likelihood(*batch).view(shape)
        trace = outputs_of(model.layers, lambda: model(tokens[:1], classes[:1]))
    sums = per_token.sum(2)  # [B, C]
    yield absolute("rope_table", model.rope, io["rope_table"])
    yield absolute("trace_layer_outputs", trace, io["trace_layer_outputs"])
    yield absolute("logits", logits, io["logits"])
    yield absolute("token_logprob", per_token, io["token_logprob"])
    yield relative("loglik", sums, io["loglik"])
    yield identical("loglik.argmax", sums.argmax(1), io["loglik"].argmax(1))
