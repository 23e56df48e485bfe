"""VAR and A-VARC as methods, on tiny networks: scales, noise draws, stages, and bad input."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from checkout import GOLDEN
from PIL import Image
from safetensors.torch import save_file

from gcbench.checkpoint import ByHand
from gcbench.engine.grid import score_images
from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey, Variant, Work
from gcbench.nets.var import PATCH_NUMS_256, scale_ends
from gcbench.nets.var import VAR as Network
from gcbench.nets.var_vqvae import VQVAE
from gcbench.parity.avarc import method_of
from gcbench.parity.fixture import read_fixture
from gcbench.scores import decide, final_means
from gcbench.stages import Stage, parse_stages
from gcbench.strategy import Strategy
from gcbench.training.data import as_rgb, centre_view

FIXTURE = GOLDEN / "avarc"

SIDES = (1, 2, 4)
CODES = 12
SIZES = {
    "model": {
        "depth": 2,
        "embed_dim": 32,
        "num_heads": 4,
        "patch_nums": SIDES,
        "vocab_size": CODES,
        "code_dim": 4,
        "num_classes": 6,
    },
    "tokenizer": {
        "patch_nums": SIDES,
        "codebook_size": CODES,
        "z_channels": 4,
        "ch": 32,
        "ch_mult": (1, 1),
        "num_res_blocks": 1,
    },
}
VARIANT = Variant(
    name="tiny",
    label_space="six",
    config={**SIZES, "image": {"grey": False}, "likelihood": {"scales": 3, "sigma": 0.5}},
    checkpoints={"model": ByHand(""), "tokenizer": ByHand("")},
    image_size=8,
)
CLASSES = (0, 1, 2, 3, 4, 5)
KEYS = [SampleKey(f"image-{i}", i) for i in range(4)]


def trained_looking(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return network.state_dict()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("var")
    torch.manual_seed(0)
    for role, network in (("model", Network), ("tokenizer", VQVAE)):
        save_file(trained_looking(network(**SIZES[role])), folder / f"{role}.safetensors")
    return {role: folder / f"{role}.safetensors" for role in SIZES}


@pytest.fixture(scope="module")
def make(registry, files):
    def call(name, variant=VARIANT, precision="fp32", **changed_files):
        runtime = Runtime(precision=precision, checkpoint_files={**files, **changed_files})
        method = registry.method(name)(variant, runtime)
        method.load()
        return method

    return call


@pytest.fixture(scope="module")
def var(make):
    return make("var")


@pytest.fixture(scope="module")
def avarc(make):
    return make("avarc")


@pytest.fixture(scope="module")
def images(var):
    return squares(var)


def squares(method):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (len(KEYS), 20, 24, 3), np.uint8)
    return [method.preprocess(Image.fromarray(image)) for image in pixels]


@pytest.fixture
def ten_scales(registry, tmp_path):
    """A-VARC on tiny networks with the published scales and twelve classes, and images for it."""
    sizes = {
        "model": {**SIZES["model"], "patch_nums": PATCH_NUMS_256, "num_classes": 12},
        "tokenizer": {**SIZES["tokenizer"], "patch_nums": PATCH_NUMS_256},
    }
    torch.manual_seed(0)
    files = {}
    for role, network in (("model", Network), ("tokenizer", VQVAE)):
        files[role] = tmp_path / f"{role}.safetensors"
        save_file(trained_looking(network(**sizes[role])), files[role])
    config = {**VARIANT.config, **sizes, "likelihood": {"scales": 10, "sigma": 0.5}}
    variant = replace(VARIANT, config=config, image_size=32)
    method = registry.method("avarc")(variant, Runtime(checkpoint_files=files))
    method.load()
    return method, squares(method)


@torch.inference_mode()
def scored(method, images, rows=slice(None), trials=1, seed=0, batch_size=100):
    return score_images(
        method, images[rows], KEYS[rows], CLASSES, trials=trials, seed=seed, batch_size=batch_size
    )


def with_config(role, **changes):
    config = {**VARIANT.config, role: {**VARIANT.config[role], **changes}}
    return replace(VARIANT, config=config)


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_var_scores_are_sums_over_the_codes_of_all_scales(var, images):
    tokens = var.tokenizer.encode(torch.stack(images))
    var_input = var.tokenizer.quantize.var_input(tokens)
    for label in CLASSES:
        classes = torch.full((len(images),), label)
        expected = var.model.token_log_likelihood(tokens, var_input, classes).sum(1)
        close(scored(var, images)[:, 0, label], expected)


@torch.inference_mode()
def test_likelihood_of_the_first_scales_is_a_partial_sum(make, images):
    for scales, end in enumerate(scale_ends(SIDES), start=1):
        method = make("var", with_config("likelihood", scales=scales))
        tokens = method.tokenizer.encode(torch.stack(images))
        var_input = method.tokenizer.quantize.var_input(tokens)
        whole = method.model.token_log_likelihood(tokens, var_input, torch.full((4,), 2))
        close(scored(method, images)[:, 0, 2], whole[:, :end].sum(1))


def test_first_trial_of_avarc_is_the_clean_likelihood(var, avarc, images):
    close(scored(avarc, images, trials=3)[:, :1], scored(var, images))


def test_later_trials_of_avarc_are_noisy_and_differ(avarc, images):
    values = scored(avarc, images, trials=3)
    assert (values[:, 1] != values[:, 0]).any()
    assert (values[:, 2] != values[:, 1]).any()


@torch.inference_mode()
def test_noise_is_added_before_quantisation(avarc, images):
    latent = avarc.encode(torch.stack(images))
    noise = avarc.trials(2, KEYS, seed=0).draws["noise"][:, 1]
    assert 0.8 < noise.std() < 1.2
    tokens = avarc.tokenizer.quantize(latent + 0.5 * noise)
    var_input = avarc.tokenizer.quantize.var_input(tokens)
    expected = avarc.model.token_log_likelihood(tokens, var_input, torch.full((4,), 3)).sum(1)
    close(scored(avarc, images, trials=2)[:, 1, 3], expected)


def test_avarc_depends_neither_on_batch_size_nor_on_other_images_nor_later_trials(avarc, images):
    whole = scored(avarc, images, trials=3)
    for size in (1, 4, 7):
        close(scored(avarc, images, trials=3, batch_size=size), whole)
    for row in range(len(KEYS)):
        close(scored(avarc, images, slice(row, row + 1), trials=3), whole[row : row + 1])
    close(scored(avarc, images, trials=2), whole[:, :2])


def test_seed_moves_the_noise_and_leaves_the_clean_trial(avarc, images):
    first, second = (scored(avarc, images, trials=2, seed=seed) for seed in (0, 1))
    close(second[:, 0], first[:, 0])
    assert (second[:, 1] != first[:, 1]).any()


def test_bf16_moves_scores_by_rounding_only(make, var, images):
    exact, rounded = scored(var, images), scored(make("var", precision="bf16"), images)
    assert (rounded != exact).any()
    np.testing.assert_allclose(rounded, exact, rtol=0.02)


@torch.inference_mode()
def staged(avarc, images, stages, batch_size=100):
    latent = avarc.encode(torch.stack(images))
    return list(avarc.staged(latent, KEYS, CLASSES, stages, seed=0, batch_size=batch_size))


def test_a_single_stage_is_the_mean_over_trials_of_the_full_grid(avarc, images):
    (only,) = staged(avarc, images, [Stage(survivors=1, trials=3, scales=3)])
    expected = scored(avarc, images, trials=3).mean(axis=1)
    close(only.scores, expected)
    assert only.survivors[:, 0].tolist() == expected.argmax(axis=1).tolist()


def test_stages_score_survivors_anew_by_their_own_scales_and_trials(make, avarc, images):
    stages = [Stage(4, trials=1, scales=1), Stage(2, trials=2, scales=2), Stage(1, 3, scales=3)]
    for stage, outcome in zip(stages, staged(avarc, images, stages, batch_size=3), strict=True):
        method = make("avarc", with_config("likelihood", scales=stage.scales))
        grid = torch.from_numpy(scored(method, images, trials=stage.trials).mean(axis=1))
        close(outcome.scores, grid.gather(1, outcome.candidates))
        assert outcome.survivors.shape == (4, stage.survivors)


def test_presets_are_the_official_ones():
    presets = import_module("gcbench._plugins.baselines.avarc").PRESETS
    default, readme = (
        [(s.survivors, s.trials, s.scales) for s in presets[name]] for name in ("default", "readme")
    )
    assert default == [(1, 1, 10)]
    assert readme == [(10, 1, 6), (3, 1, 10), (1, 3, 10)]


@torch.inference_mode()
def decisions(avarc, images, stages, classes):
    """Of the engine, and of the official script's steps."""
    strategy = Strategy("staged", rounds=stages)
    trials = max(stage.trials for stage in stages)
    found = score_images(
        avarc, images, KEYS, classes, trials=trials, seed=0, batch_size=7, strategy=strategy
    )
    latent = avarc.encode(torch.stack(images))
    *_, last = avarc.staged(latent, KEYS, classes, stages, seed=0, batch_size=100)
    close(final_means(found).max(axis=1), last.scores.max(dim=1).values)
    return np.array(classes)[decide(found)].tolist(), last.survivors[:, 0].tolist()


