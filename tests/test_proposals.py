"""The proposal of RandAR on the trained pairs model, and the race that follows it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gcbench.engine.calibration import by_hash
from gcbench.engine.grid import encode_images, load_images
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey
from gcbench.plan import plan
from gcbench.store import Store
from gcbench.strategy import strategy_named

IMAGES = 6


@pytest.fixture(scope="module")
def few(registry):
    """Six pairs of garments, chosen by a hash."""
    benchmark = registry.benchmark("mini-pairs")
    chosen = by_hash("test", 0, [s.id for s in benchmark.samples])[:IMAGES]
    return replace(benchmark, samples=tuple(benchmark.samples[p] for p in sorted(chosen)))


@pytest.fixture(scope="module")
def method(registry):
    cls = registry.method("randar")
    method = cls(cls.variant_named("pairs"), Runtime())
    method.load()
    return method


def proposed(method, samples, batch_size=1000):
    keys = [SampleKey(s.id, i) for i, s in enumerate(samples)]
    images, _ = load_images(method, samples, keys, 2, seed=0)
    with torch.inference_mode():
        latent = encode_images(method, list(images.values()))
        drawn = method.trials(2, keys, seed=0)
        return method.propose(latent, drawn, torch.arange(100), batch_size).numpy()


def test_true_class_is_among_the_first_of_the_proposal(method, few):
    ranks = (-proposed(method, few.samples)).argsort(axis=1).argsort(axis=1)
    labels = [s.label for s in few.samples]
    assert (ranks[np.arange(IMAGES), labels] < 20).all()


def test_proposal_depends_neither_on_company_nor_on_batch_size(method, few):
    whole = proposed(method, few.samples)
    np.testing.assert_allclose(proposed(method, few.samples, 5), whole, rtol=1e-5)
    np.testing.assert_allclose(proposed(method, few.samples[2:3]), whole[2:3], rtol=1e-5)


def test_only_proposed_classes_are_evaluated_and_the_proposal_is_paid_for(method, few, tmp_path):
    strategy = strategy_named("propose+race", keep=7)
    store = Store(tmp_path).create()
    (planned,) = plan([method], [few], store, trials=3, seed=0, strategy=strategy)
    execute(planned)
    made = np.isfinite(planned.run.scores().values)
    first = (-proposed(method, few.samples)).argsort(axis=1)[:, :7]
    for row, classes in enumerate(first):
        assert sorted(np.flatnonzero(made[row].any(axis=0))) == sorted(classes)
    how = planned.run.summary["strategy"]
    assert how["label"] == "propose+race keep=7 delta=0.001"
    assert how["evaluations_per_image"]["proposal"] == 3
    assert how["evaluations_per_image"]["race"] == pytest.approx(made.sum() / IMAGES, abs=1e-3)


def test_prefix_race_starts_from_the_classes_that_were_followed(method, few, tmp_path):
    strategy = strategy_named("prefix+race", keep=6, prefix=0.25)
    store = Store(tmp_path).create()
    (planned,) = plan([method], [few], store, trials=3, seed=0, strategy=strategy)
    execute(planned)
    values = planned.run.scores().values
    made = np.isfinite(values)
    assert (made[:, 0].sum(axis=1) == 6).all()
    assert not (made.any(axis=1) & ~made[:, 0]).any()
    (whole,) = plan([method], [few], store, trials=1, seed=0)
    execute(whole)
    first = whole.run.scores().values[:, 0]
    np.testing.assert_allclose(values[:, 0][made[:, 0]], first[made[:, 0]], rtol=1e-5)
    how = planned.run.summary["strategy"]
    assert how["label"] == "prefix+race keep=6 prefix=0.25 delta=0.001"
    assert how["evaluations_per_image"]["proposal"] == 94 * 0.25
    assert how["evaluations_per_image"]["race"] == pytest.approx(made.sum() / IMAGES, abs=1e-3)


def test_prefix_is_refused_where_there_is_no_sequence(registry, few, tmp_path):

    cls = registry.method("dit")
    dit = cls(cls.variant_named("mini"), Runtime())
    strategy = strategy_named("prefix+race")
    with pytest.raises(GcbenchError, match="dit reads no sequence whose beginning could rank"):
        plan(
            [dit], [registry.benchmark("mini-val")], Store(tmp_path),
            trials=4, seed=0, strategy=strategy,
        )  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_prefix_that_is_no_part_of_the_sequence_is_refused(share):

    with pytest.raises(GcbenchError, match="expected a share between 0 and 1"):
        strategy_named("prefix+race", prefix=share)
