"""Figures of single tokens show what analyses hold: counts with intervals, maps at their places."""

from dataclasses import replace

import numpy as np
import pytest

from gcbench.analysis import Analyses
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.method import Runtime
from gcbench.plan import plan
from gcbench.report.drawings import NUMBERED
from gcbench.report.figures import save
from gcbench.report.layouts import Slot
from gcbench.report.token_figures import TOKEN_FIGURES, Tokens, find
from gcbench.stats import wilson_interval


@pytest.fixture(scope="module")
def results(registry, tmp_path_factory):
    """Analyses of RandAR in two random orders and in the raster order, ten images."""
    root = tmp_path_factory.mktemp("results")
    store = Analyses(root).create()
    for method, trials in (("randar", 2), ("randar-raster", 1)):
        cls = registry.method(method)
        made = cls(cls.variant_named("mini"), Runtime(path="fast"))
        benchmark = registry.benchmark("mini-val").choose("first-1")
        (planned,) = plan([made], [benchmark], store, trials=trials, seed=0)
        execute(planned)
    return root


@pytest.fixture(scope="module")
def analyses(results):
    return Analyses(results).runs()


@pytest.fixture(scope="module")
def randar(analyses):
    return find(analyses, Slot("randar", "mini", "mini-val")).summary


def test_every_figure_is_drawn_and_equal_figures_are_equal_files(analyses, tmp_path):
    for name, draw in TOKEN_FIGURES.items():
        figure = draw(analyses, "mini")
        once, again = save(figure, tmp_path / "once"), save(figure, tmp_path / "again")
        for one, other in zip(once, again, strict=True):
            assert one.read_bytes() == other.read_bytes(), name


def test_maps_are_clipped_differences_of_the_images_beside_them(analyses, randar):
    figure = TOKEN_FIGURES["token-maps"](analyses, "mini")
    panels = np.array(figure.subfigs[0].axes).reshape(-1, 4)
    titles = [panel.get_title() for panel in panels[0]]
    assert titles == ["image", "raster", "K = 1", "K = 2"]
    assert len(panels) == 4
    for line in panels:
        shown = line[0].get_images()[0].get_array()
        (row,) = (i for i, p in enumerate(randar.picture) if np.array_equal(p, shown))
        assert line[0].get_ylabel() == f"{randar.true_name[row]}\nnot {randar.false_name[row]}"
        for at, panel in enumerate(line[2:]):
            expected = randar.against_false[row, at].astype(float).clip(0).reshape(8, 8)
            np.testing.assert_array_equal(panel.get_images()[0].get_array(), expected)


def test_two_figures_of_maps_share_no_image(analyses, randar):
    def pictures(name):
        images = [
            panel.get_images()[0].get_array()
            for block in TOKEN_FIGURES[name](analyses, "mini").subfigs
            for panel in block.axes
            if panel.get_images()
        ]
        return {image.tobytes() for image in images if image.ndim == 3}

    first, second = pictures("token-maps"), pictures("token-maps-more")
    assert not first & second
    assert len(first | second) == len(randar.picture)


def test_accuracy_of_a_position_is_drawn_at_its_place(analyses, randar):
    figure = TOKEN_FIGURES["token-accuracy"](analyses, "mini")
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [p.get_title().split(":")[0] for p in panels] == [
        "raster order",
        "random, K = 1",
        "random, K = 2",
    ]
    for at, panel in enumerate(panels[1:]):
        expected = (randar.position_right[at] / 10).reshape(8, 8)
        np.testing.assert_allclose(panel.get_images()[0].get_array(), expected)
    assert figure.get_supxlabel() == "10 images of mini-val (the subset first-1)"


def test_curves_are_counted_shares_with_wilson_intervals(analyses, randar):
    (panel,) = TOKEN_FIGURES["token-prefix"](analyses, "mini").axes
    last, first = panel.get_lines()
    np.testing.assert_allclose(last.get_ydata(), randar.rank_right[-1] / 10)
    np.testing.assert_allclose(first.get_ydata(), randar.rank_right[0] / 10)
    band = panel.collections[0].get_paths()[0].vertices
    low, high = wilson_interval(int(randar.rank_right[-1, 5]), 10)
    assert band[band[:, 0] == 5, 1].tolist() == pytest.approx([low, high])

    (panel,) = TOKEN_FIGURES["token-discarded"](analyses, "mini").axes
    without_last, without_first = panel.get_lines()
    np.testing.assert_allclose(without_last.get_ydata()[3], randar.first_right[-1, 60] / 10)
    np.testing.assert_allclose(without_first.get_ydata()[3], randar.last_right[-1, 60] / 10)
    assert without_last.get_ydata()[0] == without_first.get_ydata()[0]


def test_maps_of_several_grids_show_the_finest(randar, analyses):
    scales = Tokens(analyses[0], replace(randar, sides=np.array([1, 2])))
    assert scales.grid(np.arange(5)).tolist() == [[1, 2], [3, 4]]


def test_figure_without_an_analysis_says_what_to_run(analyses):
    for name, draw in TOKEN_FIGURES.items():
        with pytest.raises(GcbenchError, match=r"no finished analysis of randar \(l\)") as caught:
            draw(analyses, "imagenet")
        assert "gcbench analyze --method randar --variant l --bench in-val" in caught.value.hint, (
            name
        )


@pytest.mark.parametrize(
    "number", sorted(n for n, name in NUMBERED.items() if name in TOKEN_FIGURES)
)
def test_figure_of_the_paper_is_found_by_its_number(gcbench, results, tmp_path, number):
    result = gcbench(
        "report", "--figure", number, "--results", results, "--out", tmp_path / "figure"
    )
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figure.png", "figure.svg"]


def test_larger_analysis_is_preferred(analyses, registry, tmp_path):
    cls = registry.method("randar-raster")
    made = cls(cls.variant_named("mini"), Runtime(path="fast"))
    benchmark = registry.benchmark("mini-val")
    two = replace(benchmark, samples=benchmark.samples[:2], subset="two")
    store = Analyses(tmp_path).create()
    (planned,) = plan([made], [two], store, trials=1, seed=0)
    execute(planned)
    for known in ([*analyses, planned.run], [planned.run, *analyses]):
        found = find(known, Slot("randar-raster", "mini", "mini-val"))
        assert int(found.summary.total) == 10
