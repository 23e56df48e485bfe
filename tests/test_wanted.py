"""What tables ask for: every row of the paper has its method, and the fewest runs fill the gaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_runs import cell, general, hits, notes, record

from gcbench.report.layouts import LAYOUTS
from gcbench.report.slots import Gap, Slot
from gcbench.report.tables import build_table
from gcbench.report.wanted import filling_runs, instance, lacking, wanted
from gcbench.scores import trial_ladder
from gcbench.store import Store

OF_CLASSIFIERS = [number for number, layout in LAYOUTS.items() if layout.slot]


@pytest.mark.parametrize("number", set(OF_CLASSIFIERS) - {6})
def test_every_cell_of_the_imagenet_tables_can_be_run(number, registry):
    asked = wanted(number, "imagenet")
    assert asked.rows == asked.published
    for _, slot in asked.cells():
        assert lacking(slot) is None
        assert slot.benchmark in registry.benchmark_names
        found = instance(slot.method, slot.variant)
        assert found.variant.label_space == "imagenet-1k"
        assert found.max_trials is None or slot.trials <= found.max_trials


def test_table_6_runs_every_method_on_its_data_sets_but_stitching_of_many_classes(registry):
    asked = wanted(6, "wilds")
    for (r, c), slot in asked.cells():
        size, method = asked.rows[r]
        if isinstance(slot, Gap):
            assert method == "sigma-stitching"
            assert asked.columns[c].startswith("fmow")
            assert lacking(slot) == "no sigma-stitching of more than two classes"
            continue
        assert lacking(slot) is None
        assert len(slot.members) == (1 if method in ("DiT", "RandAR") else 3)
        for member in slot.members:
            assert member.variant.startswith(size[0].lower())
            space = registry.method(slot.method).variant_named(member.variant).label_space
            assert space.partition("-")[0] == slot.benchmark.partition("-")[0]
        assert slot.worst_group == asked.columns[c].endswith("-wg")


def test_rows_that_differ_in_size_alone_are_one_row_of_the_mini_suite():
    asked = wanted(2, "mini")
    assert [row[2] for row in asked.rows] == [
        *("ViT", "DINOv2", "DAT", "DiT", "SiT", "SiT + REPA"),
        *("LlamaGen", "VAR", "A-VARC", "RandAR raster", "RandAR"),
    ]
    assert {row[0] for row in asked.rows} == {"mini"}
    assert {slot.variant for _, slot in asked.cells()} == {"mini"}
    assert wanted(9, "mini").rows[-1] == ("RandAR",)
    assert wanted(8, "mini").rows == (("DiT",), ("SiT",))
    aligned = ("SiT", "SiT + REG", "SiT + REPA", "SiT + iREPA", "RandAR")
    assert [row[0] for row in wanted(10, "mini").rows] == list(aligned)
    assert len(wanted(6, "mini").rows) == 5


def test_diffusion_takes_a_coarser_grid_on_the_corruptions_of_the_mini_suite_and_nothing_else():
    asked = wanted(2, "mini")
    trials = {
        (asked.rows[r][2], asked.columns[c]): slot.trials
        for (r, c), slot in asked.cells()
        if slot.trials > 1
    }
    coarse = ("mini-c-gauss", "mini-c-jpeg")
    for (method, benchmark), count in trials.items():
        if method in ("DiT", "SiT", "SiT + REPA"):
            assert count == (20 if benchmark in coarse else 100)
        else:
            assert count == {"RandAR": 20, "A-VARC": 3}[method]
    assert {slot.trials for _, slot in wanted(2, "imagenet").cells()} == {1, 3, 20, 250}


@pytest.mark.parametrize("number", [1, 4, 5])
def test_tables_without_sizes_keep_the_papers_rows_in_the_mini_suite(number):
    assert wanted(number, "mini").rows == wanted(number, "imagenet").rows


def test_mini_shifts_stand_in_for_the_real_world_shifts(registry):
    asked = wanted(6, "mini")
    assert asked.columns == (
        *("mini-camelyon-id", "mini-camelyon-ood", "mini-celeba-id", "mini-celeba-id-wg"),
        *("mini-fmow-id", "mini-fmow-ood-wg"),
    )
    slots = [slot for _, slot in asked.cells() if isinstance(slot, Slot)]
    (shifts,) = [family for family in registry.families if family.suite == "shifts"]
    assert {slot.benchmark for slot in slots} == set(shifts.names)
    assert {slot.trials for slot in slots if slot.method in ("dit", "randar")} == {100, 20}


def test_measured_rows_stand_before_published_ones_where_rows_differ(store: Store):
    record(store, "randar", "mini-val", hits(7, 10))
    both = build_table(2, suite="mini", source="both", runs=store.runs())
    ours = build_table(2, suite="mini", source="measured", runs=store.runs())
    theirs = build_table(2, suite="mini", source="paper", runs=[])
    assert [row.entries for row in both.rows] == [
        row.entries for table in (ours, theirs) for row in table.rows
    ]
    for shown, row in zip(both.rows, ours.rows, strict=False):
        assert shown.cells[::2] == row.cells
        assert {c.status for c in shown.cells[1::2]} == {"unpublished"}
    for shown, row in zip(both.rows[len(ours.rows) :], theirs.rows, strict=True):
        assert shown.cells[1::2] == row.cells
        assert {c.status for c in shown.cells[::2]} == {"missing"}


GROUPS = {"male": ["0", "0", "1", "1", "1", "1"], "y": ["0", "1", "0", "0", "1", "1"]}


def worst_group_run(store: Store, ignore: tuple[str, ...] = (), **more):
    what = {"groups": GROUPS, "metric": {"fields": ["male", "y"], "ignore": list(ignore)}}
    right = [True, True, True, False, False, True]
    variant = {"variant": "b-celeba", "classes": [0, 1, 2]}
    return record(store, "randar", "celeba", right, **variant, **what, **more)


def test_a_worst_group_cell_is_about_the_images_of_the_group_of_lowest_accuracy(store: Store):
    worst_group_run(store)
    table = build_table(6, suite="wilds", source="measured", runs=store.runs())
    plain, worst = (cell(table, ("B/16", "RandAR"), c) for c in ("celeba-id", "celeba-id-wg"))
    assert (plain.value, plain.count) == (pytest.approx(4 / 6), 6)
    assert (worst.value, worst.count, worst.status) == (0.5, 2, "full")
    assert notes(table, worst) == ["2 images of group 1 x 0"]
    assert "the images of the worst group" in general(table)


def test_a_partial_run_has_a_partial_worst_group(store: Store):
    worst_group_run(store, scored=5)
    table = build_table(6, suite="wilds", source="measured", runs=store.runs())
    worst = cell(table, ("B/16", "RandAR"), "celeba-id-wg")
    assert (worst.value, worst.count, worst.status) == (0.0, 1, "partial")
    assert notes(table, worst) == [
        "partial: 1 of the 2 images of group 1 x 1 are scored, others are missing"
    ]


def test_a_group_that_is_scored_completely_is_partial_while_another_could_be_worse(store: Store):
    worst_group_run(store, scored=4)
    table = build_table(6, suite="wilds", source="measured", runs=store.runs())
    worst = cell(table, ("B/16", "RandAR"), "celeba-id-wg")
    assert (worst.value, worst.count, worst.status) == (0.5, 2, "partial")


def test_groups_that_do_not_count_are_not_the_worst(store: Store):
    worst_group_run(store, ignore=("1",))
    table = build_table(6, suite="wilds", source="measured", runs=store.runs())
    worst = cell(table, ("B/16", "RandAR"), "celeba-id-wg")
    assert (worst.value, worst.count) == (1.0, 1)


counts = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@given(counts, counts)
def test_filling_runs_hold_every_cell_that_was_missing(first, second):
    slots = [Slot("randar", "mini", "mini-val", trials=k) for k in first]
    slots += [Slot("randar", "mini", "mini-r", trials=k) for k in second]
    runs = filling_runs(slots)
    for slot in slots:
        holding = [run.trials for run, benches in runs if slot.benchmark in benches]
        assert any(slot.trials in trial_ladder(k) for k in holding)
    assert {run.trials for run, _ in runs} <= {slot.trials for slot in slots}


def test_grids_of_timesteps_that_do_not_nest_are_runs_of_their_own():
    asked = [slot for _, slot in wanted(7, "mini").cells()]
    found = {(run.method, run.trials, run.timesteps) for run, _ in filling_runs(asked)}
    assert found == {
        *(("dit", 200, 50), ("dit", 200, 100), ("dit", 200, None), ("dit", 100, None)),
        *(("randar", 4, None), ("randar", 20, None)),
    }
