"""The figure of loss weightings: all from one run each, and only of whole ones."""

import pytest
from committed_runs import RUNS, measured, share

from gcbench.errors import GcbenchError
from gcbench.report.figures import BENCHMARKS
from gcbench.report.slots import WEIGHTINGS
from gcbench.report.weightings import accuracy_by_weighting

LABELS = {
    "DiT": "dit",
    "SiT": "sit",
    "SiT + REPA": "sit-repa",
    "SiT + iREPA": "sit-irepa",
    "SiT + REG": "sit-reg",
}


def stored(method, benchmark):
    """The accuracies by weighting, at the timesteps that the mini suite takes."""
    trials = 20 if "-c-" in benchmark else 100
    run = measured(method, "mini", trials, benchmark)
    return [share(run, rule, trials) for rule in WEIGHTINGS.values()]


def test_every_diffusion_classifier_is_drawn_by_every_weighting_on_every_benchmark():
    figure = accuracy_by_weighting(RUNS, "mini")
    for panel, name in zip(figure.axes, BENCHMARKS, strict=True):
        benchmark = name.replace("in-", "mini-", 1)
        assert panel.get_title().startswith(f"{benchmark}:")
        drawn = {bars.get_label(): list(bars[0].get_ydata()) for bars in panel.containers}
        expected = {label: stored(method, benchmark) for label, method in LABELS.items()}
        assert drawn == expected
    lowest = figure.axes[-1].get_xticklabels()
    assert [tick.get_text() for tick in lowest] == list(WEIGHTINGS)


def test_benchmarks_without_a_run_are_said_to_be_not_measured():
    runs = [run for run in RUNS if run.spec["benchmark"] == "mini-r"]
    figure = accuracy_by_weighting(runs, "mini")
    said = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    assert said == [["not measured"], [], *[["not measured"]] * 4]


def test_figure_without_a_diffusion_classifier_says_what_to_run():
    with pytest.raises(GcbenchError, match=r"no finished run .* diffusion classifier") as caught:
        accuracy_by_weighting([run for run in RUNS if run.spec["method"] == "vit"], "mini")
    assert "gcbench run --method dit --bench suite:mini" in caught.value.hint
