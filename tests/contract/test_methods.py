"""What every method must hold, third-party ones too: parametrised over all that are found.

Each is run on a few images of every benchmark of its label space.
"""

import re
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pytest
import torch
from checkout import PLUGINS

from gcbench.engine.grid import encode_images, full_grid, load_images, score_images
from gcbench.errors import GcbenchError
from gcbench.method import AutoregressiveMethod, GenerativeMethod, Method, Runtime, SampleKey
from gcbench.registry import Registry
from gcbench.scores import RULES

REGISTRY = Registry([PLUGINS])
CASES = [
    pytest.param(cls, variant, id=f"{name}-{variant.name}")
    for name, cls in sorted(REGISTRY.methods.items())
    for variant in cls.variants
]
EMBEDDED = [
    n for f in REGISTRY.families if f.suite in ("mini", "pairs", "shifts", "toy") for n in f.names
]
# Trainings by other seeds are the same network with other weights.
RUNNABLE = [
    c
    for c in CASES
    if c.values[1].name.startswith(("mini", "pairs", "tiny"))
    and not c.values[1].name.endswith(("-seed2", "-seed3"))
]


def allows(method, trials):
    try:
        method.check_trials(trials)
        method.protocol(trials)
    except GcbenchError:
        return False
    return True


class Loaded:
    """A method with its networks, a few samples and the candidate classes."""

    def __init__(self, method: Method):
        self.method = method
        benchmark = next(
            found
            for name in EMBEDDED
            if (found := REGISTRY.benchmark(name)).label_space.name == method.variant.label_space
        )
        chosen = benchmark.choose("first-1").samples[:4]
        self.keys = [SampleKey(s.id, i) for i, s in enumerate(chosen)]
        self.classes = benchmark.classes[:12]  # enough to tell them apart, and quick
        self.trials = next(n for n in (3, 5, 1) if allows(method, n))
        images, failures = load_images(method, chosen, self.keys, self.trials, seed=0)
        assert not failures
        self.images = list(images.values())

    @cached_property
    def whole(self):
        """Of all images, classes and trials."""
        return self.scores()

    def scores(self, rows=slice(None), classes=None, trials=None, batch_size=1000, seed=0):
        with torch.inference_mode():
            return score_images(
                self.method,
                self.images[rows],
                self.keys[rows],
                classes or self.classes,
                trials=trials or self.trials,
                seed=seed,
                batch_size=batch_size,
            )


@pytest.fixture(scope="module")
def loaded(request):
    cls, variant = request.param
    method = cls(variant, Runtime())
    method.load()
    return Loaded(method)


def on_every_method(test):
    params = [pytest.param(case.values, id=case.id) for case in RUNNABLE]
    return pytest.mark.parametrize("loaded", params, indirect=True)(test)


def close(got, expected):
    """Equal to fp32 rounding: 1e-5 relative to the size of a score."""
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("cls", "variant"), CASES)
def test_card_is_complete(cls, variant):
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", cls.name)
    assert cls.summary
    assert cls.family in ("autoregressive", "diffusion", "discriminative", "joint")
    assert cls.default_rule in RULES
    assert cls.check_trials(None) == cls.default_trials
    method = cls(variant, Runtime())
    # Empty arguments are the network's defaults, the published size.
    assert all(isinstance(method.config(role), Mapping) for role in variant.checkpoints)


@on_every_method
def test_scores_are_finite_and_have_the_contract_shape(loaded):
    values = loaded.whole
    assert values.dtype == np.float32
    assert values.shape == (len(loaded.images), loaded.trials, len(loaded.classes))
    assert np.isfinite(values).all()


@on_every_method
def test_scores_do_not_depend_on_the_batch_size(loaded):
    for size in (1, 7):
        close(loaded.scores(batch_size=size), loaded.whole)


@on_every_method
def test_scores_do_not_depend_on_the_other_images(loaded):
    for row in range(len(loaded.images)):
        close(loaded.scores(slice(row, row + 1)), loaded.whole[row : row + 1])


@on_every_method
def test_scores_do_not_depend_on_the_other_candidate_classes(loaded):
    if not isinstance(loaded.method, GenerativeMethod):
        pytest.skip("a discriminative method normalises over its candidates")
    some = loaded.classes[1::2]
    close(loaded.scores(classes=some), loaded.whole[:, :, 1::2])


@on_every_method
def test_smaller_runs_are_part_of_larger_ones(loaded):
    """The first trials do not depend on how many follow, or the trials' design names others."""
    design = loaded.method.design(loaded.trials)
    smaller = {1: (0,)} if design is None else design.nested
    for trials, chosen in smaller.items():
        close(loaded.scores(trials=trials), loaded.whole[:, list(chosen)])


@on_every_method
def test_scores_repeat_bit_for_bit(loaded):
    np.testing.assert_array_equal(loaded.scores(), loaded.whole)


@on_every_method
def test_seed_changes_the_draws_exactly_when_there_are_draws(loaded):
    moved = (loaded.scores(seed=1) != loaded.scores(seed=0)).any()
    assert bool(moved) == (loaded.method.max_trials is None)


@on_every_method
def test_scores_are_sums_over_tokens_that_fill_their_grids(loaded):
    method = loaded.method
    if not isinstance(method, AutoregressiveMethod):
        pytest.skip("it does not score token by token")
    with torch.inference_mode():
        latent = encode_images(method, loaded.images)
        drawn = method.trials(loaded.trials, loaded.keys, seed=0)
        (work,) = full_grid((len(latent), drawn.count), torch.tensor(loaded.classes), 10**6)
        found = method.token_scores(latent, drawn, work)
    close(found.log_likelihood.sum(-1).cpu(), loaded.whole.flatten())
    tokens = sum(side**2 for side in method.token_sides)
    assert found.log_likelihood.shape == (len(work.classes), tokens)
    assert found.position.sort().values.tolist() == [list(range(tokens))] * len(work.image)


@on_every_method
def test_image_is_preprocessed_to_one_float_tensor(loaded):
    size = loaded.method.variant.image_size
    for image in loaded.images:
        assert image.shape[-3:] == (3, size, size)
        assert image.dtype == torch.float32


@on_every_method
def test_weights_have_a_sha256_for_every_network(loaded):
    weights = loaded.method.weights()
    assert weights.keys() == set(loaded.method.variant.checkpoints)
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in weights.values())
