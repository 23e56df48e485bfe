"""How fast a method is here, feature by feature, against its plain fp32 path and the machine.

The work is that of one image: K trials x C classes through the same calls as in a run. Every rung
of the ladder is timed in rounds after a first call that is not counted (it compiles), between two
measurements of the machine's peak: a large matrix product in the rung's precision.
"""

from __future__ import annotations

import gc
import json
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.engine.grid import encode_images, full_grid
from gcbench.engine.run import AUTO_BATCH_SIZE
from gcbench.errors import GcbenchError
from gcbench.method import DiscriminativeMethod, GenerativeMethod, Method, Runtime, SampleKey
from gcbench.provenance import provenance
from gcbench.streams import stream

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

PEAK_SIDE = 4096
ROUNDS = 5


@dataclass(frozen=True)
class Rung:
    """One way to run the method: a path, a precision, and what is left out."""

    name: str
    path: str
    precision: str
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Timing:
    """What a rung took for one image, and how near its scores are to the reference's.

    Attributes:
        rung: its name.
        seconds_per_image: median over rounds, encoding left out.
        fastest, slowest: of the rounds.
        evaluations_per_second: a discriminative pass counts as one.
        gflops: GFLOP/s that were really done; None when the method cannot tell.
        peak_gflops: of a large matrix product in the same precision, in this run.
        share_of_peak: the ratio of the two.
        ratio: seconds of the reference over this rung's.
        relative_error: largest relative difference of a score.
        centred_error: largest difference in nats once each trial's mean difference is taken out.
        same_argmax: whether every trial and their mean prefer the same class.
    """

    rung: str
    seconds_per_image: float
    fastest: float
    slowest: float
    evaluations_per_second: float
    gflops: float | None
    peak_gflops: float
    share_of_peak: float | None
    ratio: float
    relative_error: float
    centred_error: float
    same_argmax: bool


def ladder(method: Method, precisions: Sequence[str]) -> list[Rung]:
    """The plain fp32 path, then what is gained step by step in each precision."""
    rungs = []
    for precision in precisions:
        rungs.append(Rung(f"{precision} reference", "reference", precision))
        if not method.features:
            continue
        rungs.append(Rung(f"{precision} fast", "fast", precision))
        rungs += [
            Rung(f"{precision} compiled, no {f}", "compiled", precision, frozenset({f}))
            for f in method.features
        ]
        rungs.append(Rung(f"{precision} compiled", "compiled", precision))
    return rungs


def reshaped(method: Method, changes: Mapping[str, Any], runtime: Runtime) -> Method:
    """The method with other constructor arguments, `role.name` -> value; with random weights only.

    Raises:
        GcbenchError: the weights are real, or there is no network of that role.
    """
    if changes and not runtime.random_weights:
        raise GcbenchError(
            "--set changes the shape of the network, and the weights would not fit",
            hint="add --random-weights",
        )
    variant = method.variant
    config = {role: dict(method.config(role)) for role in variant.checkpoints}
    for name, value in changes.items():
        role, dot, key = name.partition(".")
        role, key = (role, key) if dot else ("model", name)
        if role not in config:
            raise GcbenchError(
                f"--set {name}: {method.name} has no network {role!r}",
                hint=f"its networks: {', '.join(config)}",
            )
        config[role][key] = value
    changed = replace(variant, config={**variant.config, **config})
    return type(method)(changed, runtime)


def measure(
    method: Method,
    *,
    classes: int,
    trials: int,
    precisions: Sequence[str] = ("fp32", "bf16"),
    batch_size: int | None = None,
    rounds: int = ROUNDS,
    on_rung: Callable[[Timing], object] = lambda timing: None,
) -> dict[str, Any]:
    """Times every rung on one image of noise.

    Args:
        method: on the reference path; not loaded.
        classes: the first so many of the label space are the candidates.
        trials: K.
        on_rung: called with each result as it is there.

    Returns:
        What was measured and where: `timings`, `encode_seconds`, `peak_memory_mb`, provenance.
    """
    import torch

    device = method.runtime.device
    size = batch_size or AUTO_BATCH_SIZE.get(device.partition(":")[0], 64)
    timings: list[Timing] = []
    reference: np.ndarray[Any, np.dtype[np.float32]] | None = None
    encode_seconds = 0.0
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    for rung in ladder(method, precisions):
        made = type(method)(
            method.variant,
            replace(method.runtime, path=rung.path, precision=rung.precision, without=rung.without),
        )
        made.load()
        with torch.inference_mode():
            encode_seconds, score = _work(made, classes, trials, size)
            scores = score()
            before = peak_gflops(device, rung.precision)
            seconds = [_timed(score, device) for _ in range(rounds)]
            peak = max(before, peak_gflops(device, rung.precision))
        if reference is None:
            reference = scores
        flops = made.flops_done(classes)
        timing = _timing(rung, seconds, scores, reference, timings, flops, peak)
        timings.append(timing)
        on_rung(timing)
        del made, score
        gc.collect()
    return {
        "method": method.name,
        "variant": method.variant.name,
        "random_weights": method.runtime.random_weights,
        "config": {role: dict(method.config(role)) for role in method.variant.checkpoints},
        "classes": classes,
        "trials": trials,
        "batch_size": size,
        "rounds": rounds,
        "encode_seconds": encode_seconds,
        "peak_memory_mb": round(_peak_memory(device) / 1e6),
        "timings": [asdict(t) for t in timings],
        "provenance": provenance(device),
    }


