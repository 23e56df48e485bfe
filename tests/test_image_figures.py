"""Figures 1 and 7 show stored images with what was stored about them, and say what is lacking."""

from dataclasses import replace

import numpy as np
import pytest
from committed_runs import RUNS, measured

from gcbench.analysis import Analyses
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey
from gcbench.orders import random_orders
from gcbench.plan import plan
from gcbench.report.figures import save
from gcbench.report.image_figures import IMAGE_FIGURES
from gcbench.report.maps import maps_of, rival_maps


@pytest.fixture(scope="module")
def analyses(registry, tmp_path_factory):
    """RandAR in five random orders with its tokens, on the twenty images that a summary shows."""
    store = Analyses(tmp_path_factory.mktemp("results")).create()
    cls = registry.method("randar")
    made = cls(cls.variant_named("mini"), Runtime(path="fast"))
    benchmark = registry.benchmark("mini-val").choose("first-2")
    (planned,) = plan([made], [benchmark], store, trials=5, seed=0)
    execute(planned)
    return store.runs()


@pytest.fixture(scope="module")
def draw(analyses, registry):
    def call(name, runs=RUNS, analyses=analyses, benchmark=registry.benchmark):
        return IMAGE_FIGURES[name](runs, analyses, "mini", benchmark)

    return call


def pixels(registry):
    return {s.id: np.asarray(s.load()) for s in registry.benchmark("mini-val").samples}


def test_every_order_is_drawn_above_what_it_alone_predicts(draw, analyses, registry):
    figure, scores = draw("token-orders"), analyses[0].scores()
    labels = registry.benchmark("mini-val").label_space.labels
    known = pixels(registry)
    lines = np.array(figure.axes).reshape(-1, 6)
    assert len(lines) == 4
    differing = [len(set(row)) for row in scores.values.argmax(-1).tolist()]
    for number, line in enumerate(lines):
        shown = line[0].get_images()[0].get_array()
        (i,) = (i for i, id in enumerate(scores.sample_ids) if np.array_equal(known[id], shown))
        assert line[0].get_xlabel() == labels[scores.labels[i]]
        if number == 0:
            assert differing[i] == max(differing)
        orders = random_orders([SampleKey(scores.sample_ids[i], i)], 5, 64, 0, "independent")[0]
        for trial, panel in enumerate(line[1:]):
            ranks = panel.get_images()[0].get_array().reshape(-1)
            assert ranks[orders[trial]].tolist() == list(range(64))
            answer = int(scores.values[i, trial].argmax())
            mark = "✓" if answer == scores.labels[i] else "✗"
            assert panel.get_xlabel() == f"{mark} {labels[answer]}"
    split = sum(count > 1 for count in differing)
    assert f"{split} of the 20 scored images of mini-val" in figure.get_supxlabel()


def test_orders_need_scores_of_single_orders(draw):
    with pytest.raises(GcbenchError, match="predictions of all orders together") as caught:
        draw("token-orders", analyses=[])
    assert "gcbench run --method randar --variant mini --bench mini-val" in caught.value.hint


@pytest.mark.parametrize("analysed", [True, False])
def test_errors_are_images_that_one_method_alone_gets_right(draw, analyses, registry, analysed):
    figure = draw("errors", analyses=analyses if analysed else [])
    known, labels = pixels(registry), registry.benchmark("mini-val").label_space.labels
    randar = measured("randar", "mini", 20, "mini-val").predictions()
    answered = randar.set_index("sample_id")["mean@20"]
    maps = rival_maps(analyses[0])
    images = mapped = maps_shown = 0
    for part in figure.subfigs:
        right, wrong = (half.split()[0] for half in part.get_suptitle().split(" right, "))
        assert "randar" in (right, wrong)
        for panel in part.axes:
            found = panel.get_images()
            if not found or found[0].get_array().ndim == 2:
                maps_shown += bool(found)
                continue
            images += 1
            (id,) = (i for i, p in known.items() if np.array_equal(p, found[0].get_array()))
            answers = dict(line.split(": ") for line in panel.get_xlabel().split("\n"))
            assert answers[right] == panel.get_title() != answers[wrong]
            assert answers["randar"] == labels[answered[id]]
            mapped += analysed and id in maps
    assert images > 0
    assert maps_shown == 2 * mapped
    assert bool(mapped) is analysed
    assert ("without maps" in figure.get_supxlabel()) is not analysed


def test_maps_of_both_classes_are_one_difference_seen_from_either_side(analyses):
    for one in rival_maps(analyses[0]).values():
        (_, true), (_, rival) = one.sides
        np.testing.assert_array_equal(true - rival, one.difference)
        assert (np.minimum(true, rival) == 0).all()
        assert one.true != one.rival


def test_a_summary_alone_gives_the_maps_of_its_images(analyses, tmp_path):
    whole = rival_maps(analyses[0])
    alone = Analyses(tmp_path).create().run("alone")
    alone.begin(analyses[0].spec)
    (alone.path / "tokens.npz").write_bytes((analyses[0].path / "tokens.npz").read_bytes())
    few = rival_maps(alone)
    assert set(few) == set(whole)
    for id, one in few.items():
        np.testing.assert_array_equal(one.difference, whole[id].difference)
    digest = alone.spec["benchmark_digest"]
    assert set(maps_of([alone], "randar", "mini", "mini-val", digest)) == set(whole)
    assert not maps_of([alone], "randar", "mini", "mini-val", "0" * 64)


@pytest.mark.parametrize("name", sorted(IMAGE_FIGURES))
def test_equal_figures_are_equal_files(draw, tmp_path, name):
    for number in (1, 2):
        save(draw(name), tmp_path / str(number))
    for suffix in ("svg", "png"):
        one, other = (tmp_path / f"{number}.{suffix}" for number in (1, 2))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", sorted(IMAGE_FIGURES))
def test_images_that_were_rebuilt_are_not_shown(draw, registry, name):
    def rebuilt(benchmark):
        return replace(registry.benchmark(benchmark), digest="0" * 64)

    with pytest.raises(GcbenchError, match="not those that were scored"):
        draw(name, benchmark=rebuilt)
