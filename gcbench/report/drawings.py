"""Every figure by its name: drawn when it is called, from what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcbench.analysis import Analysis
from gcbench.bench import Benchmark
from gcbench.errors import GcbenchError
from gcbench.report.figures import save
from gcbench.report.layouts import suite_of
from gcbench.store import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The paper's numbers of figures.
NUMBERED = {
    "1": "token-orders",
    "3": "token-maps",
    "4": "token-accuracy",
    "5": "token-prefix",
    "6": "accuracy-cost",
    "7": "errors",
    "8": "token-discarded",
    "9": "token-maps-more",
}


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn, and what it shows in words."""

    draw: Callable[[], Figure]
    shows: str


def drawings(
    runs: Sequence[Run],
    tokenizers: Sequence[Mapping[str, Any]],
    analyses: Sequence[Analysis],
    suite: str,
    benchmark: Callable[[str], Benchmark],
) -> dict[str, Drawing]:
    """Every figure by its name; drawing one raises GcbenchError where its data are not stored.

    Args:
        benchmark: the benchmark of a name, for figures that show its images.
    """
    from gcbench.report.cost import accuracy_cost
    from gcbench.report.image_figures import IMAGE_FIGURES
    from gcbench.report.reliability import reliability_curves
    from gcbench.report.token_figures import TOKEN_FIGURES
    from gcbench.report.tokenizers import tokenizer_robustness
    from gcbench.report.trials import accuracy_by_trials
    from gcbench.report.weightings import accuracy_by_weighting

    suite_of(suite)  # Refuses an unknown one.
    of_runs = {
        "accuracy-by-trials": accuracy_by_trials,
        "accuracy-by-weighting": accuracy_by_weighting,
        "accuracy-cost": accuracy_cost,
        "reliability": reliability_curves,
    }
    drawn: dict[str, Callable[[], Figure]] = {}
    drawn |= {name: partial(draw, runs, suite) for name, draw in of_runs.items()}
    drawn["tokenizer-robustness"] = partial(tokenizer_robustness, tokenizers, suite)
    drawn |= {
        name: partial(draw, runs, analyses, suite, benchmark)
        for name, draw in IMAGE_FIGURES.items()
    }
    drawn |= {name: partial(draw, analyses, suite) for name, draw in TOKEN_FIGURES.items()}
    return {name: Drawing(draw, _first_paragraph(draw)) for name, draw in drawn.items()}


def draw_all(
    named: Mapping[str, Drawing], folder: Path
) -> Iterator[tuple[str, list[Path] | GcbenchError]]:
    """Draws what stored runs suffice for: each name with its files, or with what is lacking."""
    for name, drawing in named.items():
        try:
            yield name, save(drawing.draw(), folder / name)
        except GcbenchError as error:
            yield name, error


def _first_paragraph(draw: Any) -> str:
    """What a function's description begins with, on one line."""
    return " ".join((draw.func.__doc__ or "").partition("\n\n")[0].split())
