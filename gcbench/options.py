"""What options of the command line hold: groups of options, and how their words become values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gcbench.errors import GcbenchError

PREPROCESSING = (
    *("mean", "std", "size", "interpolation"),
    *("crop", "latent_noise", "posterior", "timesteps"),
)
DEFAULT_RESULTS = Path("results/local")


def split(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str]:
    """The words of an option that may be repeated or hold a list with commas."""
    return [part for item in value for part in item.split(",") if part]


def split_one(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    """The words of an option that holds a list with commas."""
    return split(ctx, param, (value,))


def noise_levels(ctx: click.Context, param: click.Parameter, value: str) -> list[float]:
    """Numbers from 0 to 1 with commas between."""
    try:
        levels = [float(part) for part in value.split(",")]
    except ValueError:
        levels = []
    if not levels or not all(0 <= t <= 1 for t in levels):
        raise GcbenchError(
            f"--t {value}: expected numbers from 0 to 1", hint="for example --t 0,0.1,0.2,0.4"
        )
    return levels


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
            "--latent-noise",
            type=click.FloatRange(0, 1),
            help="t: latents become (1 - t) z + t noise before they are quantised, anew per trial.",
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


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `run` and `analyze` have in common."""
    options = (
        click.option("--method", "methods", multiple=True, required=True, callback=split),
        click.option(
            "--bench", "benches", multiple=True, required=True, callback=split, help="or suite:NAME"
        ),
        click.option(
            "--variant", help="Size or training; the first by default. Short: METHOD:VARIANT."
        ),
        click.option("--trials", type=int, help="K: token orders (or other trials) per image."),
        click.option("--rule", help="How trials combine in the progress and summary lines."),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--limit-per-class", type=int, help="Only the first N samples of each class."),
        click.option("--subset", help="full, official-2k, first-N or random-N[@SEED] per class."),
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ..."
        ),
        click.option(
            "--precision", default="fp32", show_default=True, help="fp32, tf32 (GPU) or bf16."
        ),
        click.option(
            "--path",
            default="auto",
            show_default=True,
            help="reference, fast or compiled: same scores up to rounding, other speed.",
        ),
        click.option("--protocol", default="independent", show_default=True, help="or published."),
        click.option("--batch-size", default="auto", show_default=True, callback=positive_or_auto),
        click.option(
            "--checkpoint",
            "checkpoints",
            multiple=True,
            callback=checkpoint_files,
            help="[ROLE=]FILE",
        ),
        click.option("--data-root", type=click.Path(path_type=Path), envvar="GCBENCH_DATA"),
        preprocessing_options,
        results_option,
        click.option("--rerun", type=click.Choice(["missing", "failed", "all"]), default="missing"),
        click.option(
            "--devices", help="One process on each: N, or cuda:0,cuda:1 or cpu:0-1,cpu:2-3."
        ),
        click.option("--executor", type=click.Choice(["local", "ray"]), default="local"),
        click.option("--address", help="Of the Ray cluster; without it one is started here."),
        click.option(
            "--shard", "part", default="1/1", callback=part_of_run, help="Only part i of n, as 3/8."
        ),
        click.option("--worker", type=int, hidden=True),
        click.option("--dry-run", is_flag=True, help="Show what would be computed and stop."),
    )
    for option in reversed(options):
        function = option(function)
    return function
