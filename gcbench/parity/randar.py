"""Kind ``randar``: the transformer's outputs for every order, image and class of the fixture."""

from __future__ import annotations

from collections.abc import Iterator

from gcbench.parity.fixture import Fixture, Quantity, absolute, identical, relative
from gcbench.scores import log_mean_exp, mean_log_likelihood, mean_posterior

# Constructor arguments of the official class that have no part in a likelihood.
_IRRELEVANT = {
    "model_type",
    "cls_token_num",
    "resid_dropout_p",
    "ffn_dropout_p",
    "token_dropout_p",
    "drop_path_rate",
    "position_order",
    "grad_checkpointing",
    "zero_class_qk",
    "num_inference_steps",
}


def check(fixture: Fixture) -> Iterator[Quantity]:
    """Logits, per-token and summed log-likelihoods, RoPE table, instruction tokens, rules."""
    import numpy as np
    import torch

    from gcbench.checkpoint import load_into
    from gcbench.nets.randar import RandAR

    params = {k: v for k, v in fixture.config["params"].items() if k not in _IRRELEVANT}
    model = RandAR(**params).eval()
    load_into(model, fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    io = fixture.tensors()
    tokens, classes, orders = io["tokens"], io["class_ids"], io["token_orders"]
    shape = (len(orders), len(tokens), len(classes), tokens.shape[1])  # [K, B, C, N]
    batch = (
        tokens[None, :, None].expand(shape).flatten(0, 2),
        classes[None, None].expand(shape[:3]).flatten(),
        orders[:, None, None].expand(shape).flatten(0, 2),
    )
    with torch.inference_mode():
        logits = model(*batch).view(*shape, -1)
        per_token = model.token_log_likelihood(*batch).view(shape)
        instructions = model.instructions(orders)
    sums = per_token.sum(-1)  # [K, B, C]
    visited = per_token.gather(3, batch[2].view(shape))
    yield absolute("rope_table", model.rope, io["rope_table"])
    yield absolute("pos_instruction_tokens", instructions, io["pos_instruction_tokens"])
    yield absolute("logits", logits, io["logits"])
    yield absolute("token_logprob", visited, io["token_logprob"])
    yield absolute("token_logprob_raster", per_token, io["token_logprob_raster"])
    yield relative("loglik", sums, io["loglik"])
    yield identical("loglik.argmax", sums.argmax(2), io["loglik"].argmax(2))

    real = sums[:, :, : model.num_classes].transpose(0, 1).numpy()  # [B, K, C]
    yield relative("agg_mean_loglik", mean_log_likelihood(real), io["agg_mean_loglik"])
    # The official sum over orders is not divided by their number.
    uniform = np.log(len(orders))
    yield relative("agg_logsumexp", log_mean_exp(real) + uniform, io["agg_logsumexp"])
    yield relative("agg_mean_posterior", np.exp(mean_posterior(real)), io["agg_mean_posterior"])
