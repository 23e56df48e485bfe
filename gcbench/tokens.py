"""What the single tokens of an image say about its class. Pure numpy.

Sources: paper section 5 (Figures 3 to 5) and appendix B (Figure 8). Everything is computed from two
running sums over trials, [C, N] by position and [C, N] by visit rank, so that the log-likelihoods
[K, C, N] of an image are never held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class TokenResults:
    """n images, after each of L counts of trials, N tokens.

    `right` means that the true class has the highest mean log-likelihood over the trials so far,
    by part of the tokens alone. The maps are log p(token | true class) - log p(token | another),
    means over the trials so far, not clipped.

    Attributes:
        trials: [L] the counts of trials.
        sides: [S] of the square grids that the positions fill, the finest last.
        position_right: [n, L, N] by the token at a position.
        rank_right: [n, L, N] by the token that each order visits at a rank.
        first_right: [n, L, N] by the first 1, ..., N tokens of each order together.
        last_right: [n, L, N] by the last 1, ..., N tokens of each order together.
        false_class: [n] a wrong class drawn at random.
        rival: [n, L] the wrong class with the highest mean log-likelihood of the image.
        against_false: [n, L, N] map against the false class, by position.
        against_rival: [n, L, N] map against the rival, by position.
        true_name, false_name, rival_name: [n], [n], [n, L] names of the classes.
        picture: [n, h, w, 3] the image that the tokens were made of.
    """

    trials: NDArray[np.int64]
    sides: NDArray[np.int64]
    position_right: NDArray[np.bool_]
    rank_right: NDArray[np.bool_]
    first_right: NDArray[np.bool_]
    last_right: NDArray[np.bool_]
    false_class: NDArray[np.int64]
    rival: NDArray[np.int64]
    against_false: NDArray[np.float16]
    against_rival: NDArray[np.float16]
    true_name: NDArray[np.str_]
    false_name: NDArray[np.str_]
    rival_name: NDArray[np.str_]
    picture: NDArray[np.uint8]


PER_RUN = ("trials", "sides")
COUNTED = ("position_right", "rank_right", "first_right", "last_right")
SHOWN = (
    *("false_class", "rival", "against_false", "against_rival"),
    *("true_name", "false_name", "rival_name", "picture"),
)


@dataclass(frozen=True)
class TokenSummary:
    """All images of a run: how many are right by which tokens, and the maps of a few of them.

    Attributes:
        total: [] number of images.
        position_right, rank_right, first_right, last_right: [L, N] number of images.
        sample_ids, labels: [m] of the images that are shown.
        false_class and all below: [m, ...] of these images.

    The others are as in `TokenResults`.
    """

    total: NDArray[np.int64]
    trials: NDArray[np.int64]
    sides: NDArray[np.int64]
    position_right: NDArray[np.int64]
    rank_right: NDArray[np.int64]
    first_right: NDArray[np.int64]
    last_right: NDArray[np.int64]
    sample_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    false_class: NDArray[np.int64]
    rival: NDArray[np.int64]
    against_false: NDArray[np.float16]
    against_rival: NDArray[np.float16]
    true_name: NDArray[np.str_]
    false_name: NDArray[np.str_]
    rival_name: NDArray[np.str_]
    picture: NDArray[np.uint8]


class TokenSums:
    """Log-likelihoods [C, N] of one image, summed over its trials: by position, by visit rank."""

    def __init__(self, classes: int, tokens: int):
        self.trials = 0
        self.by_position: Sums = np.zeros((classes, tokens))
        self.by_rank: Sums = np.zeros((classes, tokens))

    def add(self, log_likelihood: NDArray[np.floating], position: NDArray[np.integer]) -> None:
        """Takes a trial in: [C, N] in the order of visits, and the position [N] of each visit."""
        self.by_rank += log_likelihood
        self.by_position[:, position] += log_likelihood
        self.trials += 1

    def results(self, true: int, false: int) -> dict[str, Any]:
        """What the trials so far say, as one entry of `TokenResults`, classes as rows of the sums.

        Of equal classes the first counts as the highest, as everywhere.
        """
        scores = self.by_rank.sum(axis=1)  # [C]
        rival = int(np.where(np.arange(len(scores)) == true, -np.inf, scores).argmax())
        backwards = self.by_rank[:, ::-1].cumsum(axis=1)
        mean = self.by_position / self.trials
        return {
            "position_right": self.by_position.argmax(axis=0) == true,
            "rank_right": self.by_rank.argmax(axis=0) == true,
            "first_right": self.by_rank.cumsum(axis=1).argmax(axis=0) == true,
            "last_right": backwards.argmax(axis=0) == true,
            "rival": rival,
            "against_false": (mean[true] - mean[false]).astype(np.float16),
            "against_rival": (mean[true] - mean[rival]).astype(np.float16),
        }


def joined(parts: Sequence[TokenResults]) -> TokenResults:
    """The images of all parts, one after the other."""
    first = parts[0]
    columns = (f.name for f in fields(TokenResults) if f.name not in PER_RUN)
    together = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    return TokenResults(trials=first.trials, sides=first.sides, **together)


def summed_up(
    results: TokenResults, sample_ids: Sequence[str], labels: Sequence[int], shown: int
) -> TokenSummary:
    """Counts over all images, and the results of `shown` of them; see `spread`."""
    few = spread(labels, shown)
    return TokenSummary(
        total=np.array(len(labels)),
        sample_ids=np.array([sample_ids[i] for i in few], np.str_),
        labels=np.array([labels[i] for i in few], np.int64),
        **{name: getattr(results, name) for name in PER_RUN},
        **{name: getattr(results, name).sum(axis=0) for name in COUNTED},
        **{name: getattr(results, name)[few] for name in SHOWN},
    )


def spread(labels: Sequence[int], count: int) -> list[int]:
    """Positions of up to `count` images: one of each class, then a second one, and so on.

    Where there are more classes, one image each of `count` of them, evenly spread.
    """
    members: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        members.setdefault(label, []).append(position)
    classes = sorted(members)
    if len(classes) > count:
        classes = [classes[i * len(classes) // count] for i in range(count)]
    each = count // max(1, len(classes))
    return [members[c][turn] for turn in range(each) for c in classes if turn < len(members[c])]
