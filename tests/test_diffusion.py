"""Noising processes, timestep grids and loss weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gcbench.diffusion import (
    DDPM,
    STEPS,
    LinearFlow,
    golden_order,
    loss_weights,
    nested_grids,
    timestep_grid,
)
from gcbench.errors import GcbenchError

FITTING = [n for n in range(1, STEPS + 1) if STEPS % n == 0]
PROCESSES = [DDPM(), LinearFlow(data_at=1), LinearFlow(data_at=0)]


def test_grid_is_the_published_one():
    assert timestep_grid(250).tolist() == list(range(2, 1000, 4))
    assert timestep_grid(100).tolist() == list(range(5, 1000, 10))


@pytest.mark.parametrize("count", FITTING)
def test_grid_has_the_count_that_was_asked_for(count):
    assert len(timestep_grid(count)) == count


@pytest.mark.parametrize("count", [0, -1, 3, 30, 1001])
def test_grid_that_does_not_fit_is_refused_with_those_that_do(count):
    with pytest.raises(GcbenchError, match=rf"{count} timesteps do not fit.*one of 1, 2, 4, 5, 8"):
        timestep_grid(count)


@pytest.mark.parametrize("count", FITTING)
def test_nested_grids_are_the_grids_of_their_sizes(count):
    nested = nested_grids(count)
    assert count in nested
    for size, chosen in nested.items():
        np.testing.assert_array_equal(timestep_grid(count)[chosen], timestep_grid(size))


def test_grids_with_an_odd_multiple_of_the_stride_nest():
    assert set(nested_grids(250)) == {2, 10, 50, 250}
    assert set(nested_grids(100)) == {4, 20, 100}


@given(st.integers(1, 500))
def test_golden_order_visits_every_step_once(count):
    assert sorted(golden_order(np.ones(count))) == list(range(count))


@given(st.integers(10, 500), st.data())
def test_every_beginning_of_the_golden_order_is_spread_over_all_steps(count, data):
    length = data.draw(st.integers(2, count))
    visited = np.sort(golden_order(np.ones(count))[:length])
    gaps = np.diff(np.concatenate([[-1], visited, [count]]))
    assert gaps.max() <= 3 * count / length + 1


@pytest.mark.parametrize("process", PROCESSES)
def test_data_fades_as_noise_grows(process):
    alpha, sigma = process.alpha_sigma(timestep_grid(100))
    towards_noise = slice(None, None, -1) if process == LinearFlow(data_at=1) else slice(None)
    assert (np.diff(alpha[towards_noise]) < 0).all()
    assert (np.diff(sigma[towards_noise]) > 0).all()


@pytest.mark.parametrize("process", PROCESSES)
def test_the_target_of_training_amounts_to_the_noise(process):
    generator = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 10, 4, generator=generator, dtype=torch.float64)
    alpha, sigma = (torch.from_numpy(c)[:, None] for c in process.alpha_sigma(timestep_grid(10)))
    found = process.noise(alpha * data + sigma * noise, process.target(data, noise), alpha)
    torch.testing.assert_close(found, noise, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("process", PROCESSES)
def test_rate_is_the_slope_of_the_log_signal_to_noise_ratio(process):
    steps = timestep_grid(50)[2:-2]
    inside = [steps + d for d in (-1, 1)]
    before, after = (np.log(a / s) for a, s in map(process.alpha_sigma, inside))
    slope = np.abs(after - before)
    ratio = slope / process.rate(steps)
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.05)


def test_both_directions_of_the_flow_weigh_the_same_noise_level_alike():
    steps = timestep_grid(100)
    one = loss_weights(LinearFlow(data_at=1), steps)
    other = loss_weights(LinearFlow(data_at=0), STEPS - steps)
    for name, weights in one.items():
        np.testing.assert_allclose(weights, other[name], rtol=1e-9)


@pytest.mark.parametrize("process", PROCESSES)
def test_weights_are_positive_and_min_snr_is_capped(process):
    weights = loss_weights(process, timestep_grid(100))
    assert all((w > 0).all() and np.isfinite(w).all() for w in weights.values())
    assert weights["min-snr-5"].max() == 1.0


def test_flow_weight_fm_ot_is_the_error_of_the_velocity():
    steps = timestep_grid(20)
    alpha, _ = LinearFlow(data_at=1).alpha_sigma(steps)
    np.testing.assert_allclose(
        loss_weights(LinearFlow(data_at=1), steps)["fm-ot"], 1 / alpha**2, rtol=1e-12
    )
