"""Calibration: what the numbers mean, and that stored runs give them."""

import numpy as np
import pytest
from committed_runs import RUNS, measured
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.confidence import fit_temperature, negative_log_likelihood, reliability
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.report.figures import save
from gcbench.report.reliability import calibration_table, log_posteriors, reliability_curves
from gcbench.scores import log_posterior
from gcbench.strategy import strategy_named

SCORES = arrays(np.float64, (12, 4), elements=st.floats(-50, 50))
COLUMNS = arrays(np.int64, 12, elements=st.integers(0, 3))


def calibrated(count=20_000, sharper=1.0, seed=0):
    """Scores whose posterior is the true one, multiplied, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (count, 5))
    posterior = np.exp(log_posterior(scores))
    columns = (posterior.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(max=4)
    return scores * sharper, columns


@given(SCORES, COLUMNS, st.floats(-1e6, 1e6))
def test_a_constant_per_sample_changes_nothing(scores, columns, shift):
    moved = scores + shift
    assert negative_log_likelihood(moved, columns) == pytest.approx(
        negative_log_likelihood(scores, columns), abs=1e-6
    )


@given(SCORES, COLUMNS)
def test_every_sample_is_in_one_bin(scores, columns):
    curve = reliability(scores, columns)
    assert curve.counts.sum() == 12
    posterior = np.exp(log_posterior(scores))
    assert curve.correct.sum() == (posterior.argmax(axis=1) == columns).sum()
    assert (curve.correct <= curve.counts).all()
    filled = curve.counts > 0
    assert (curve.confidence[filled] > curve.edges[:-1][filled] - 1e-12).all()
    assert (curve.confidence[filled] <= curve.edges[1:][filled] + 1e-12).all()
    assert 0 <= curve.error <= 1


def test_equal_scores_cost_the_entropy_of_the_classes():
    assert negative_log_likelihood(np.zeros((3, 8)), np.array([0, 5, 7])) == pytest.approx(
        np.log(8)
    )


def test_confident_and_wrong_is_an_error_of_one():
    scores = np.array([[100.0, 0.0], [0.0, 100.0]])
    assert reliability(scores, np.array([1, 0])).error == pytest.approx(1)
    assert reliability(scores, np.array([0, 1])).error == pytest.approx(0, abs=1e-12)


def test_true_posteriors_are_calibrated():
    assert reliability(*calibrated(200_000)).error < 0.01


@pytest.mark.parametrize("sharper", [0.2, 1.0, 7.0])
def test_temperature_undoes_a_factor(sharper):
    scores, columns = calibrated(sharper=sharper)
    assert fit_temperature(scores, columns) == pytest.approx(sharper, rel=0.03)
    assert reliability(scores / fit_temperature(scores, columns), columns).error < 0.015


@given(SCORES, COLUMNS)
def test_fitted_temperature_is_no_worse_than_any_other(scores, columns):
    best = fit_temperature(scores, columns)
    loss = negative_log_likelihood(scores / best, columns)
    for other in (0.5, 1.0, 3.0, 20.0):
        assert loss <= negative_log_likelihood(scores / other, columns) + 1e-6


def test_scores_without_labels_are_refused():
    with pytest.raises(GcbenchError, match=r"shape \(3, 2\) and there are 2 labels"):
        reliability(np.zeros((3, 2)), np.array([0, 1]))


@pytest.fixture
def run(plan_toy):
    planned = plan_toy("toys", trials=4)
    execute(planned)
    return planned.run


def test_stored_posteriors_stand_in_for_raw_scores(run):
    raw, columns = log_posteriors(run)
    assert raw.shape == (80, len(run.spec["classes"]))
    for shard in run.path.glob("scores-*.parquet"):
        shard.unlink()
    stored, same = log_posteriors(run)
    assert np.array_equal(columns, same)
    np.testing.assert_allclose(stored, np.maximum(raw, -87.4), atol=1e-4)


def test_table_agrees_with_the_summary_and_the_temperature_is_fitted_on_other_images(run):
    (row,) = calibration_table([run]).to_dict("records")
    counts = run.summary["accuracy"]["mean@4"]
    assert row["accuracy"] == counts["correct"] / counts["total"]
    (halved,) = calibration_table([run], share=0.25).to_dict("records")
    assert halved["images"] == 60
    assert halved["temperature"] > 0
    with pytest.raises(GcbenchError, match="0 of 80 images"):
        calibration_table([run], share=1e-9)


def test_race_has_no_posterior(plan_toy):
    planned = plan_toy("toys", trials=4, strategy=strategy_named("race"))
    execute(planned)
    with pytest.raises(GcbenchError, match="no finished run has posteriors"):
        calibration_table([planned.run])


def test_reliability_figure_has_a_panel_per_classifier_and_no_empty_one():
    shown = [panel for panel in reliability_curves(RUNS, "mini").axes if panel.get_visible()]
    kinds = {
        (r.spec["method"], r.spec["variant"]) for r in RUNS if r.spec["benchmark"] == "mini-val"
    }
    assert len(shown) == len(kinds)
    assert all(panel.get_title() for panel in shown)


def test_reliability_figure_shows_the_run_of_a_method_that_tables_prefer():
    titles = [panel.get_title() for panel in reliability_curves(RUNS, "mini").axes]
    for method, trials in (("sit", 100), ("dit", 200), ("randar", 20)):
        error = reliability(*log_posteriors(measured(method, "mini", trials, "mini-val"))).error
        assert f"{method}, K = {trials}\nECE {error:.3f}" in titles


def test_reliability_figure_is_the_same_each_time(tmp_path):
    written = [save(reliability_curves(RUNS, "mini"), tmp_path / name) for name in "ab"]
    assert [f.read_bytes() for f in written[0]] == [f.read_bytes() for f in written[1]]
    with pytest.raises(GcbenchError, match="no finished run on mini-val"):
        reliability_curves([], "mini")
