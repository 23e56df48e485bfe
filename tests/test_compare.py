"""Two stored classifiers on the same images."""

import re

import numpy as np
import pytest
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st
from stored_runs import hits, record

from gcbench.errors import GcbenchError
from gcbench.report.compare import Paired, describe, paired, stored_classifier
from gcbench.stats import images_to_resolve, margin
from gcbench.store import Shard, Store


def compared(store: Store, common: bool = False, seed: int = 0) -> Paired:
    runs = store.runs()
    a = stored_classifier(runs, "randar", "mini", "mini-val")
    b = stored_classifier(runs, "randar-raster", "mini", "mini-val")
    return paired(a, b, common=common, seed=seed)


def test_wins_and_losses_are_counted_image_by_image(store: Store):
    record(store, "randar", "mini-val", [True] * 8 + [False] * 2, trials=5)
    record(store, "randar-raster", "mini-val", [False] * 3 + [True] * 6 + [False])
    result = compared(store)
    assert (result.test.only_first, result.test.only_second) == (3, 1)
    assert result.difference.value == pytest.approx(0.2)
    assert result.difference.low <= 0.2 <= result.difference.high
    assert list(result.differing) == [0, 1, 2, 8]
    assert result.first.title == "randar (mini), mean@5"


def test_the_same_seed_gives_the_same_interval(store: Store):
    record(store, "randar", "mini-val", hits(60, 100))
    record(store, "randar-raster", "mini-val", hits(50, 100))
    assert compared(store, seed=3).difference == compared(store, seed=3).difference


def test_images_on_which_both_are_wrong_in_different_ways_differ_too(store: Store):
    record(store, "randar", "mini-val", [False, False])
    run = record(store, "randar-raster", "mini-val", [False, False])
    values = np.array([[[0, -1, 1]], [[1, -1, 0]]], np.float32)  # [2, 1, 3]
    run.write_shard(Shard(0, ("mini-val/0000", "mini-val/0001"), (1, 1), values, 1.0, {}))
    run.finish({})
    result = compared(store)
    text = describe(result, show=5, seed=0, label=lambda index: f"class-{index}")
    assert "0 that only A gets right, 0 that only B does, 1 that neither does" in text
    assert re.search(r"mini-val/0000  class-1  class-0  class-2\n", text)
    assert "mini-val/0001" not in text
    assert "The accuracies are equal" in text


def test_different_samples_are_refused_in_one_line_or_restricted_to_the_common_ones(store: Store):
    record(store, "randar", "mini-val", hits(7, 10), subset="first-2")
    record(store, "randar-raster", "mini-val", hits(5, 8))
    with pytest.raises(GcbenchError) as caught:
        compared(store)
    assert caught.value.message == (
        "the two are about different images: 10 (first-2) and 8 (full), of which 8 are the same"
    )
    assert "--common" in str(caught.value.hint)
    result = compared(store, common=True)
    assert (result.count, result.test.only_first, result.test.only_second) == (8, 2, 0)


def test_common_images_are_paired_by_name_and_not_by_place(store: Store):
    record(store, "randar", "mini-val", [True, False, True])
    ids = ["mini-val/0002", "mini-val/0000", "mini-val/0001"]
    run = record(store, "randar-raster", "mini-val", [True, True, False], sample_ids=ids)
    values = np.zeros((3, 1, 3), np.float32)
    values[:, :, 1] = np.array([1, 1, -1])[:, None]
    run.write_shard(Shard(0, tuple(ids), (1, 1, 1), values, 1.0, {}))
    run.finish({})
    result = compared(store, common=True)
    assert len(result.differing) == 0


def test_runs_without_a_common_image_or_of_a_rebuilt_benchmark_are_refused(store: Store):
    record(store, "randar", "mini-val", hits(2, 2), sample_ids=["x", "y"])
    record(store, "randar-raster", "mini-val", hits(5, 8), benchmark_digest="d" * 64)
    with pytest.raises(GcbenchError, match="was rebuilt between the two runs"):
        compared(store, common=True)


def test_what_else_differs_is_said(store: Store):
    record(store, "randar", "mini-val", hits(6, 10))
    record(store, "randar-raster", "mini-val", hits(5, 10), precision="bf16")
    text = describe(compared(store), show=0, seed=0)
    assert "Mind: precision bf16, where comparable cells have fp32." in text
    assert text.count("mini-val/") == 0


def test_a_classifier_that_is_not_stored_says_what_to_run(store: Store):
    record(store, "randar", "mini-val", hits(6, 10))
    with pytest.raises(GcbenchError) as caught:
        stored_classifier(store.runs(), "randar", "mini", "mini-val", trials=3)
    assert caught.value.message == "no stored run of randar (mini) on mini-val with 3 trials"
    assert caught.value.hint == (
        "gcbench run --method randar --variant mini --bench mini-val --trials 3"
    )