def _work(
    method: Method, classes: int, trials: int, size: int
) -> tuple[float, Callable[[], np.ndarray[Any, np.dtype[np.float32]]]]:
    """Seconds to encode the image, and a function that scores it: [K, C]."""
    import torch

    candidates = torch.arange(classes)
    key = SampleKey("noise", 0)
    start = time.perf_counter()
    if isinstance(method, DiscriminativeMethod):
        batch = method.preprocess(_noise(method))[None].to(method.runtime.device)
        ready = time.perf_counter() - start
        return ready, lambda: method.scores(batch, candidates)[0].float().cpu().numpy()
    assert isinstance(method, GenerativeMethod)
    latent = encode_images(method, [method.views(_noise(method), key, trials, 0)])
    drawn = method.trials(trials, [key], 0)
    ready = time.perf_counter() - start

    def score() -> np.ndarray[Any, np.dtype[np.float32]]:
        works = full_grid((1, trials), candidates, size)
        parts = [method.score(latent, drawn, work).float().cpu() for work in works]
        return torch.cat(parts).view(trials, classes).numpy()

    return ready, score


def _noise(method: Method) -> Image:
    import torch
    from PIL import Image

    side = method.variant.image_size
    pixels = torch.randint(256, (side, side, 3), generator=stream("speed"), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def _timed(score: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    score()  # its result is on the CPU, so the device is done
    return time.perf_counter() - start


def peak_gflops(device: str, precision: str, repeats: int = 3) -> float:
    """The best of a few products of two square matrices, in GFLOP/s."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE, device=device, dtype=dtype) for _ in range(2))

    def product() -> None:
        y = _product(a, b)
        y[0, 0].item()

    product()
    best = min(_timed(product, device) for _ in range(repeats))
    return float(2 * PEAK_SIDE**3 / best / 1e9)


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    from gcbench.nets.kernels import onednn_linear, takes_onednn

    if takes_onednn(a):
        y: torch.Tensor = onednn_linear(a, b)
        return y
    return F.linear(a, b)


def _timing(
    rung: Rung,
    seconds: Sequence[float],
    scores: np.ndarray[Any, np.dtype[np.float32]],
    reference: np.ndarray[Any, np.dtype[np.float32]],
    before: Sequence[Timing],
    flops: float | None,
    peak: float,
) -> Timing:
    median = statistics.median(seconds)
    difference = scores.astype(np.float64) - reference  # [K, C]
    centred = difference - difference.mean(axis=1, keepdims=True)
    same = (scores.argmax(1) == reference.argmax(1)).all()
    same = same and scores.mean(0).argmax() == reference.mean(0).argmax()
    gflops = scores.size * flops / median / 1e9 if flops else None
    return Timing(
        rung=rung.name,
        seconds_per_image=median,
        fastest=min(seconds),
        slowest=max(seconds),
        evaluations_per_second=scores.size / median,
        gflops=gflops,
        peak_gflops=peak,
        share_of_peak=gflops / peak if gflops else None,
        ratio=(before[0].seconds_per_image if before else median) / median,
        relative_error=float(np.abs(difference / reference).max()),
        centred_error=float(np.abs(centred).max()),
        same_argmax=bool(same),
    )


def _peak_memory(device: str) -> int:
    """Bytes: of the device, or of the whole process on a CPU."""
    import torch

    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` words to numbers, truth values or strings by key.

    Raises:
        GcbenchError: a word has no `=`.
    """
    parsed: dict[str, Any] = {}
    for word in changes:
        key, separator, text = word.partition("=")
        if not separator:
            raise GcbenchError(f"--set {word}: expected KEY=VALUE", hint="such as --set dim=384")
        try:
            parsed[key] = json.loads(text)
        except ValueError:
            parsed[key] = text
    return parsed


COLUMNS = (
    "path",
    "s/image",
    "evals/s",
    "GFLOP/s",
    "of peak",
    "speed-up",
    "rel. error",
    "centred, nats",
    "same argmax",
)
LINE = "{:<40}{:>10}{:>10}{:>10}{:>9}{:>10}{:>12}{:>15}{:>13}"


def line(t: Timing) -> str:
    """A rung as a line below `COLUMNS`."""
    return LINE.format(
        t.rung,
        f"{t.seconds_per_image:.3f}",
        f"{t.evaluations_per_second:.1f}",
        "?" if t.gflops is None else f"{t.gflops:.0f}",
        "?" if t.share_of_peak is None else f"{t.share_of_peak:.0%}",
        f"{t.ratio:.2f}x",
        f"{t.relative_error:.1e}",
        f"{t.centred_error:.1e}",
        "yes" if t.same_argmax else "NO",
    )


def conditions(found: Mapping[str, Any]) -> str:
    """Where it was measured, and what else `measure` found, in a line below the rungs."""
    where, peaks = found["provenance"], dict[str, float]()
    for timing in found["timings"]:
        name, peak = timing["rung"].split()[0], timing["peak_gflops"]
        peaks[name] = max(peak, peaks.get(name, 0.0))
    return (
        f"{where['device']}, {where['threads']} threads, torch {where['torch']}; encoding "
        f"{found['encode_seconds']:.3f} s/image; peak memory {found['peak_memory_mb']} MB; peak "
        + ", ".join(f"{name} {peak:.0f} GFLOP/s" for name, peak in peaks.items())
    )
