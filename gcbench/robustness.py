"""How far noise on its latents moves a tokenizer: flipped tokens, and what is drawn from them.

Source: the paper's section 6.4 and Table 3. Latents before quantisation become (1 - t) z + t eps; a
token is flipped when it is not the one of t = 0.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.bench import Benchmark, Sample
from gcbench.engine.locks import exclusive
from gcbench.errors import GcbenchError
from gcbench.features import Features, Inception, MiniReference
from gcbench.frechet import Moments, frechet_distance
from gcbench.metrics import psnr_db
from gcbench.provenance import provenance
from gcbench.stats import mean_interval
from gcbench.store import Store, explained, read_json, remove_leftovers, write_json
from gcbench.streams import normal_draws
from gcbench.tokenizers import Tokenizer

if TYPE_CHECKING:
    import torch

    from gcbench.features import Extract
    from gcbench.tokenizers import Network

VERSION = 1  # part of a record's name: raise it when a change moves a number beyond rounding
# Fixed, so that what is computed together never depends on how the command was called.
IMAGES_AT_ONCE = 16


def features_for(tokenizer: Tokenizer) -> Features:
    """The network by whose features its reconstructions are compared with the originals."""
    return MiniReference() if tokenizer.shipped else Inception()


def latent_noise(ids: Sequence[str], shape: Sequence[int], seed: int) -> torch.Tensor:
    """Standard normal [B, *shape]: an image's is the same for every t and in every company."""
    return normal_draws("latent-noise", seed, ids, [()], shape)[:, 0]


def as_images(network: Network, drawn: torch.Tensor) -> torch.Tensor:
    """What a tokenizer draws as uint8 images, in the way of the official evaluations.

    LlamaGen scales [-1, 1] by 127.5 and adds 128, MaskGIT scales [0, 1] by 255; both clamp, then
    cut off the fraction.
    """
    import torch

    scaled = drawn * 255 if network.reads == (0.0, 1.0) else drawn * 127.5 + 128
    return scaled.clamp(0, 255).to(torch.uint8)


def measure(
    tokenizer: Tokenizer,
    benchmark: Benchmark,
    levels: Sequence[float],
    *,
    seed: int,
    store: Store,
    device: str,
    echo: Callable[[str], object],
) -> dict[str, Any]:
    """Measures the levels of noise that the store lacks; the record with all that it has.

    A level is stored as soon as it is finished, so an interruption loses the level at hand.

    Raises:
        GcbenchError: weights or packages are missing, an image cannot be read, or the store cannot
            be written.
    """
    features = features_for(tokenizer)
    asked = _asked(tokenizer, features, benchmark, seed)
    file = store.tokenizer_file(_name(asked))
    with explained(file):
        file.parent.mkdir(exist_ok=True)
    with exclusive(file.parent / "locks" / file.stem, wait=True):
        remove_leftovers(file)
        record = read_json(file) if file.is_file() else {**asked, "levels": []}
        done = {level["t"]: level for level in record["levels"]}
        if not done.keys() >= set(levels):
            network, extract = tokenizer.load(device), features.load(device)
            vocabulary = network.quantize.embedding.num_embeddings
        for t in levels:
            if t not in done:
                done[t] = _level(tokenizer, network, extract, benchmark, t, seed, device)
                stored = [done[each] for each in sorted(done)]
                record = {**asked, "vocabulary": vocabulary, "levels": stored}
                write_json(file, record)
            echo(line(record, done[t]))
    return record


def line(record: dict[str, Any], level: dict[str, Any]) -> str:
    """A level of noise in one line."""
    flipped = level["flipped"]
    low, high = flipped["interval"]
    return (
        f"{record['tokenizer']} · {record['benchmark']} ({record['subset']}) · t = {level['t']:g}: "
        f"{flipped['ratio']:.3f} [{low:.3f}, {high:.3f}] of the tokens flipped · "
        f"PSNR {psnr_db(level['mse']):.2f} dB · "
        f"{record['features']['distance']} {level['frechet_distance']:.4g}"
    )