def test_a_rule_and_a_number_of_trials_choose_among_what_one_run_holds(store: Store):
    record(store, "randar", "mini-val", hits(6, 10))
    one = stored_classifier(
        store.runs(), "randar", "mini", "mini-val", trials=5, rule="log-mean-exp"
    )
    assert one.title == "randar (mini), log-mean-exp@5"


@given(st.floats(0.001, 0.5), st.floats(0, 1), st.integers(2, 9))
def test_smaller_differences_need_more_images(difference, mix, factor):
    discordant = difference + mix * (1 - difference)
    smaller = images_to_resolve(difference / factor, discordant)
    assert smaller > images_to_resolve(difference, discordant) >= 1
    assert images_to_resolve(-difference, discordant) == images_to_resolve(difference, discordant)
    assert images_to_resolve(difference, discordant, power=0.9) >= images_to_resolve(
        difference, discordant
    )


def test_the_number_of_images_gives_the_power_that_it_promises():
    """Simulated: with the images that a difference needs, about 80 of 100 tests reject."""
    from scipy.stats import binomtest

    rng = np.random.default_rng(0)
    difference, discordant = 0.03, 0.1
    images = images_to_resolve(difference, discordant)
    wins, losses = (discordant + difference) / 2, (discordant - difference) / 2
    counts = rng.multinomial(images, [wins, losses, 1 - discordant], size=600)
    rejected = [binomtest(int(a), int(a + b)).pvalue <= 0.05 for a, b, _ in counts]
    # The exact test is a little more careful than the formula's normal approximation.
    assert 0.70 < np.mean(rejected) < 0.85


@pytest.mark.parametrize(("difference", "discordant"), [(0, 0.1), (0.2, 0.1), (0.2, 1.1)])
def test_a_difference_that_cannot_be_has_no_number_of_images(difference, discordant):
    with pytest.raises(GcbenchError, match="discordant"):
        images_to_resolve(difference, discordant)


def test_two_thousand_images_know_an_accuracy_of_80_percent_to_1_8_points():
    assert margin(0.8, 2000) == pytest.approx(0.0175, abs=5e-5)
    assert margin(0.8, 50_000) == pytest.approx(0.0035, abs=5e-5)
    with pytest.raises(GcbenchError):
        margin(0.8, 0)


def test_the_command_compares_committed_runs_and_names_classes(gcbench):
    result = gcbench(
        *("compare", "randar", "randar-raster:mini", "--bench", "mini-s", "--show", "1"),
        *("--results", ROOT / "results" / "mini"),
    )
    assert result.exit_code == 0, result.output
    assert "mini-s, 170 images" in result.output
    assert "A  randar (mini), mean@20: 0.394 [0.324, 0.469]" in result.output
    assert re.search(r"and \d+ more \(--show\)", result.output)


def test_one_run_is_compared_with_itself_by_another_rule(gcbench):
    result = gcbench(
        *("compare", "sit", "sit", "--bench", "mini-c-gauss", "--rule", "fm-ot,mean"),
        *("--results", ROOT / "results" / "mini"),
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"^A +sit \(mini\), fm-ot@20: 0", result.output, re.MULTILINE)
    assert re.search(r"^B +sit \(mini\), mean@20: 0", result.output, re.MULTILINE)


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--trials", "20,5,1", "expected one value, or two with a comma between"),
        ("--trials", "20,", "expected one value, or two with a comma between"),
        ("--trials", "20,0", "--trials 0: expected a number"),
        ("--trials", "all", "--trials all: expected a number"),
        ("--rule", ",mean", "expected one value, or two with a comma between"),
    ],
)
def test_values_of_both_are_one_or_two(gcbench, option, value, complaint):
    result = gcbench("compare", "randar", "randar", "--bench", "mini-s", option, value)
    assert result.exit_code == 2
    assert complaint in result.stderr


def shown(section: str) -> list[list[str]]:
    """The rows of a table in docs/tables.md, without its head."""
    text = (ROOT / "docs" / "tables.md").read_text()
    lines = text.split(f"<!-- {section} -->\n")[1].split(f"<!-- /{section} -->")[0].splitlines()
    return [[entry.strip() for entry in line.strip("|").split("|")] for line in lines[2:]]


def test_the_documented_margins_are_those_of_the_formula():
    for images, *margins in shown("margins"):
        count = int(images.replace(",", ""))
        assert margins == [f"± {100 * margin(p, count):.1f}" for p in (0.5, 0.8, 0.9)]


def test_the_documented_numbers_of_images_are_those_of_the_formula():
    for difference, *numbers in shown("needed"):
        points = float(difference.removesuffix(" points"))
        found = [images_to_resolve(points / 100, share) for share in (0.05, 0.1, 0.2)]
        assert numbers == [f"{images:,}" for images in found]
