"""Classes ranked by the beginning of a sequence, and the best of them followed to its end.

The first tokens of a sequence tell most classes apart at a fraction of the price. Keys and values
of what was read are kept, so that the classes that go on cost only the rest of the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcbench.nets.fast_decoder import FastDecoder
from gcbench.nets.sequences import Sequences


@dataclass(frozen=True)
class Followed:
    """The classes of each image that were followed to the end.

    Attributes:
        columns: int64 ``[P, keep]``, rows of the candidates, best beginning first.
        log_likelihood: float32 ``[P, keep]``, of the whole sequence, in nats.
    """

    columns: Tensor
    log_likelihood: Tensor


def follow_best(
    decoder: FastDecoder, of: Sequences, classes: Tensor, share: float, keep: int, batch_size: int
) -> Followed:
    """Ranks all classes by a beginning of each sequence, and follows the best to its end.

    Args:
        of: P sequences.
        classes: candidates, int64 ``[C]``.
        share: of the sequence's tokens that all classes read, in (0, 1); at least one is.
        keep: classes that go on, at most C.
        batch_size: classes that go through the network at once, at most.
    """
    length = of.x.shape[1]
    cut = of.stride * max(1, round(share * of.targets.shape[1]))
    columns, totals = [], []
    for row in range(len(of.x)):
        own = _row(of, row)
        begun, pasts = [], []
        for part in classes.split(batch_size):
            found, past = decoder.advance(own, part, range(min(cut, length)), None)
            begun.append(found.sum(1))
            pasts.append(past)
        scores = torch.cat(begun)  # [C]
        best = scores.argsort(descending=True, stable=True)[:keep]
        rest = []
        for chosen in best.split(batch_size) if cut < length else ():
            past = [
                (torch.cat(keys)[chosen], torch.cat(values)[chosen])
                for keys, values in (
                    zip(*of_parts, strict=True) for of_parts in zip(*pasts, strict=True)
                )
            ]
            found, _ = decoder.advance(own, classes[chosen], range(cut, length), past)
            rest.append(found.sum(1))
        columns.append(best)
        totals.append(scores[best] + (torch.cat(rest) if rest else 0))
    return Followed(torch.stack(columns), torch.stack(totals))


def _row(of: Sequences, row: int) -> Sequences:
    """One sequence of several."""
    rope = of.rope[row : row + 1] if len(of.rope) > 1 else of.rope
    first = None if of.first_target is None else of.first_target[row : row + 1]
    own = slice(row, row + 1)
    return replace(of, x=of.x[own], rope=rope, targets=of.targets[own], first_target=first)
