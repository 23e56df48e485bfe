"""What options of the command line hold: groups of options, and how their words become values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gcbench.errors import GcbenchError

PREPROCESSING = ("mean", "std", "size", "interpolation", "crop", "posterior", "timesteps")
DEFAULT_RESULTS = Path("results/local")


def split(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str]:
    """The words of an option that may be repeated or hold a list with commas."""
    return [part for item in value for part in item.split(",") if part]


def split_one(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    """The words of an option that holds a list with commas."""
    return split(ctx, param, (value,))


def positive_or_auto(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    """A number from 1; None for `auto`."""
    if value == "auto":
        return None
    if not value.isdigit() or int(value) < 1:
        raise GcbenchError(
            f"--batch-size {value}: expected a positive number or 'auto'",
            hint="auto chooses by device and halves when memory runs out",
        )
    return int(value)


def checkpoint_files(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> dict[str, Path]:
    """`[ROLE=]FILE`, as file by role; the role is `model` where there is none."""
    files = {}
    for item in value:
        role, separator, path = item.partition("=")
        files[role if separator else "model"] = Path(path if separator else item)
    return files


def preprocessing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that replace a method's own settings, where it has such."""
    options = (
        click.option("--mean", callback=three_numbers, help="Channel means, as 0.5,0.5,0.5."),
        click.option("--std", callback=three_numbers, help="Channel deviations."),
        click.option("--size", type=click.IntRange(min=1), help="Input side in pixels."),
        click.option("--interpolation", type=click.Choice(["bilinear", "bicubic", "lanczos"])),
        click.option(
            "--crop",
            type=click.Choice(["centre", "random"]),
            help="random: the published random crop, drawn anew for every trial.",
        ),
        click.option(
            "--posterior",
            type=click.Choice(["mean", "sample"]),
            help="An image's latent: the posterior's mean, or one draw.",
        ),
        click.option(
            "--timesteps",
            type=click.IntRange(min=1),
            help="Timesteps that the trials go through, several times with fresh noise.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def three_numbers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Three numbers with commas between; None where the option was left out."""
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3:
        raise GcbenchError(
            f"--{param.name} {value}: expected three numbers", hint="for example 0.485,0.456,0.406"
        )
    return numbers


def results_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option --results."""
    return click.option(
        "--results",
        type=click.Path(path_type=Path),
        default=DEFAULT_RESULTS,
        show_default=True,
        help="Results folder.",
    )(function)


def part_of_run(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """`i/n`, with i from 1 to n."""
    index, slash, count = value.partition("/")
    if slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count):
        return int(index), int(count)
    raise GcbenchError(
        f"--shard {value}: expected i/n with i from 1 to n", hint="for example --shard 3/8"
    )
