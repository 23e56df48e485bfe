"""Table 3, its figure and Table 4: what stands in their cells, and where it comes from."""

import pytest
from checkout import ROOT
from stored_runs import cell, general, hits, notes, record

from gcbench.errors import GcbenchError
from gcbench.report.figures import save
from gcbench.report.layouts import LAYOUTS, SUITES
from gcbench.report.render import FORMATS, render
from gcbench.report.tables import build_table
from gcbench.report.tokenizers import tokenizer_robustness
from gcbench.store import Store

ROWS = {0.0: 0.0, 0.1: 0.25}  # t: share of flipped tokens


def tokenizer_record(name="mini-vq", family="llamagen", **changes):
    levels = [
        {
            "t": t,
            "flipped": {"count": 0, "of": 640, "ratio": ratio, "interval": [ratio, ratio + 0.02]},
            "mse": 0.01 * (1 + t),
            "frechet_distance": 1.234 + t,
            "provenance": {"commit": "0123abc", "dirty": False},
        }
        for t, ratio in ROWS.items()
    ]
    return {
        "tokenizer": name,
        "family": family,
        "features": {"name": "mini-reference", "distance": "FD of mini-reference features"},
        "benchmark": "mini-val",
        "subset": "full",
        "images": 10,
        "vocabulary": 512,
        "levels": levels,
        **changes,
    }


def table(records, source="measured", suite="mini"):
    return build_table(3, suite=suite, source=source, runs=[], tokenizers=records)


def test_a_row_is_a_tokenizer_under_one_level_of_noise():
    measured = table([tokenizer_record()])
    clean, noisy, *_ = measured.rows
    assert clean.entries == ("LlamaGen (mini-vq)", "512", "0", "0.000")
    assert noisy.entries == ("LlamaGen (mini-vq)", "512", "0.1", "0.250")
    assert [c.label for c in measured.columns] == ["FD of mini-reference features", "PSNR (dB)"]
    assert [c.value for c in noisy.cells] == [1.334, pytest.approx(19.586, abs=1e-3)]
    assert {c.count for c in noisy.cells} == {10}
    assert "at most ± 0.010 wide" in general(measured)
    assert ("measured at commit", "0123abc") in measured.provenance


def test_a_tokenizer_that_was_not_measured_is_missing_with_its_command():
    measured = table([tokenizer_record()])
    absent = [row for row in measured.rows if row.cells[0].status == "missing"]
    assert [row.entries[0] for row in absent] == [
        "MaskGIT (mini-maskgit-vq)",
        "VAR (mini-var-vqvae)",
    ]
    command = "gcbench tokenizer --tokenizer mini-var-vqvae --bench mini-val"
    assert f"Missing: mini-var-vqvae. To fill: `{command}`" in general(measured)
    assert "gcbench tokenizer --tokenizer llamagen-vq16 --bench in-val" in general(
        table([], suite="imagenet")
    )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("records", [[], [tokenizer_record()]], ids=["empty", "measured"])
@pytest.mark.parametrize("source", ["measured", "both"])
def test_the_table_prints_in_every_format_with_and_without_measurements(format, records, source):
    assert render(table(records, source), format).endswith("\n")


def test_measured_and_published_numbers_are_never_in_one_column_or_row():
    both = table([tokenizer_record()], "both")
    measured = [c.origin == "measured" for c in both.columns]
    for row in both.rows:
        known = [ours for ours, c in zip(measured, row.cells, strict=True) if c.value is not None]
        assert len(set(known)) <= 1
    printed = build_table(3, suite="mini", source="paper", runs=[])
    theirs = [row.cells[-1] for row in both.rows if row.cells[-1].value is not None]
    assert theirs == [row.cells[0] for row in printed.rows]
    assert "rFID" not in render(table([tokenizer_record()]), "md")


def test_distances_of_other_features_stand_in_a_column_of_their_own():
    inception = {"name": "inception-2015-12-05", "distance": "rFID"}
    other = tokenizer_record("llamagen-vq16", features=inception)
    measured = table([tokenizer_record(), other])
    assert [c.label for c in measured.columns] == [
        *("FD of mini-reference features", "rFID", "PSNR (dB)"),
    ]
    row = next(r for r in measured.rows if r.entries[0] == "LlamaGen (llamagen-vq16)")
    assert [c.status for c in row.cells] == ["missing", "full", "full"]


