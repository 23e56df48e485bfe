"""A small data root in the published format, and tiny recipes of every task."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

RECIPES = {
    "classifier": """
task = "classifier"
steps = 5
batch_size = 8
held_out = 16
evaluate_every = 2
precision = "fp32"
compile = false
[model]
width = 4
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
""",
    "tokenizer": """
task = "tokenizer"
steps = 6
batch_size = 4
held_out = 16
evaluate_every = 2
compile = false
[model]
codebook_size = 16
codebook_embed_dim = 4
ch = 32
ch_mult = [1, 1, 1]
num_res_blocks = 1
z_channels = 8
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
[options]
free_steps = 2
restart_every = 2
""",
    "randar": """
task = "randar"
steps = 5
batch_size = 8
held_out = 16
evaluate_every = 2
compile = false
[model]
dim = 16
n_layer = 2
n_head = 2
block_size = 64
vocab_size = 16
num_classes = 10
multiple_of = 16
[optimizer]
name = "muon"
learning_rate = 1e-3
matrix_learning_rate = 1e-3
warmup_steps = 2
[options]
tokenizer = "TOKENIZER"
views = 2
class_dropout = 0.2
evaluated_images = 16
evaluated_orders = 2
""",
    "multiscale": """
task = "multiscale"
steps = 6
batch_size = 4
held_out = 16
evaluate_every = 2
compile = false
[model]
patch_nums = [1, 2, 4, 8]
codebook_size = 16
z_channels = 4
ch = 32
ch_mult = [1, 1, 1]
num_res_blocks = 1
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
[options]
free_steps = 2
restart_every = 2
""",
    "var": """
task = "var"
steps = 5
batch_size = 8
held_out = 16
evaluate_every = 2
compile = false
[model]
depth = 2
embed_dim = 16
num_heads = 2
patch_nums = [1, 2, 4, 8]
vocab_size = 16
code_dim = 4
num_classes = 10
[optimizer]
name = "muon"
learning_rate = 1e-3
matrix_learning_rate = 1e-3
warmup_steps = 2
[options]
tokenizer = "MULTISCALE"
views = 2
class_dropout = 0.2
evaluated_images = 12
""",
    "vae": """
task = "vae"
steps = 5
batch_size = 4
held_out = 16
evaluate_every = 2
compile = false
[model]
block_out_channels = [8, 8, 8]
layers_per_block = 1
latent_channels = 4
norm_num_groups = 4
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
""",
    "diffusion": """
task = "diffusion"
steps = 5
batch_size = 8
held_out = 16
evaluate_every = 2
compile = false
[model]
input_size = 8
hidden_size = 16
depth = 2
num_heads = 2
num_classes = 10
learn_sigma = false
[optimizer]
name = "muon"
learning_rate = 1e-3
matrix_learning_rate = 1e-3
warmup_steps = 2
[options]
family = "dit"
autoencoder = "VAE"
views = 2
class_dropout = 0.2
evaluated_images = 4
evaluated_steps = 10
""",
    # Every key that decides how steps and weights come about.
    "dino": """
task = "dino"
steps = 4
batch_size = 8
held_out = 16
evaluate_every = 2
precision = "fp32"
weights = "fp32"
compile = false
accumulate = 4
ema = 0.5
select = "accuracy"
[model]
img_size = 32
patch_size = 8
embed_dim = 16
depth = 2
num_heads = 2
[optimizer]
learning_rate = 1e-3
warmup_steps = 2
[options]
local_crops = 1
hidden = 16
bottleneck = 8
prototypes = 12
gallery = 20
evaluated_images = 16
""",
}


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """80 images of ten kinds: a bright bar whose place is the class, with noise."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "fashion-mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 10
    images = rng.integers(0, 60, (80, 28, 28))
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 2 : 2 * label + 6] = 220
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return root


@pytest.fixture
def recipe_file(tmp_path) -> Callable[..., Path]:
    """Writes the tiny recipe of a task, with lines replaced by ``{old: new}``."""

    def write(task: str, replace: dict[str, str] | None = None, name: str | None = None) -> Path:
        text = RECIPES[task].replace("TOKENIZER", str(tmp_path / "tokenizer.toml"))
        text = text.replace("VAE", str(tmp_path / "vae.toml"))
        text = text.replace("MULTISCALE", str(tmp_path / "multiscale.toml"))
        for old, new in (replace or {}).items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"{name or task}.toml"
        path.write_text(text)
        return path

    return write