def _asked(
    tokenizer: Tokenizer, features: Features, benchmark: Benchmark, seed: int
) -> dict[str, Any]:
    return {
        "tokenizer": tokenizer.name,
        "family": tokenizer.family,
        "weights": tokenizer.weights(),
        "preprocessing": tokenizer.preprocessing,
        "features": {
            "name": features.name,
            "distance": features.distance,
            "weights": features.weights(),
        },
        "benchmark": benchmark.name,
        "suite": benchmark.suite,
        "benchmark_digest": benchmark.digest,
        "subset": benchmark.subset,
        "samples_digest": benchmark.samples_digest,
        "images": len(benchmark),
        "seed": seed,
        "version": VERSION,
    }


def _name(asked: dict[str, Any]) -> str:
    """A record's file name: readable parts, made unique by all that its numbers depend on."""
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    parts = (asked["tokenizer"], asked["benchmark"], asked["subset"], digest[:12])
    return ".".join(part.replace(":", "_").replace("/", "_") for part in parts)


def _level(
    tokenizer: Tokenizer,
    network: Network,
    extract: Extract,
    benchmark: Benchmark,
    t: float,
    seed: int,
    device: str,
) -> dict[str, Any]:
    import torch

    from gcbench.nets.var_vqvae import VQVAE
    from gcbench.nets.vqgan import noised

    began = time.perf_counter()
    flips, squared_error, pixels = [], 0, 0
    moments: list[Moments] = []  # of the originals and of what was drawn
    for first in range(0, len(benchmark), IMAGES_AT_ONCE):
        samples = benchmark.samples[first : first + IMAGES_AT_ONCE]
        originals = torch.stack([_view(tokenizer, sample) for sample in samples]).to(device)
        with torch.inference_mode():
            latent = network.encode_latent(network.pixels(originals.float() / 127.5 - 1))
            noise = latent_noise([s.id for s in samples], latent.shape[1:], seed).to(device)
            strength = torch.full((len(samples),), t, device=device)
            tokens = network.quantize(noised(latent, strength, noise))  # [B, L]
            flips.append((tokens != network.quantize(latent)).cpu().numpy())
            drawn = as_images(network, network.decode_tokens(tokens))
            found = [extract(images).cpu().numpy() for images in (originals, drawn)]  # 2 x [B, d]
        squared_error += int((drawn.int() - originals.int()).square().sum())
        pixels += originals.numel()
        moments = moments or [Moments(vectors.shape[1]) for vectors in found]
        for moment, vectors in zip(moments, found, strict=True):
            moment.add(vectors)
    flipped = np.concatenate(flips)  # [N, L]
    level = {"t": t, "flipped": _flipped(flipped)}
    if isinstance(network, VQVAE):
        finest = network.patch_nums[-1] ** 2
        level["flipped_finest_scale"] = _flipped(flipped[:, -finest:])
    return level | {
        "mse": squared_error / 255**2 / pixels,
        "frechet_distance": frechet_distance(*moments),
        "seconds": round(time.perf_counter() - began, 2),
        "provenance": provenance(device),
    }


def _flipped(flipped: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """Counts over tokens [N, L]. The interval is over images: the tokens of one are no samples."""
    ratios = flipped.mean(axis=1)
    low, high = mean_interval(ratios)
    return {
        "count": int(flipped.sum()),
        "of": flipped.size,
        "ratio": float(flipped.mean()),
        "interval": [max(0.0, low), min(1.0, high)],
    }


def _view(tokenizer: Tokenizer, sample: Sample) -> torch.Tensor:
    try:
        return tokenizer.view(sample.load())
    except OSError as error:
        raise GcbenchError(
            f"sample {sample.id!r} cannot be read: {error}",
            hint="a distance between sets needs all of their images: restore that file",
        ) from error
