"""RandAR on latents that every trial perturbs before they are quantised."""

import numpy as np
import pytest
import torch

from gcbench.engine.grid import load_images, score_images
from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey

STRENGTH = 0.1


@pytest.fixture(scope="module")
def samples(registry):
    return registry.benchmark("mini-val").choose("first-1").samples[:3]


@pytest.fixture(scope="module")
def make(registry):
    def build(loaded=True, protocol="independent", **preprocessing):
        cls = registry.method("randar")
        runtime = Runtime(preprocessing=preprocessing, protocol=protocol)
        method = cls(cls.variant_named("mini"), runtime)
        if loaded:
            method.load()
        return method

    return build


def scores(method, samples, rows=slice(None), trials=2, seed=0, batch_size=100):
    keys = [SampleKey(sample.id, position) for position, sample in enumerate(samples)]
    images, _ = load_images(method, samples, keys, trials, seed)
    chosen = list(images.values())[rows]
    with torch.inference_mode():
        return score_images(
            method, chosen, keys[rows], range(10), trials=trials, seed=seed, batch_size=batch_size
        )


@pytest.fixture(scope="module")
def noisy(make, samples):
    return make(latent_noise=STRENGTH), scores(make(latent_noise=STRENGTH), samples)


def test_noise_that_vanishes_changes_nothing(make, samples):
    clean = scores(make(), samples)
    assert np.array_equal(scores(make(latent_noise=1e-7), samples), clean)


def test_noise_is_another_run_and_other_scores(make, samples, noisy):
    assert noisy[0].preprocessing == make(loaded=False).preprocessing + (
        ", latent noise 0.1 per trial"
    )
    assert (scores(make(), samples) != noisy[1]).all()


def test_noise_does_not_depend_on_company_or_batch_size(samples, noisy):
    method, whole = noisy
    alone = np.concatenate([scores(method, samples, slice(i, i + 1)) for i in range(3)])
    assert np.array_equal(alone, whole)
    np.testing.assert_allclose(scores(method, samples, batch_size=7), whole, atol=1e-3)


def test_first_trials_are_those_of_a_shorter_run(samples, noisy):
    method, whole = noisy
    assert np.array_equal(scores(method, samples, trials=1), whole[:, :1])


def test_trials_look_at_different_tokens_of_the_same_latent(make, samples):
    method = make(latent_noise=STRENGTH)
    keys = [SampleKey(sample.id, position) for position, sample in enumerate(samples)]
    latent = torch.randn(3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = method.trials(4, keys, 0)
    image, trial = torch.tensor([1, 1, 2]), torch.tensor([0, 3, 3])
    first, second, third = method.tokens(latent, drawn, image, trial)
    assert (first != second).any()
    eps = drawn.draws["noise"][2, 3]
    expected = method.tokenizer.quantize(((1 - STRENGTH) * latent[2] + STRENGTH * eps)[None])[0]
    assert torch.equal(third, expected)


def test_noise_goes_with_random_crops(make, samples):
    both = make(latent_noise=STRENGTH, crop="random")
    assert scores(both, samples).shape == (3, 2, 10)
    assert "random crop per trial, latent noise 0.1 per trial" in both.preprocessing


def test_published_noise_cannot_be_replayed(make):
    with pytest.raises(GcbenchError, match="cannot replay its published latent noise"):
        make(loaded=False, protocol="published", latent_noise=STRENGTH)


def test_method_without_latents_to_perturb_refuses_noise(registry):
    cls = registry.method("dit")
    with pytest.raises(GcbenchError, match="dit does not take --latent-noise"):
        cls(cls.variants[0], Runtime(preprocessing={"latent_noise": STRENGTH}))
