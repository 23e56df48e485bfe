"""Scores images: encode once, draw the trials, evaluate the grid or what a strategy asks of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.bench import Sample
from gcbench.engine import adaptive
from gcbench.engine.race import NO_SPREAD, Spread
from gcbench.engine.rounds import evaluate_rounds, evaluate_stages, schedule
from gcbench.errors import GcbenchError
from gcbench.method import DiscriminativeMethod, GenerativeMethod, Method, SampleKey, Trials, Work
from gcbench.scales import CoarseToFineMethod
from gcbench.sequential import SequentialMethod
from gcbench.strategy import EXHAUSTIVE, Strategy

if TYPE_CHECKING:
    import torch

    from gcbench.engine.near_ties import NearTies
    from gcbench.nets.prefix import Followed

Values = np.ndarray[Any, np.dtype[np.float32]]


def full_grid(pairs_shape: tuple[int, int], classes: torch.Tensor, size: int) -> Iterator[Work]:
    """All (image, trial) pairs x all classes, in batches of about `size` evaluations.

    Batches hold whole pairs; a pair with more than `size` classes is cut into near equal parts.
    `pairs_shape` is (images, trials); evaluations come image-major, then trial, then class.
    """
    import torch

    images, trials = pairs_shape
    width = len(classes)
    pairs = max(1, size // width)
    for start in range(0, images * trials, pairs):
        index = torch.arange(start, min(start + pairs, images * trials))  # [P]
        for part in classes.tensor_split(-(-width // max(size, 1))):
            yield Work(
                image=index // trials,
                trial=index % trials,
                classes=part.repeat(len(index)),
                offsets=torch.arange(len(index) + 1) * len(part),
            )


def score_images(
    method: Method,
    images: Sequence[torch.Tensor],
    keys: Sequence[SampleKey],
    classes: Sequence[int],
    *,
    trials: int,
    seed: int,
    batch_size: int,
    strategy: Strategy = EXHAUSTIVE,
    spread: Spread = NO_SPREAD,
    ties: NearTies | None = None,
) -> Values:
    """Raw scores [n, K, C] of loaded images; at most `batch_size` evaluations at a time.

    Evaluations that the strategy left out are NaN.

    Args:
        images: of each sample, as `load_images` gives them: [3, H, W], or views [V, 3, H, W].
        spread: of paired gaps on calibration images, for a race.
        ties: scores near ties again in fp32, where the method runs in less.

    Raises:
        GcbenchError: the method returned something that is not a finite score.
    """
    import torch

    device = method.runtime.device
    candidates = torch.tensor(classes)  # [C]
    if isinstance(method, DiscriminativeMethod):
        parts = [
            method.scores(torch.stack(list(images[i : i + batch_size])).to(device), candidates)
            for i in range(0, len(images), batch_size)
        ]
        values = torch.cat(parts).float().cpu().numpy()
    elif isinstance(method, GenerativeMethod):
        latent = encode_images(method, images)
        drawn = method.trials(trials, keys, seed)
        if strategy.exhaustive:
            scored = [
                method.score(latent, drawn, work).float().cpu()
                for work in full_grid((len(images), trials), candidates, batch_size)
            ]
            values = _assembled(scored, (len(images), trials, len(classes)), batch_size)
            check_finite(method, values, keys)
        else:
            values = _selected(
                method, latent, drawn, keys, candidates, strategy, spread, batch_size
            )
        if ties is not None:
            ties.settle(latent, drawn, candidates, values, batch_size)
        return values
    else:
        raise TypeError(f"{type(method).__name__} implements neither protocol")
    check_finite(method, values, keys)
    return values


def encode_images(method: GenerativeMethod, images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Latents [n, ...] of loaded images, [n, V, ...] when each has V > 1 views."""
    import torch

    # One by one: a latent, and with it every score, must not depend on its neighbours.
    encoded = [
        torch.cat([method.encode(view[None].to(method.runtime.device)) for view in views])
        for views in (image.reshape(-1, *image.shape[-3:]) for image in images)
    ]
    latent = torch.stack(encoded)  # [n, V, ...]
    return latent[:, 0] if latent.shape[1] == 1 else latent


