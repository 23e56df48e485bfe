"""RandAR on MaskGIT's tokens: the right network, and the right range of pixels."""

from dataclasses import replace

import pytest
import torch

from gcbench.errors import GcbenchError
from gcbench.method import Runtime

TINY = {"codebook_size": 32, "ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "z_channels": 8}
MODEL = {"dim": 16, "n_layer": 1, "n_head": 2, "block_size": 64, "vocab_size": 32}


def loaded(registry, **tokenizer):
    cls = registry.method("randar")
    variant = cls.variant_named("l-maskgit")
    config = {**variant.config, "model": MODEL, "tokenizer": {**TINY, **tokenizer}}
    method = cls(replace(variant, config=config), Runtime(random_weights=True))
    method.load()
    return method


def test_its_tokenizer_reads_pixels_from_zero_to_one(registry):
    method = loaded(registry)
    batch = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        tokens = method.encode(batch)
        assert (tokens == method.tokenizer.encode((batch + 1) / 2)).all()
        assert (tokens != method.tokenizer.encode(batch)).any()


def test_a_vocabulary_of_the_other_tokenizer_is_refused(registry):
    message = r"randar \(l-maskgit\): the network predicts 32 codes, its tokenizer has 64"
    with pytest.raises(GcbenchError, match=message):
        loaded(registry, codebook_size=64)