def test_a_whole_set_is_preferred_and_a_subset_says_so():
    subset = tokenizer_record(subset="first-1", images=10)
    shown = table([subset])
    assert notes(shown, shown.rows[0].cells[0]) == ["the subset first-1: 10 images"]
    assert "the subset" not in render(table([subset, tokenizer_record(images=4)]), "md")


def test_records_of_other_benchmarks_are_left_out():
    assert table([tokenizer_record(benchmark="mini-r")]).rows == table([]).rows


def test_several_scales_are_counted_together_and_the_finest_is_told_apart():
    var = tokenizer_record("mini-var-vqvae", "var")
    for level in var["levels"]:
        level["flipped_finest_scale"] = {"ratio": level["flipped"]["ratio"] / 2}
    measured = table([var])
    assert measured.rows[0].entries[0] == "VAR (mini-var-vqvae)"
    assert "of the finest scale alone are flipped, in the order of its rows: 0.000, 0.125." in (
        general(measured)
    )


def test_the_figure_shows_every_tokenizer_in_a_panel_per_measure(tmp_path):
    records = [tokenizer_record(), tokenizer_record("mini-maskgit-vq", "maskgit")]
    figure = tokenizer_robustness(records, "mini")
    distance, psnr = figure.axes
    assert distance.get_title() == "FD of mini-reference features, lower is better"
    assert psnr.get_title() == "PSNR (dB), higher is better"
    for panel in figure.axes:
        lines = [container[0] for container in panel.containers]
        assert [list(line.get_xdata()) for line in lines] == [list(ROWS.values())] * 2
    assert list(distance.containers[0][0].get_ydata()) == [1.234, 1.334]
    assert {file.suffix for file in save(figure, tmp_path / "figure")} == {".svg", ".png"}


def test_the_legend_of_all_tokenizers_fits_the_figure():
    figure = tokenizer_robustness(list(Store(ROOT / "results" / "mini").tokenizers()), "mini")
    (legend,) = figure.legends
    assert len(legend.get_texts()) == len(SUITES["mini"].tokenizers)
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_the_figure_without_records_says_what_to_run(gcbench, tmp_path):
    with pytest.raises(GcbenchError, match="no tokenizer was measured on mini-val") as caught:
        tokenizer_robustness([], "mini")
    command = "gcbench tokenizer --tokenizer mini-maskgit-vq,mini-vq,mini-var-vqvae"
    assert caught.value.hint == f"{command} --bench mini-val"


def test_what_the_command_stores_is_what_the_report_shows(gcbench, tmp_path):
    words = ("--tokenizer", "mini-vq", "--bench", "mini-val", "--limit-per-class", "1")
    done = gcbench("tokenizer", *words, "--t", "0,0.2", "--results", tmp_path)
    assert done.exit_code == 0, done.output
    shown = gcbench("report", "--table", "3", "--format", "csv", "--results", tmp_path)
    assert shown.exit_code == 0, shown.output
    assert "3,mini,LlamaGen (mini-vq),512,0,0.000,FD of mini-reference features,measured," in (
        shown.output
    )
    drawn = ("report", "--figure", "tokenizer-robustness", "--results", tmp_path)
    assert gcbench(*drawn, "--out", tmp_path / "figure").exit_code == 0
    assert (tmp_path / "figure.svg").is_file()


def test_trainings_of_table_4_are_those_of_the_suite(store):
    record(store, "randar", "mini-val", hits(7, 10))
    record(store, "randar", "mini-r", hits(6, 10), variant="mini-maskgit")
    record(store, "randar", "mini-s", hits(5, 10), variant="mini-noise")
    shown = build_table(4, suite="mini", source="measured", runs=store.runs())
    assert cell(shown, ("LlamaGen",), "mini-val").value == 0.7
    assert cell(shown, ("MaskGIT",), "mini-r").value == 0.6
    assert cell(shown, ("LlamaGen + Noise aug.",), "mini-s").value == 0.5
    assert sum(c.value is not None for row in shown.rows for c in row.cells) == 3


def test_trainings_of_table_4_exist_on_imagenet(registry):
    imagenet, slot = SUITES["imagenet"], LAYOUTS[4].slot
    rows = ("MaskGIT", "LlamaGen", "LlamaGen + Noise aug.")
    slots = [imagenet.adapt(slot({"tokenizer": row}, "in-val")) for row in rows]
    assert [s.variant for s in slots] == ["l-maskgit", "l-release", "l"]
    for s in slots:
        assert registry.method(s.method).variant_named(s.variant).label_space == "imagenet-1k"
    shown = build_table(4, suite="imagenet", source="measured", runs=[])
    assert "the releases of RandAR's authors" in general(shown)
