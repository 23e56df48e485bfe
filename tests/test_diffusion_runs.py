"""Diffusion classifiers of the embedded suite, from the command line to the stored tables."""

import numpy as np
import pytest

from gcbench.errors import GcbenchError
from gcbench.session import run_session
from gcbench.store import Store

OPTIONS = {
    "benches": ["mini-s"],
    "variant": None,
    "trials": 20,
    "rule": None,
    "seed": 0,
    "limit_per_class": 1,
    "subset": None,
    "device": "cpu",
    "precision": "fp32",
    "protocol": "independent",
    "batch_size": 250,
    "checkpoints": {},
    "preprocessing": {},
    "data_root": None,
    "rerun": "missing",
    "dry_run": False,
}


@pytest.fixture
def run(registry, tmp_path):
    def call(method="dit", **options):
        given = {**OPTIONS, **options, "methods": [method], "results": tmp_path / "results"}
        assert run_session(registry, **given) == 0
        return Store(tmp_path / "results").runs()

    return call


def test_one_run_holds_every_loss_weighting_and_the_coarser_grid(run, capsys):
    (stored,) = run(rule="elbo")
    assert "(elbo, K=20)" in capsys.readouterr().out
    predictions = stored.predictions()
    rules = ("mean", "elbo", "inverse-snr", "min-snr-5", "fm-ot")
    expected = {f"{rule}@{trials}" for rule in rules for trials in (4, 20)}
    assert {name for name in predictions if "@" in name} == expected
    assert set(stored.summary["accuracy"]) == expected
    scores = stored.scores()
    values = scores.values.astype(np.float64)
    weights = np.array(scores.design.weights["elbo"])
    by_hand = (weights[:, None] * values).mean(axis=1).argmax(axis=1)
    np.testing.assert_array_equal(predictions["elbo@20"], by_hand)


def test_repeated_timesteps_are_a_run_of_their_own(run):
    run(trials=4)
    stored = run(trials=8, preprocessing={"timesteps": 4})
    first, second = sorted(stored, key=lambda run: run.spec["trials"])
    assert first.spec["protocol"] == "independent"
    assert second.spec["protocol"] == "independent, 4 timesteps"
    np.testing.assert_allclose(second.scores().values[:, :4], first.scores().values, rtol=1e-5)


def test_a_race_over_timesteps_leaves_evaluations_out(run):
    (stored,) = run(trials=100, strategy="race")
    assert not stored.scores().exhaustive
    # The calibration takes the whole grid of all ten images, so here the race saves nothing at all.
    assert stored.summary["strategy"]["evaluations_per_image"]["race"] < 600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 30}, "30 timesteps do not fit the 1000"),
        ({"trials": 10, "preprocessing": {"timesteps": 4}}, "not a multiple of 4 timesteps"),
        ({"rule": "log-mean-exp"}, "unknown rule 'log-mean-exp'"),
        ({"preprocessing": {"crop": "random"}}, "does not take --crop"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_stored(run, tmp_path, options, message):
    with pytest.raises(GcbenchError, match=message):
        run(**options)
    assert not (tmp_path / "results").exists()
