"""The diffusion classifiers on tiny networks: trials, grids, protocols, bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gcbench.checkpoint import ByHand
from gcbench.diffusion import timestep_grid
from gcbench.engine.grid import score_images
from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey, Variant
from gcbench.nets.class_token import ClassToken, EmbeddedClassToken
from gcbench.nets.dit import DiT
from gcbench.nets.kernels import can_compile
from gcbench.nets.sit import IREPA, REG, REPA, SiT
from gcbench.nets.vae import VAE, LatentStatistics

MODEL = {"input_size": 8, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_classes": 5}
ALIGNED = {**MODEL, "encoder_depth": 1, "z_dims": [6], "projector_dim": 8}
AUTOENCODER = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4}
NETWORKS = {
    "dit": (DiT, MODEL),
    "sit": (SiT, MODEL),
    "sit-repa": (REPA, ALIGNED),
    "sit-irepa": (IREPA, ALIGNED),
    "sit-reg": (REG, ALIGNED),
}
TEACHER = {
    "architecture": "vit_tiny_patch16_224",
    "image_size": 32,
    "embed_dim": 6,
    "depth": 1,
    "num_heads": 2,
}
# The networks that a method has beside its model.
ROLES = {"sit-irepa": ["autoencoder", "statistics"], "sit-reg": ["autoencoder", "teacher"]}
CLASSES = (0, 1, 2, 3, 4)
KEYS = [SampleKey(f"image-{i}", i) for i in range(3)]


def randomised(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return network


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion")
    torch.manual_seed(0)
    statistics = LatentStatistics(4)
    statistics.latents_scale += torch.arange(4)
    statistics.latents_bias += 0.5
    networks = {name: randomised(kind(**model)) for name, (kind, model) in NETWORKS.items()}
    networks |= {
        "autoencoder": VAE(**AUTOENCODER),
        "statistics": statistics,
        "teacher": ClassToken(**TEACHER),
    }
    paths = {name: folder / f"{name}.safetensors" for name in networks}
    for name, network in networks.items():
        save_file(network.state_dict(), paths[name])
    return paths


@pytest.fixture(scope="module")
def make(files, registry):
    def call(name="dit", weights=None, protocol="independent", path="reference", **options):
        roles = ["model", *ROLES.get(name, ["autoencoder"])]
        variant = Variant(
            name="tiny",
            label_space="five",
            config={
                "model": NETWORKS[name][1],
                "autoencoder": AUTOENCODER,
                "latent": {"scale": 0.7},
                "image": {"grey": False},
                "statistics": {},
                "teacher": TEACHER,
            },
            checkpoints={role: ByHand("") for role in roles},
            image_size=16,
        )
        paths = {role: files[role] for role in roles[1:]} | {"model": files[weights or name]}
        runtime = Runtime(
            protocol=protocol, checkpoint_files=paths, preprocessing=options, path=path
        )
        method = registry.method(name)(variant, runtime)
        method.load()
        return method

    return call


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in KEYS]


def scores(method, images, trials, *, rows=slice(None), seed=0, batch_size=1000):
    inputs = [method.preprocess(image) for image in images[rows]]
    with torch.inference_mode():
        return score_images(
            method,
            inputs,
            KEYS[rows],
            CLASSES,
            trials=trials,
            seed=seed,
            batch_size=batch_size,
        )


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_do_not_depend_on_batches_or_neighbours(name, make, images):
    method = make(name)
    whole = scores(method, images, 4)
    assert whole.shape == (3, 4, 5)
    assert (whole < 0).all()
    close(scores(method, images, 4, batch_size=7), whole)
    close(scores(method, images, 4, rows=slice(1, 2)), whole[1:2])


def test_compiled_path_gives_the_scores_of_the_reference_at_every_batch_size(make, images):
    if not can_compile("cpu"):
        pytest.skip("no C++ compiler here")
    expected, compiled = scores(make("sit-reg"), images, 4), make("sit-reg", path="compiled")
    assert compiled.predict != compiled.model.prediction
    for batch_size in (1, 7, 1000):
        close(scores(compiled, images, 4, batch_size=batch_size), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_coarser_run_is_part_of_a_finer_one(name, make, images):
    method = make(name)
    fine = scores(method, images, 20)
    nested = method.design(20).nested
    assert set(nested) == {4, 20}
    close(scores(method, images, 4), fine[:, list(nested[4])])


def test_score_is_the_error_of_the_noise_by_hand(make, images):
    method = make("sit")
    value = scores(method, images, 4)[1, 2, 3]
    step = timestep_grid(4)[2]
    t = torch.tensor([step / 1000], dtype=torch.float32)
    with torch.inference_mode():
        batch = method.preprocess(images[1])[None]
        latent = method.autoencoder.moments(batch)[0] * 0.7
        noise = method.trials(4, KEYS[1:2], 0).draws["noise"][:, 2]
        noisy = t * latent + (1 - t) * noise
        velocity = method.model(noisy, t, torch.tensor([3]))[:, :4]
    error = (noisy - t * velocity - noise).square().sum()
    np.testing.assert_allclose(value, -error, rtol=1e-5)


def test_latents_of_irepa_are_standardised_by_its_statistics(make, images):
    batch = make().preprocess(images[0])[None]
    with torch.inference_mode():
        plain = make("dit").encode(batch)[0, 0] / 0.7
        own = make("sit-irepa").encode(batch)[0, 0]
    scale = 1.0 + torch.arange(4)[:, None, None]
    torch.testing.assert_close(own, (plain - 0.5) * scale, rtol=1e-5, atol=1e-5)


def test_several_noises_per_timestep_go_through_the_grid_again(make, images):
    once, thrice = make(), make(timesteps=4)
    assert thrice.protocol(12) == "independent, 4 timesteps"
    assert thrice.protocol(4) == once.protocol(4) == "independent"
    drawn = thrice.trials(12, KEYS, 0).draws
    assert drawn["step"][0].tolist() == timestep_grid(4).tolist() * 3
    assert not torch.equal(drawn["noise"][:, :4], drawn["noise"][:, 4:8])
    assert set(thrice.design(12).nested) == {4, 8, 12}
    close(scores(thrice, images, 12)[:, :4], scores(once, images, 4))


def test_trials_that_do_not_fill_whole_rounds_are_refused(make):
    with pytest.raises(GcbenchError, match=r"10 trials are not a multiple of 4.*--trials 4"):
        make(timesteps=4).protocol(10)


def test_timesteps_that_do_not_fit_the_process_are_refused(make):
    with pytest.raises(GcbenchError, match="30 timesteps do not fit the 1000"):
        make().protocol(30)


def test_race_order_takes_one_round_after_the_other(make):
    order = make(timesteps=10).race_order(20)
    assert sorted(order[:10]) == list(range(10))
    assert sorted(order[10:]) == list(range(10, 20))


def test_race_order_begins_with_larger_trials(make):
    sizes = [4.0] * 5 + [0.1] * 5
    order = make(timesteps=10).race_order(10, sizes)
    assert sorted(order[:5]) == [0, 1, 2, 3, 4]
    assert sorted(order) == list(range(10))


def test_seed_and_sample_decide_the_noise(make):
    method = make()
    drawn = method.trials(4, KEYS, 0).draws["noise"]
    assert torch.equal(method.trials(4, KEYS[::-1], 0).draws["noise"], drawn.flip(0))
    assert not torch.equal(method.trials(4, KEYS, 1).draws["noise"], drawn)


def test_published_noise_is_one_sequential_stream(make):
    method = make(protocol="published")
    generator = torch.Generator().manual_seed(42)
    expected = [torch.randn(1, 4, 8, 8, generator=generator) for _ in range(3 * 4)]
    drawn = method.trials(4, KEYS, 42).draws["noise"]
    assert torch.equal(drawn.flatten(0, 1), torch.cat(expected))
    last = method.trials(4, KEYS[2:], 42).draws["noise"]
    assert torch.equal(last[0], drawn[2])


def test_published_sit_is_told_pure_noise_whatever_it_sees(make):
    steps = timestep_grid(4)
    assert make("sit", protocol="published").network_time(steps).tolist() == [0.0] * 4
    assert make("sit").network_time(steps).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_latent_drawn_from_the_posterior_is_the_same_in_every_trial(make, images):
    method = make(posterior="sample")
    assert method.preprocessing.endswith("one latent drawn per image")
    assert method.trials(4, KEYS, 0).draws["posterior"].shape == (3, 1, 4, 8, 8)
    moved = scores(method, images, 4)
    assert (moved != scores(make(), images, 4)).any()
    close(scores(method, images, 20)[:, list(method.design(20).nested[4])], moved)


def test_a_latent_that_is_not_finite_is_named(make):
    method = make()
    with pytest.raises(GcbenchError, match="an image's latent is not finite"):
        method.encode(torch.full((1, 3, 16, 16), float("nan")))


def test_a_checkpoint_of_repa_is_refused_by_sit(make):
    with pytest.raises(GcbenchError, match="whose time runs the other way"):
        make("sit", weights="sit-repa")


def test_a_checkpoint_of_sit_is_refused_by_repa(make):
    with pytest.raises(GcbenchError, match="whose time runs the other way"):
        make("sit-repa", weights="sit")


def test_published_variants_know_their_cost(registry):
    # Twice the 118.6 billion multiplications that the authors of DiT-XL/2 count.
    method = registry.method("dit")
    flops = method(method.variant_named("xl"), Runtime()).flops_per_evaluation()
    assert 0.99 < flops / (2 * 118.6e9) < 1.01


@pytest.mark.parametrize("name", NETWORKS)
def test_cost_is_that_of_the_blocks(make, images, name):
    method = make(name)
    # The CPU's fused attention is not counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        scores(method, images, 2)
    blocks = sum(counter.get_flop_counts()["DiTBlock"].values())
    evaluations = len(images) * 2 * len(CLASSES)
    assert blocks == evaluations * method.flops_per_evaluation()


def test_class_token_of_reg_is_noised_like_the_latent(make, images):
    method = make("sit-reg")
    batch = method.preprocess(images[0])[None]
    drawn = method.trials(4, KEYS, 0).draws
    assert drawn["class_token"].shape == (3, 4, 6)
    with torch.inference_mode():
        latent = method.encode(batch)
        token = method.teacher(batch)
        t = torch.tensor([0.125])
        mean = method.moments(latent)[:, 0]
        noisy = (1 - t) * mean + t * drawn["noise"][:1, 0]
        noisy_token = (1 - t) * token + t * drawn["class_token"][:1, 0]
        velocity, _, _ = method.model.with_class_token(noisy, t, torch.tensor([2]), noisy_token)
    error = (noisy + (1 - t) * velocity - drawn["noise"][:1, 0]).square().sum()
    np.testing.assert_allclose(scores(method, images, 4)[0, 0, 2], -error, rtol=1e-5)


def test_embedded_teacher_gives_the_class_token_that_training_reads():
    from gcbench.training.aligned import teacher_tokens

    torch.manual_seed(0)
    shape = {"img_size": 16, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    teacher = randomised(EmbeddedClassToken(**shape))
    batch = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(teacher(batch), teacher_tokens(teacher, batch, 2)[:, 0])


def test_teacher_of_another_width_is_refused(make, files, registry):
    method = make("sit-reg")
    wide = {**TEACHER, "embed_dim": 8}
    variant = replace(method.variant, config={**method.variant.config, "teacher": wide})
    with pytest.raises(GcbenchError, match="class tokens of width 6, its teacher makes 8"):
        type(method)(variant, method.runtime).load()
