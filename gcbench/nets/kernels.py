"""Kernel choices that change speed and nothing else (beyond fp32 rounding)."""

from __future__ import annotations

import platform
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn


def prefer_onednn(network: nn.Module) -> int:
    """Sends the fp32 linear layers of a CPU network through oneDNN where MKL would be slow.

    PyTorch's fp32 matrix product is MKL's, which runs AVX2 kernels on processors of other makers;
    oneDNN, which ships with the same PyTorch, uses their AVX-512. On a Zen 5 core that is 250
    against 107 GFLOP/s at the shapes of a small transformer. Weights must not change afterwards.

    Returns:
        The number of layers switched: 0 where MKL is at home or oneDNN is not available.
    """
    if not _mkl_is_slow_here():
        return 0
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    for layer in layers:
        layer.forward = partial(_onednn_linear, layer.weight, layer.bias)  # type: ignore[method-assign]
    return len(layers)


def _onednn_linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _mkl_is_slow_here() -> bool:
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and not _made_by_intel()
    )


def _made_by_intel() -> bool:
    info = Path("/proc/cpuinfo")
    return not info.is_file() or "GenuineIntel" in info.read_text()