@pytest.mark.parametrize(
    "stages", ["1:1:3", "4:1:1,1:1:3", "4:1:2,2:3:2,1:2:3", "5:3:3,2:1:1,1:3:3"]
)
def test_engine_decides_in_stages_as_the_official_steps(avarc, images, stages):
    found, expected = decisions(avarc, images, parse_stages(stages), CLASSES)
    assert found == expected


@pytest.mark.parametrize("name", ["default", "readme"])
def test_official_presets_decide_as_the_official_steps(ten_scales, name):
    method, images = ten_scales
    found, expected = decisions(method, images, method.stage_presets[name], range(12))
    assert found == expected


@pytest.mark.skipif(not FIXTURE.exists(), reason="the official fixture is not beside this checkout")
@pytest.mark.parametrize("run", range(4))
def test_engine_decides_as_the_official_steps_on_the_official_fixture(run):
    fixture = read_fixture(FIXTURE)
    settings = fixture.config["runs"][run]
    lists = (settings[f"num_{what}_list"] for what in ("candidate", "sample", "scale"))
    stages = tuple(Stage(*numbers) for numbers in zip(*lists, strict=True))
    images = list(fixture.tensors()["images"])[: len(KEYS)]
    found, expected = decisions(method_of(fixture, settings), images, stages, settings["class_ids"])
    assert found == expected


