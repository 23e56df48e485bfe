"""The full-size recipes: their networks are those that runs load, and every one of them trains.

Two cores cannot hold the networks, so they are trained with one block instead of 12 to 36 and a
class table of two: at their true width one of each family, at a quarter of it the others. Encoders
are narrow ones with codebooks of the published sizes.
"""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import trees
from safetensors.torch import save_file

from gcbench.method import Runtime
from gcbench.nets.dinov2 import DINOv2
from gcbench.nets.dit import DiT
from gcbench.nets.llamagen_gpt import LlamaGenGPT
from gcbench.nets.randar import RandAR
from gcbench.nets.vae import VAE
from gcbench.nets.vit import ViT
from gcbench.resources import resource
from gcbench.store import Store
from gcbench.training.loop import run
from gcbench.training.recipe import checked, read_recipe
from gcbench.training.tokenizer import tokenizer_of

# Which variant of which method reads the checkpoint of a recipe.
EVALUATED = {
    "randar-b": "randar:b",
    "randar-l": "randar:l",
    "randar-l-clean": "randar:l",
    "randar-l-maskgit": "randar:l-maskgit",
    "randar-xl": "randar:xl",
    "randar-raster-l": "randar-raster:l",
    "llamagen-b": "llamagen:b",
    "llamagen-l": "llamagen:l",
    "dit-b": "dit:b",
    "dit-l": "dit:l-paper",
    "dit-xl": "dit:xl-paper",
    "dinov2-probe": "dinov2:l14-release",
    "dinov2-probe-l16": "dinov2:l",
    "dinov2-probe-xl16": "dinov2:xl",
    **{f"{m}-{s}-{d}": f"{m}:{s}-{d}" for m in ("randar", "dit") for s in ("b", "l")
       for d in ("camelyon17", "celeba", "fmow")},
    **{f"{m}-{s}-{d}": f"{m}:{s}-{d}-seed1" for m in ("erm", "rwy") for s in ("b", "l")
       for d in ("camelyon17", "celeba", "fmow")},
    **{f"stitching-{s}-{d}": f"stitching:{s}-{d}-seed1" for s in ("b", "l")
       for d in ("camelyon17", "celeba")},
}  # fmt: skip
NETWORKS = {"randar": RandAR, "llamagen": LlamaGenGPT, "diffusion": DiT, "classifier": ViT}
BENCHES = {
    "imagenet": "in-val",
    "camelyon17": "camelyon17-id",
    "celeba": "celeba",
    "fmow": "fmow-id",
}
DEPTH = {"randar": "n_layer", "llamagen": "n_layer", "diffusion": "depth", "classifier": "depth"}
WIDTH = {
    "randar": ("dim", "n_head"),
    "llamagen": ("dim", "n_head"),
    "diffusion": ("hidden_size", "num_heads"),
    "classifier": ("embed_dim", "num_heads"),
}
TRUE_WIDTH = ("randar-l", "llamagen-b", "dit-l", "erm-l-celeba")

# Narrow encoders that shrink as the published ones do.
ENCODERS = {
    "llamagen-vq16": """
task = "tokenizer"
[options]
family = "llamagen"
[model]
codebook_size = 16384
ch = 32
ch_mult = [1, 1, 1, 1, 1]
num_res_blocks = 1
z_channels = 32
""",
    "maskgit-vq16": """
task = "tokenizer"
[options]
family = "maskgit"
[model]
codebook_size = 1024
ch = 32
ch_mult = [1, 1, 1, 1, 1]
num_res_blocks = 1
z_channels = 32
""",
    "sd-vae-ema": """
task = "vae"
[model]
block_out_channels = [32, 32, 32, 32]
layers_per_block = 1
""",
}
SCHEDULE = "steps = 1\nbatch_size = 1\n"
BACKBONE = {"img_size": 28, "patch_size": 14, "embed_dim": 32, "depth": 4, "num_heads": 2}


