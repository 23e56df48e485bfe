"""Token orders and crops: from a stream of their own, or exactly where the published stream is."""

import numpy as np
import pytest
import torch
from PIL import Image

from gcbench.method import Runtime, SampleKey
from gcbench.orders import crop_streams, published_orders, random_orders
from gcbench.preprocess import centre_crop, luminance, random_crop, to_tensor
from gcbench.published import sequential_draws

SIZE, STEPS, TRIALS, SEED = 16, 9, 3, 42
# Crops draw from ranges of different lengths, an exact fit among them.
SIZES = ((16, 16), (40, 33), (17, 90), (64, 20))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)) for w, h in SIZES]


def test_published_crops_and_orders_are_those_of_the_sequential_script(images):
    drawn = list(sequential_draws(images, TRIALS, STEPS, SIZE, SEED))
    orders = published_orders(range(len(images)), TRIALS, STEPS, SEED, crops=True)
    assert torch.equal(orders.flatten(0, 1), torch.stack([order for _, order in drawn]))
    crops = [
        random_crop(image, SIZE, stream)
        for position, image in enumerate(images)
        for stream in crop_streams(SampleKey("any", position), TRIALS, STEPS, SEED, "published")
    ]
    assert [c.tobytes() for c in crops] == [crop.tobytes() for crop, _ in drawn]


def test_independent_draws_ignore_position_and_number_of_trials(images):
    def crops(position, trials):
        key = SampleKey("image", position)
        streams = crop_streams(key, trials, STEPS, SEED, "independent")
        return [random_crop(images[1], SIZE, s).tobytes() for s in streams]

    assert crops(0, 2) == crops(7, 5)[:2]
    one = random_orders([SampleKey("image", 0)], 2, STEPS, SEED, "independent")
    other = random_orders([SampleKey("image", 7)], 5, STEPS, SEED, "independent")
    assert torch.equal(one, other[:, :2])


def test_every_order_is_a_permutation():
    orders = random_orders([SampleKey(f"s{i}", i) for i in range(4)], 5, STEPS, 0, "independent")
    assert orders.shape == (4, 5, STEPS)
    assert (orders.sort(dim=-1).values == torch.arange(STEPS)).all()
    assert len({tuple(o.tolist()) for o in orders.flatten(0, 1)}) > 10


@pytest.fixture
def make(registry):
    cls = registry.method("randar")

    def call(**preprocessing):
        return cls(cls.variant_named("mini"), Runtime(preprocessing=preprocessing))

    return call


def test_random_crop_gives_every_trial_a_view_of_its_own_and_is_another_run(make, images):
    centre, random = make(), make(crop="random")
    key = SampleKey("image", 0)
    expected = to_tensor(centre_crop(luminance(images[1]), 32))
    assert torch.equal(centre.views(images[1], key, 4, 0), expected[None])
    views = random.views(images[1], key, 4, 0)
    assert views.shape == (4, 3, 32, 32)
    assert len({view.numpy().tobytes() for view in views}) > 1
    assert torch.equal(random.views(images[1], key, 2, 0), views[:2])
    assert random.preprocessing != centre.preprocessing


def test_trial_of_a_random_crop_is_scored_on_its_own_view(make, images):
    from gcbench.engine.grid import score_images

    method, key = make(crop="random"), SampleKey("image", 0)
    method.load()
    views = method.views(images[1], key, 3, 0)
    with torch.inference_mode():
        values = score_images(method, [views], [key], (1, 4), trials=3, seed=0, batch_size=5)
        orders = random_orders([key], 3, method.steps, 0, "independent")[0]
        for trial in range(3):
            tokens = method.encode(views[trial : trial + 1]).expand(2, -1)
            expected = method.model.token_log_likelihood(
                tokens, torch.tensor([1, 4]), orders[trial].expand(2, -1)
            ).sum(1)
            np.testing.assert_allclose(values[0, trial], expected, rtol=1e-5)
