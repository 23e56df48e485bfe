"""Which tokens of an image speak for its class and which for the class it is closest to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gcbench.analysis import Analysis
from gcbench.tokens import TokenResults, TokenSummary


@dataclass(frozen=True)
class RivalMap:
    """log p(token | true class) - log p(token | rival), in nats, mean over `trials` orders.

    Attributes:
        analysis: where it is from.
        true, rival: names of the classes; the rival is the best wrong one of the image.
        difference: [side, side], positive where a token speaks for the true class.
    """

    analysis: Analysis
    trials: int
    true: str
    rival: str
    difference: NDArray[np.float64]

    @property
    def sides(self) -> tuple[tuple[str, NDArray[np.float64]], ...]:
        """Either class with what speaks for it, clipped at 0."""
        speaks = np.clip(self.difference, 0, None), np.clip(-self.difference, 0, None)
        return (self.true, speaks[0]), (self.rival, speaks[1])


def rival_maps(analysis: Analysis) -> dict[str, RivalMap]:
    """The maps after all trials, by sample id: of every image, or of those a summary shows.

    Of tokens on several grids the finest is taken.

    Raises:
        GcbenchError: a file of the analysis is damaged.
    """
    every = analysis.every_image()
    if every is not None:
        return _last(analysis, *every)
    found = analysis.tokens
    return {} if found is None else _last(analysis, found.sample_ids.tolist(), found)


def _last(
    analysis: Analysis, ids: Sequence[str], found: TokenResults | TokenSummary
) -> dict[str, RivalMap]:
    side = int(found.sides[-1])
    maps = found.against_rival[:, -1, -side * side :].astype(np.float64)
    return {
        id: RivalMap(
            analysis,
            int(found.trials[-1]),
            str(found.true_name[row]),
            str(found.rival_name[row, -1]),
            maps[row].reshape(side, side),
        )
        for row, id in enumerate(ids)
    }


def maps_of(
    analyses: Iterable[Analysis], method: str, variant: str, benchmark: str, digest: str
) -> dict[str, RivalMap]:
    """The maps of all analyses of a classifier, by sample id; of the same image the most trials.

    Args:
        digest: of the benchmark, so that equal ids are equal images.
    """
    found: dict[str, RivalMap] = {}
    wanted = (method, variant, benchmark, digest)
    for analysis in analyses:
        spec = analysis.spec
        of = (spec["method"], spec["variant"], spec["benchmark"], spec["benchmark_digest"])
        if of == wanted:
            for id, one in rival_maps(analysis).items():
                if id not in found or one.trials > found[id].trials:
                    found[id] = one
    return found