def shipped():
    return {path.stem for path in resource("baselines/recipes").glob("*.toml")}


def test_every_full_size_recipe_is_known_here():
    assert {name for name in shipped() if not name.startswith("mini-")} == set(EVALUATED)


def method_of(registry, name):
    method, _, variant = EVALUATED[name].partition(":")
    cls = registry.method(method)
    return cls(cls.variant_named(variant), Runtime())


@pytest.mark.parametrize("name", [n for n in EVALUATED if not n.startswith("dinov2")])
def test_run_loads_the_network_that_the_recipe_trains(registry, name):
    recipe, method = read_recipe(name), method_of(registry, name)
    network = NETWORKS[recipe.task]
    with torch.device("meta"):
        trained = recipe.network(network)
        loaded = network(**method.config("model"))
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (trained, loaded)]
    assert shapes[0] == shapes[1]
    assert recipe.options["image_size"] == method.variant.image_size
    if recipe.task == "diffusion":
        assert recipe.options["latent_scale"] == method.latent_scale
    role = {"randar": "tokenizer", "llamagen": "tokenizer", "diffusion": "autoencoder"}
    if recipe.task in role:
        from gcbench.checkpoint import published

        encoder = method.variant.checkpoints[role[recipe.task]]
        assert published(recipe.options[role[recipe.task]]) == encoder


@pytest.mark.parametrize("name", [n for n in EVALUATED if n.startswith("dinov2")])
def test_probe_is_learned_on_the_backbone_and_crop_of_its_variant(registry, name):
    recipe, method = read_recipe(name), method_of(registry, name)
    with torch.device("meta"):
        trained = DINOv2(**recipe.options["network"])
        loaded = DINOv2(**method.config("model"))
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (trained, loaded)]
    assert shapes[0] == shapes[1]
    assert recipe.options["image_size"] == method.variant.image_size
    assert recipe.options["image_size"] * 8 // 7 == method.config("image")["resize"]


# Training and running


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two classes of every set, a few images in every part."""
    root = tmp_path_factory.mktemp("sets")
    wnids = trees.class_list("imagenet")
    trees.write_classes(root / "imagenet/train", wnids, ["a.JPEG", "b.JPEG", "c.JPEG"], wnids[:2])
    val = ["ILSVRC2012_val_00000003.JPEG"]
    trees.write_classes(root / "imagenet/val", wnids, val, wnids[:2])
    with pytest.MonkeyPatch.context() as patch:
        patient = ("004", 4)
        patch.setattr(trees, "CAMELYON17_ROWS", tuple(
            (*patient, 10 * split + label, 7, label, 0, 0, split)
            for split in (0, 1) for label in (0, 1)
        ))  # fmt: skip
        patch.setattr(trees, "CELEBA_ROWS", tuple(
            (f"{4 * part + 2 * (blond > 0) + (male > 0):06d}.jpg", blond, male, part)
            for part in (0, 1, 2) for blond in (-1, 1) for male in (-1, 1)
        ))  # fmt: skip
        patch.setattr(trees, "FMOW_ROWS", tuple(
            (split, "2010-05-01T10:00:00Z", "USA", category)
            for split in ("train", "val", "test") for category in ("airport", "airport_hangar")
        ))  # fmt: skip
        for write_set in (trees.write_camelyon17, trees.write_celeba, trees.write_fmow):
            write_set(root)
    return root


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Recipes and random weights of the narrow encoders, a path by the published name."""
    folder = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    found = {}
    for name, text in ENCODERS.items():
        path = folder / f"narrow-{name}.toml"
        path.write_text(SCHEDULE + text + "[optimizer]\nlearning_rate = 1e-3\n")
        recipe = read_recipe(str(path))
        network = recipe.network(VAE) if recipe.task == "vae" else tokenizer_of(recipe)
        save_file(network.state_dict(), path.with_suffix(".safetensors"))
        found[name] = (path, dict(recipe.model))
    return found


