"""Kinds ``protocol``, ``crops`` and ``calc_statistics``: what surrounds the networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from gcbench.parity.fixture import Fixture, Quantity, absolute, identical
from gcbench.published import grouped_accuracies, sequential_draws
from gcbench.scores import rule_named

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

# The official script's numbering of its three aggregations.
_RULES = ("mean", "mean-posterior", "log-mean-exp")
# The script averages hits in float32.
_ACCURACY_TOLERANCE = 1e-6
_RULE_NAMES = ("mean_loglik", "mean_posterior", "logsumexp")


def check_protocol(fixture: Fixture) -> Iterator[Quantity]:
    """Crops, the order stream with and without crop draws, predictions, grouped accuracies."""
    import torch

    from gcbench.orders import published_orders
    from gcbench.preprocess import var_validation_transform

    io, config = fixture.tensors(), fixture.config
    for i, (size, seed) in enumerate(zip(config["image_sizes"], config["crop_seeds"], strict=True)):
        image = _image(io[f"image{i}"])
        yield _centre(f"image{i}.center_crop", image, size, io)
        yield _random(f"image{i}.random_crops", image, size, seed, io)
        name = f"image{i}.var_val_transform"
        yield absolute(name, var_validation_transform(image, size), io[name])

    stream, with_crops = io["orders_stream"], io["orders_stream_with_crops_of_image0"]
    seed, steps = config["order_seed"], stream.shape[1]
    orders = published_orders([0], len(stream), steps, seed)[0]
    yield identical("orders_stream", orders, stream)
    size = config["image_sizes"][0]
    draws = sequential_draws([_image(io["image0"])], len(with_crops), steps, size, seed)
    drawn = torch.stack([order for _, order in draws])
    yield identical("orders_stream_with_crops_of_image0", drawn, with_crops)

    scores, labels, classes = (io[key].numpy() for key in ("loglik", "targets", "classes"))
    for j, rule in enumerate(_RULES):
        predicted = classes[rule_named(rule)(scores).argmax(axis=-1)]
        name = f"pred_{_RULE_NAMES[j]}"
        yield identical(name, predicted, io[name])
        for n in range(1, scores.shape[1] + 1):
            name = f"acc_{j}_{n}_trials"
            accuracies = grouped_accuracies(scores, labels, classes, n, rule)
            yield absolute(name, accuracies, io[name], tolerance=_ACCURACY_TOLERANCE)


def check_crops(fixture: Fixture) -> Iterator[Quantity]:
    """Centre and random crops, bit for bit."""
    io, size = fixture.tensors(), fixture.config["out_size"]
    for i in range(len(fixture.config["sizes_wh"])):
        image = _image(io[f"img{i}"])
        yield _centre(f"center{i}", image, size, io)
        yield _random(f"random{i}", image, size, fixture.config["gen_seed_base"] + i, io)


def check_statistics(fixture: Fixture) -> Iterator[Quantity]:
    """Accuracies over disjoint groups of trials for every group size and rule."""
    io = fixture.tensors()
    scores, labels, classes = (io[key].numpy() for key in ("likelihoods", "targets", "classes"))
    for n in range(1, fixture.config["T"] + 1):
        for j, rule in enumerate(_RULES):
            name = f"n{n}.rule{j}"
            accuracies = grouped_accuracies(scores, labels, classes, n, rule)
            yield absolute(name, accuracies, io[name], tolerance=_ACCURACY_TOLERANCE)


def _image(pixels: torch.Tensor) -> Image:
    from PIL import Image

    return Image.fromarray(pixels.numpy())


def _centre(name: str, image: Image, size: int, io: dict[str, torch.Tensor]) -> Quantity:
    from gcbench.preprocess import centre_crop

    return identical(name, np.asarray(centre_crop(image, size)), io[name])


def _random(name: str, image: Image, size: int, seed: int, io: dict[str, torch.Tensor]) -> Quantity:
    import torch

    from gcbench.preprocess import random_crop

    generator = torch.Generator().manual_seed(seed)
    crops = [np.asarray(random_crop(image, size, generator)) for _ in range(len(io[name]))]
    return identical(name, np.stack(crops), io[name])