def test_more_candidates_than_classes_are_refused(avarc, images):
    with pytest.raises(GcbenchError, match="stage 1 keeps 10 classes, but only 6 are left"):
        staged(avarc, images, [Stage(10, 1, 3), Stage(1, 1, 3)])


def test_embedded_images_are_seen_as_in_training(registry):
    cls = registry.method("var")
    method = cls(cls.variant_named("mini"), Runtime())
    grey = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    seen = method.preprocess(Image.fromarray(grey).convert("RGB"))
    trained = as_rgb(torch.from_numpy(centre_view(grey, 32).copy())[None])[0]
    assert torch.equal(seen, trained)
    assert method.preprocessing == "grey, adm-centre-crop-32"


def test_noise_on_the_embedded_images_is_a_tenth_of_the_spread_of_the_features(registry):
    variant = registry.method("avarc").variant_named("mini")
    spread = variant.checkpoints["tokenizer"].card()["final"]["feature_std"]
    assert variant.config["likelihood"]["sigma"] == pytest.approx(0.1 * spread, rel=0.05)


def test_published_noise_is_refused(registry):
    with pytest.raises(GcbenchError, match="cannot replay its published noise"):
        registry.method("avarc")(VARIANT, Runtime(protocol="published"))


def test_vocabulary_of_another_tokenizer_is_refused(make):
    with pytest.raises(GcbenchError) as caught:
        make("var", with_config("model", vocab_size=99))
    assert str(caught.value).startswith(
        "var (tiny): the network predicts 99 codes, its tokenizer has 12"
    )


def test_scales_of_another_tokenizer_are_refused(make):
    with pytest.raises(GcbenchError, match=r"scales of sides \[1, 3, 4\], its tokenizer \[1, 2, 4"):
        make("var", with_config("model", patch_nums=(1, 3, 4)))


def test_checkpoint_with_other_scales_is_refused(make, tmp_path):
    file = tmp_path / "other.safetensors"
    save_file(Network(**{**SIZES["model"], "patch_nums": (1, 2, 3, 4)}).state_dict(), file)
    with pytest.raises(GcbenchError) as caught:
        make("var", model=file)
    assert "trained on scales of sides [1, 2, 3, 4], expected [1, 2, 4]" in str(caught.value)


@pytest.mark.parametrize("scales", [0, 4])
def test_likelihood_of_scales_that_do_not_exist_is_refused(make, scales):
    with pytest.raises(GcbenchError, match=f"the first {scales} scales is asked for"):
        make("var", with_config("likelihood", scales=scales))


def test_work_lists_of_unequal_length_are_scored_pair_by_pair(avarc, images):
    with torch.inference_mode():
        latent = avarc.encode(torch.stack(images))
        trials = avarc.trials(2, KEYS, seed=0)
        work = Work(
            image=torch.tensor([2, 0]),
            trial=torch.tensor([1, 0]),
            classes=torch.tensor([5, 1, 3]),
            offsets=torch.tensor([0, 1, 3]),
        )
        got = avarc.score(latent, trials, work)
    grid = scored(avarc, images, trials=2)
    close(got, [grid[2, 1, 5], grid[0, 0, 1], grid[0, 0, 3]])


def test_cost_of_the_published_sizes_is_that_of_their_matrix_products(registry):
    def flops(name):
        cls = registry.method("var")
        return cls(cls.variant_named(name), Runtime()).flops_per_evaluation()

    weights = 2 * 680 * 310e6  # two operations a parameter and code, modulation and tables aside
    assert 0.6 * weights < flops("d16") < 1.1 * weights
    assert flops("d16-first6") < flops("d16") / 7