def check_finite(method: Method, values: Values, keys: Sequence[SampleKey]) -> None:
    """Refuses scores [n, ...] that are not finite, naming the first sample that has one."""
    if not np.isfinite(values).all():
        image = int(np.argwhere(~np.isfinite(values))[0][0])
        raise GcbenchError(
            f"{method.name} gave a score that is not finite for sample {keys[image].id!r}",
            hint="the checkpoint may be damaged; try --precision fp32",
        )


def _selected(
    method: GenerativeMethod,
    latent: torch.Tensor,
    drawn: Trials,
    keys: Sequence[SampleKey],
    candidates: torch.Tensor,
    strategy: Strategy,
    spread: Spread,
    batch_size: int,
) -> Values:
    """Scores [n, K, C] of what the strategy evaluates, NaN elsewhere."""
    alive = np.ones((len(keys), len(candidates)), bool)
    if strategy.staged:
        assert isinstance(method, CoarseToFineMethod)
        check = partial(check_finite, method, keys=keys)
        stages = strategy.rounds
        return evaluate_stages(method, latent, drawn, candidates, stages, alive, batch_size, check)
    if strategy.proposes:
        assert isinstance(method, SequentialMethod)
        proposed = method.propose(latent, drawn, candidates, batch_size).float().cpu().numpy()
        check_finite(method, proposed, keys)
        alive = adaptive.best(proposed[:, None], alive, strategy.keep or len(candidates))
    order = method.race_order(drawn.count, spread.sizes)
    known = None
    if strategy.prefixes:
        assert isinstance(method, SequentialMethod)
        keep, share = strategy.keep or len(candidates), strategy.prefix or 0.0
        found = method.follow_best(latent, drawn, order[0], candidates, share, keep, batch_size)
        known = _known(found, (len(keys), drawn.count, len(candidates)), order[0])
        alive = np.isfinite(known[:, order[0]])
    rounds, rule = schedule(strategy, order, spread)
    values, made = evaluate_rounds(
        method, latent, drawn, candidates, rounds, rule, alive, batch_size, known
    )
    check_finite(method, np.where(made, values, 0), keys)
    return values


def _known(found: Followed, shape: tuple[int, int, int], trial: int) -> Values:
    """Scores [n, K, C] of the classes that were followed in that trial, NaN elsewhere."""
    known = np.full(shape, np.nan, np.float32)
    columns = found.columns.cpu().numpy()
    scores = found.log_likelihood.float().cpu().numpy()
    np.put_along_axis(known[:, trial], columns, scores, axis=1)
    return known


def _assembled(parts: list[torch.Tensor], shape: tuple[int, int, int], size: int) -> Values:
    import torch

    images, trials, width = shape
    if width <= size:
        return torch.cat(parts).reshape(shape).numpy()
    per_pair = -(-width // size)
    rows = [torch.cat(parts[i : i + per_pair]) for i in range(0, len(parts), per_pair)]
    return torch.stack(rows).reshape(images, trials, width).numpy()


def load_images(
    method: Method, samples: Sequence[Sample], keys: Sequence[SampleKey], trials: int, seed: int
) -> tuple[dict[int, torch.Tensor], dict[str, str]]:
    """The network's inputs by position in `samples`, and the reason for each unreadable image.

    [3, H, W] for a discriminative method, views [V, 3, H, W] for a generative one.
    """
    images: dict[int, torch.Tensor] = {}
    failures: dict[str, str] = {}
    for position, (sample, key) in enumerate(zip(samples, keys, strict=True)):
        try:
            image = sample.load()
            if isinstance(method, GenerativeMethod):
                images[position] = method.views(image, key, trials, seed)
            else:
                images[position] = method.preprocess(image)
        except (OSError, ValueError) as error:
            failures[sample.id] = str(error) or type(error).__name__
        except Exception as error:  # decoders raise many types for a damaged file
            failures[sample.id] = f"{type(error).__name__}: {error}"
    return images, failures
