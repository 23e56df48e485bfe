"""Training of the networks that no one publishes: recipes, one resumable loop, a task per kind.

``gcbench train NAME`` reads ``baselines/recipes/NAME.toml`` and writes the weights, their card and
the training curve. Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def dry_run(
    name_or_path: str,
    data_root: Path | None = None,
    *,
    seed: int | None = None,
    accumulate: int | None = None,
) -> list[str]:
    """Lines that say what :func:`train` would take, measured by a few steps on invented images.

    Raises:
        GcbenchError: an unknown or wrong recipe, or such as is not trained step by step.
    """
    import torch

    from gcbench.training.estimate import estimate
    from gcbench.training.recipe import adapted, read_recipe

    recipe = adapted(read_recipe(name_or_path), seed=seed, accumulate=accumulate)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return estimate(recipe, data_root or Path("data"), device)


def train(
    name_or_path: str,
    data_root: Path | None = None,
    out: Path | None = None,
    work: Path | None = None,
    *,
    seed: int | None = None,
    accumulate: int | None = None,
    tensorboard: bool = False,
    features: Path | None = None,
) -> Path:
    """Train a recipe to its end, or go on from where an earlier call was interrupted.

    Args:
        name_or_path: a recipe of ``baselines/recipes`` or the path of a TOML file.
        data_root: folder that holds ``fashion-mnist/`` (see ``gcbench fetch``); ``data`` if None.
        out: folder of the results, ``trained`` if None.
        work: folder of the resumable checkpoint, ``out/work`` if None.
        seed: replaces the recipe's, and the weights are named ``NAME-seedN``.
        accumulate: replaces the recipe's, see :class:`.recipe.Recipe`.
        tensorboard: write events for TensorBoard into ``work/NAME.tensorboard``.
        features: folder that :func:`extract` filled; no image is read then.

    Returns:
        Path of the weights ``NAME.safetensors``; ``NAME.json`` (the card) and ``NAME.curve.csv``
        lie beside it.

    Raises:
        GcbenchError: an unknown or wrong recipe, missing data, a checkpoint of another recipe, a
            loss that is not finite, a file that cannot be written.
    """
    from gcbench.training.loop import run
    from gcbench.training.recipe import adapted, read_recipe

    out = out or Path("trained")
    recipe = adapted(read_recipe(name_or_path), seed=seed, accumulate=accumulate)
    data_root, work = data_root or Path("data"), work or out / "work"
    return run(recipe, data_root, out, work, tensorboard, features)


def extract(
    name_or_path: str,
    data_root: Path | None = None,
    out: Path | None = None,
    features: Path | None = None,
    *,
    seed: int | None = None,
    echo: Callable[[str], None] = print,
) -> Path:
    """Encode all images of a recipe once, or what is missing of them, so that training reads none.

    Args:
        name_or_path, data_root, out, seed: as of :func:`train`.
        features: the folder to fill, ``out/work`` if None, where :func:`train` looks by itself.
        echo: told of every shard.

    Returns:
        The folder.

    Raises:
        GcbenchError: an unknown or wrong recipe or one that reads images in every step, missing
            data, a damaged image, a folder that cannot be written.
    """
    from gcbench.training.extraction import extract as extract_recipe
    from gcbench.training.recipe import adapted, read_recipe

    out = out or Path("trained")
    recipe = adapted(read_recipe(name_or_path), seed=seed)
    return extract_recipe(recipe, data_root or Path("data"), out, features or out / "work", echo)