@pytest.fixture
def train(data, encoders, tmp_path, monkeypatch):
    """Trains a shallow version of a recipe; its card, and what a run has to be given."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    out.mkdir()

    def call(name):
        recipe = read_recipe(name)
        options = dict(recipe.options)
        model, given, config = dict(recipe.model), {}, {}
        if recipe.task == "probe":
            backbone = DINOv2(**BACKBONE)
            # As `gcbench fetch` keeps it: at an address, or brought by hand.
            kept = {"dinov2-l14": "dinov2_vitl14_pretrain.pth", "dinov2": "dinov2.pth"}
            given["model"] = tmp_path / "cache/checkpoints" / kept[options["backbone"]]
            given["model"].parent.mkdir(parents=True)
            torch.save(backbone.state_dict(), given["model"])
            options |= {"network": BACKBONE, "image_size": 28}
            model = {"classes": 2}
            config = {"model": BACKBONE}
        else:
            model |= {DEPTH[recipe.task]: 1, "num_classes": 2}
            if name not in TRUE_WIDTH:
                model |= {key: model[key] // 4 for key in WIDTH[recipe.task]}
            config = {"model": {k: v for k, v in model.items() if k != "dropout"}}
        for role in {"tokenizer", "autoencoder"} & set(options):
            path, config[role] = encoders[options[role]]
            given[role] = out / f"{path.stem}.safetensors"
            given[role].hardlink_to(path.with_suffix(".safetensors"))
            options[role] = str(path)
        for key, fewer in (("views", 2), ("evaluated_images", 1), ("evaluated_steps", 10)):
            if key in options:
                options[key] = fewer
        shallow = checked(replace(
            recipe, steps=2, batch_size=1, accumulate=1, evaluate_every=2, held_out=2,
            compile=False, model=model, options=options,
        ))  # fmt: skip
        role = "probe" if recipe.task == "probe" else "model"
        given[role] = run(shallow, data, out, tmp_path / "work")
        card = json.loads(given[role].with_suffix(".json").read_text())
        if recipe.task == "probe":
            config["probe"] = {"blocks": 1, "average": True, "classes": 2}
        return card, given, config

    yield call
    shutil.rmtree(out)
    shutil.rmtree(tmp_path / "work")


PLUGIN = """
from dataclasses import replace
from gcbench.registry import Registry

Whole = Registry().method({method!r})
variant = Whole.variant_named({variant!r})

class Shallow(Whole):
    name = "shallow"
    variants = (replace(
        variant,
        config={{**variant.config, **{config!r}}},
        image_size={size!r} or variant.image_size,
    ),)
"""


@pytest.mark.parametrize("name", EVALUATED)
def test_recipe_makes_two_steps_and_a_run_reads_its_checkpoint(
    gcbench, data, train, tmp_path, name
):
    card, given, config = train(name)
    assert card["final"]["step"] == 2
    assert 0 < card["final"]["loss"] < float("inf")
    method, _, variant = EVALUATED[name].partition(":")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    size = 28 if method == "dinov2" else None
    content = PLUGIN.format(method=method, variant=variant, config=config, size=size)
    (plugins / "shallow.py").write_text(content)
    checkpoints = [w for r, f in given.items() for w in ("--checkpoint", f"{r}={f}")]
    trials = () if method in ("erm", "rwy", "stitching", "dinov2") else ("--trials", 1)
    result = gcbench(
        *("--plugins", plugins, "run", "--method", "shallow", *trials, *checkpoints),
        *("--bench", BENCHES[read_recipe(name).data], "--limit-per-class", 1),
        *("--data-root", data, "--results", tmp_path / "results"),
    )
    assert result.exit_code == 0, result.output
    (finished,) = Store(tmp_path / "results").runs()
    assert finished.scores().values.shape[2] == 2
