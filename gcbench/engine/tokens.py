"""Scores images token by token, and keeps what the tokens say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gcbench.bench import Benchmark
from gcbench.engine.grid import Values, check_finite, encode_images, full_grid
from gcbench.errors import GcbenchError
from gcbench.method import AutoregressiveMethod, Method, SampleKey, Trials
from gcbench.plan import PlannedRun
from gcbench.scores import trial_ladder
from gcbench.streams import stream
from gcbench.tokens import TokenResults, TokenSums

if TYPE_CHECKING:
    import torch

PICTURE_SIDE = 64  # pictures are made smaller by whole factors, to about this many pixels


@dataclass(frozen=True)
class TrialTokens:
    """One trial of one image.

    Attributes:
        image: row of the encoded batch.
        score: [C] sums over the tokens, as the method's own `score`.
        log_likelihood: [C, N] in the order of visits.
        position: [N] of each visit.
    """

    image: int
    score: NDArray[np.float32]
    log_likelihood: NDArray[np.float32]
    position: NDArray[np.int64]


def check_analysis(
    methods: Sequence[Method], benchmarks: Sequence[Benchmark], known: Mapping[str, type[Method]]
) -> None:
    """Refuses what has no tokens or no wrong class; `known` are all methods there are.

    Raises:
        GcbenchError: names the first such method or benchmark.
    """
    able = sorted(name for name, cls in known.items() if issubclass(cls, AutoregressiveMethod))
    for method in methods:
        if not isinstance(method, AutoregressiveMethod):
            raise GcbenchError(
                f"{method.name} does not score token by token: there is nothing to analyze",
                hint=f"methods that do: {', '.join(able)}",
            )
    for benchmark in benchmarks:
        if len(benchmark.classes) < 2:
            raise GcbenchError(f"{benchmark.name} has one class: none to tell it from")


def score_tokens(
    planned: PlannedRun,
    images: Sequence[torch.Tensor],
    keys: Sequence[SampleKey],
    labels: Sequence[int],
    batch_size: int,
) -> tuple[Values, TokenResults]:
    """Raw scores [n, K, C] of loaded images, as `score_images` gives them, and the tokens' results.

    Args:
        labels: [n] true classes.
        batch_size: evaluations at a time, at most.

    Raises:
        GcbenchError: the method returned something that is not a finite score.
    """
    import torch

    method, classes, seed = planned.method, planned.spec.classes, planned.spec.seed
    assert isinstance(method, AutoregressiveMethod)
    latent = encode_images(method, images)
    drawn = method.trials(planned.spec.trials, keys, seed)
    ladder = trial_ladder(drawn.count)
    columns = [classes.index(label) for label in labels]
    false = [
        false_column(column, len(classes), seed, key.id)
        for column, key in zip(columns, keys, strict=True)
    ]
    values = np.empty((len(images), drawn.count, len(classes)), np.float32)
    found: list[dict[str, Any]] = []
    candidates, tokens = torch.tensor(classes), sum(side**2 for side in method.token_sides)
    scored = trial_tokens(method, latent, drawn, candidates, len(images), batch_size)
    for image, its_trials in groupby(scored, key=lambda one: one.image):
        sums = TokenSums(len(classes), tokens)
        for trial, one in enumerate(its_trials):
            values[image, trial] = one.score
            sums.add(one.log_likelihood, one.position)
            if sums.trials in ladder:
                found.append(sums.results(columns[image], false[image]))
    check_finite(method, values, keys)
    arrays = {name: np.stack([entry[name] for entry in found]) for name in found[0]}
    arrays = {k: v.reshape(len(images), len(ladder), *v.shape[1:]) for k, v in arrays.items()}
    ids = np.array(classes)
    names = np.array([planned.benchmark.label_space.labels[c] for c in classes])
    rival = arrays.pop("rival")
    results = TokenResults(
        trials=np.array(ladder),
        sides=np.array(method.token_sides),
        false_class=ids[false],
        rival=ids[rival],
        true_name=names[columns],
        false_name=names[false],
        rival_name=names[rival],
        picture=np.stack([picture(image) for image in images]),
        **arrays,
    )
    return values, results


def trial_tokens(
    method: AutoregressiveMethod,
    latent: torch.Tensor,
    drawn: Trials,
    classes: torch.Tensor,
    images: int,
    batch_size: int,
) -> Iterator[TrialTokens]:
    """Every trial of every image, image by image; at most `batch_size` evaluations at a time."""
    import torch

    # Several entries where the classes of a pair do not fit into one batch.
    held: list[tuple[torch.Tensor, torch.Tensor]] = []
    for work in full_grid((images, drawn.count), classes, batch_size):
        found = method.token_scores(latent, drawn, work)
        score = found.log_likelihood.sum(-1)  # [E]
        held.append((score.float().cpu(), found.log_likelihood.float().cpu()))
        if sum(len(part) for part, _ in held) < len(classes):
            continue
        scores, tokens = (torch.cat(parts) for parts in zip(*held, strict=True))
        held = []
        pairs = zip(
            work.image.tolist(),
            scores.unflatten(0, (-1, len(classes))).numpy(),  # [P, C]
            tokens.unflatten(0, (-1, len(classes))).numpy(),  # [P, C, N]
            found.position.cpu().numpy(),
            strict=True,
        )
        for pair in pairs:
            yield TrialTokens(*pair)


def false_column(true: int, classes: int, seed: int, sample_id: str) -> int:
    """A wrong one of so many classes, drawn from the stream of (seed, sample id)."""
    import torch

    generator = stream("false-class", seed, sample_id)
    drawn = int(torch.randint(classes - 1, (), generator=generator))
    return drawn + (drawn >= true)


def picture(views: torch.Tensor) -> NDArray[np.uint8]:
    """The first of an image's views [V, 3, H, W] in [-1, 1] as pixels [h, w, 3], made smaller."""
    import torch

    view = views[:1].float().cpu()
    factor = max(1, view.shape[-1] // PICTURE_SIDE)
    small = torch.nn.functional.avg_pool2d(view, factor)[0].permute(1, 2, 0)
    pixels: NDArray[np.uint8] = ((small.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    return pixels
