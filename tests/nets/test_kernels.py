"""Kernel choices: other speed, same numbers."""

import torch
from torch import nn

from gcbench.nets import kernels


def test_onednn_layers_give_the_same_product(monkeypatch):
    monkeypatch.setattr(kernels, "onednn_is_faster", lambda: True)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(48, 96, bias=False), nn.SiLU(), nn.Linear(96, 7))
    x = torch.randn(5, 9, 48)
    with torch.inference_mode():
        expected = network(x)
        assert kernels.prefer_onednn(network) == 2
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)


def test_nothing_is_switched_where_mkl_is_at_home(monkeypatch):
    kernels.onednn_is_faster.cache_clear()
    monkeypatch.setattr(kernels, "_made_by_intel", lambda: True)
    network = nn.Linear(4, 4)
    assert kernels.prefer_onednn(network) == 0
    assert "forward" not in vars(network)
    kernels.onednn_is_faster.cache_clear()
