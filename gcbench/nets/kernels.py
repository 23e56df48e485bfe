"""Kernel choices that change speed and nothing else (beyond fp32 rounding)."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn


@torch.library.custom_op("gcbench::onednn_linear", mutates_args=())
def onednn_linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T``, for code that is compiled: the compiler takes oneDNN's own operator for
    constant weights only. ``x`` is ``[..., I]``, ``weight`` ``[O, I]``, both fp32 on a CPU.
    """
    return _onednn_linear(weight, None, x)


@onednn_linear.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


@contextmanager
def tf32_products() -> Iterator[None]:
    """Within it, a GPU may round the factors of fp32 products to TF32's 10 bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def compiled_rows(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function of tensors ``[B, ...]``, whose rows are independent, compiled for every B."""
    compiled = torch.compile(function)

    def call(*batch: Tensor) -> Tensor:
        rows, batch = len(batch[0]), tuple(map(two_at_least, batch))
        for tensor in batch:
            torch._dynamo.mark_dynamic(tensor, 0)
        return compiled(*batch)[:rows]

    return call


def two_at_least(x: Tensor) -> Tensor:
    """Repeats a single row: compiled code is made for one row, or for any number from two."""
    return x if len(x) > 1 else x.repeat_interleave(2, dim=0)


@cache
def can_compile(device: str) -> bool:
    """Whether torch.compile works on this machine: it needs a C++ compiler, or Triton."""
    probe = torch.ones(2, device=device)
    try:
        torch.compile(_probe)(probe)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(f"torch.compile does not work here, going on without: {reason}", stacklevel=2)
        return False
    return True


def _probe(x: Tensor) -> Tensor:
    return x.sin() + x.cos()


def prefer_onednn(network: nn.Module) -> int:
    """Sends the fp32 linear layers of a CPU network through oneDNN where MKL would be slow.

    PyTorch's fp32 matrix product is MKL's, which runs AVX2 kernels on processors of other makers;
    oneDNN, which ships with the same PyTorch, uses their AVX-512. On a Zen 5 core that is 250
    against 107 GFLOP/s at the shapes of a small transformer. Weights must not change afterwards.

    Returns:
        The number of layers switched: 0 where MKL is at home or oneDNN is not available.
    """
    if not onednn_is_faster():
        return 0
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    for layer in layers:
        layer.forward = partial(_onednn_linear, layer.weight, layer.bias)  # type: ignore[method-assign]
    return len(layers)


def _onednn_linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        y = torch.ops.gcbench.onednn_linear(x, weight)
        return y if bias is None else y + bias
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def takes_onednn(x: Tensor) -> bool:
    """Whether products with ``x`` are better left to oneDNN: fp32 on a CPU where MKL is slow."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and onednn_is_faster()


@cache
def onednn_is_faster() -> bool:
    """Whether fp32 products on this CPU are better left to oneDNN."""
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
