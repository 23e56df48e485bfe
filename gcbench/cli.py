"""The command line: verbs only. Each verb gathers its arguments and calls the module it names."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import click

from gcbench import __version__
from gcbench.cli_results import COMMANDS, default_results
from gcbench.engine.interrupt import Interrupted
from gcbench.errors import GcbenchError
from gcbench.options import (
    PREPROCESSING,
    noise_levels,
    positive_or_auto,
    results_option,
    run_options,
    split,
    split_one,
)

ARGUMENTS = "gcbench.arguments"  # where a context keeps the words of the command line


class Cli(click.Group):
    """Shows a GcbenchError as one line and a hint; an interrupt says how to go on."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GcbenchError as error:
            if isinstance(error, Interrupted):
                _say_how_to_resume(ctx, error.message)
                ctx.exit(error.exit_code)
            click.secho(f"error: {error.message}", fg="red", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _say_how_to_resume(ctx, "\ninterrupted at once; the shard at hand is lost")
            ctx.exit(130)


def _say_how_to_resume(ctx: click.Context, what: str) -> None:
    arguments = ctx.meta.get(ARGUMENTS)
    again = "the same command" if arguments is None else shlex.join(["gcbench", *arguments])
    click.echo(f"{what}\nresume with: {again}", err=True)


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gcbench")
@click.option(
    "--plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with further methods and benchmarks (one per file).",
)
@click.pass_context
def main(ctx: click.Context, plugins: tuple[Path, ...]) -> None:
    """How good is a generative image classifier, on which shift, and at what cost?"""
    ctx.obj = plugins


def _registry() -> Any:
    from gcbench.registry import Registry

    return Registry(click.get_current_context().obj or ())


@main.command("list")
@click.option("--checkpoints", is_flag=True, help="The published weights that fetch can bring.")
def list_(checkpoints: bool) -> None:
    """Methods, their variants, and benchmarks."""
    if checkpoints:
        from gcbench.checkpoint import catalogue

        for name, card in catalogue().items():
            where = card.get("url") or card.get("by_hand") or f"{card['hub']}/{card['file']}"
            click.echo(f"{name:<24}  {where}  [{card['licence']}]")
        return
    registry = _registry()
    width = max(len(n) for n in [*registry.methods, *registry.benchmark_names])
    click.echo("methods")
    for name, method in sorted(registry.methods.items()):
        variants = ", ".join(v.name for v in method.variants) or "by name"
        click.echo(f"  {name:<{width}}  {method.summary} [{variants}]")
    click.echo("benchmarks")
    for family in registry.families:
        for name, note in family.names.items():
            click.echo(f"  {name:<{width}}  {note}")


def _plugin_words(ctx: click.Context) -> list[str]:
    return [word for folder in ctx.obj or () for word in ("--plugins", str(folder))]


class RunCommand(click.Command):
    """Remembers its words, for worker processes and for the line that resumes it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = [*_plugin_words(ctx), self.name, *args]
        return super().parse_args(ctx, args)


@main.command(cls=RunCommand)
@run_options
@click.option(
    "--strategy",
    default="exhaustive",
    show_default=True,
    help="or race, propose+race, prefix+race, adaptive-li2023, staged: fewer evaluations.",
)
@click.option("--delta", type=float, help="Chance that a race gives another answer.  [0.001]")
@click.option("--keep", type=int, help="Classes that go from the proposal into the race.")
@click.option("--prefix", type=float, help="Share of a sequence that prefix+race ranks by.  [0.5]")
@click.option(
    "--stages",
    help="Of adaptive-li2023, as 2:5,20:1 (TRIALS:CLASSES); of staged, as 10:1:6,1:1:10 "
    "(CLASSES:TRIALS:SCALES) or a name that the method has for them.",
)
@click.option("--audit", type=float, help="Share of the images to score exhaustively too.")
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Score benchmarks with methods; finished work is kept and never done twice."""
    _run(ctx, options)


@main.command(cls=RunCommand)
@run_options
@click.pass_context
def analyze(ctx: click.Context, /, **options: Any) -> None:
    """Score token by token, and keep what the tokens say: figures 3, 4, 5, 8 and 9."""
    _run(ctx, {**options, "analysis": True})


def _run(ctx: click.Context, options: dict[str, Any]) -> None:
    from gcbench.executors import Sharing
    from gcbench.session import run_session

    sharing = Sharing(
        part=options.pop("part"),
        devices=options.pop("devices") or None,
        kind=options.pop("executor"),
        address=options.pop("address"),
        worker=options.pop("worker"),
        command=[sys.executable, "-m", "gcbench.cli", *ctx.meta[ARGUMENTS]],
    )
    given = {name: options.pop(name) for name in PREPROCESSING}
    preprocessing = {name: value for name, value in given.items() if value is not None}
    sys.exit(run_session(_registry(), sharing=sharing, preprocessing=preprocessing, **options))


@main.command()
@click.option("--slurm", is_flag=True, required=True, help="The scheduler, through submitit.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Parts.")
@click.option("--nodes", type=click.IntRange(min=1), default=1, help="That share a training.  [1]")
@click.option("--at-once", "array_parallelism", type=click.IntRange(min=1), help="Jobs at a time.")
@click.option("--time", type=click.IntRange(min=1), default=60, show_default=True, help="Minutes.")
@click.option("--partition")
@click.option("--account")
@click.option("--qos")
@click.option("--constraint")
@click.option("--gpus", "gpus_per_node", type=int, help="GPUs of a job.")
@click.option("--cpus", "cpus_per_task", type=int, help="Cores of a job.")
@click.option("--mem", help="Memory of a job, as 64G.")
@click.option("--setup", multiple=True, help="A line of shell before the run, as 'module load x'.")
@click.option("--logs", type=click.Path(path_type=Path), default=Path("slurm"), show_default=True)
@click.option("--dry-run", is_flag=True, help="Print the sbatch script and stop.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    slurm: bool,
    jobs: int,
    nodes: int,
    logs: Path,
    dry_run: bool,
    setup: tuple[str, ...],
    arguments: tuple[str, ...],
    **options: Any,
) -> None:
    """Submit a run in parts, or a training.

    gcbench submit --slurm --jobs 8 -- run --method ... --bench ...

    gcbench submit --slurm --nodes 2 --gpus 8 -- train RECIPE ...
    """
    from gcbench.submit import submit as submit_parts

    # A mistake in the command's own options shows now and not in every job.
    for command in (run, train):
        if arguments[:1] == (command.name,):
            command.make_context(command.name, list(arguments[1:]), parent=ctx)
    told = submit_parts(
        [*_plugin_words(ctx), *arguments],
        jobs=jobs,
        nodes=nodes,
        folder=logs,
        dry_run=dry_run,
        options={**options, "setup": list(setup) or None},
    )
    click.echo(told)


@main.command()
@click.option("--suite", default="mini", show_default=True, help="mini or imagenet.")
@click.option(
    "--temperature",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Fit a temperature on this share of the images, report on the others.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of that choice.")
@click.option("--out", type=click.Path(path_type=Path), help="A CSV file, in full precision.")
@click.option("--results", multiple=True, type=click.Path(path_type=Path, exists=True))
def calibration(
    suite: str, temperature: float | None, seed: int, out: Path | None, results: tuple[Path, ...]
) -> None:
    """NLL and expected calibration error of every stored run, from its scores."""
    from gcbench.report.reliability import calibration_table
    from gcbench.store import Store, atomic_path

    folders = list(results or default_results(suite))
    runs = [run for folder in folders for run in Store(folder).runs()]
    table = calibration_table(runs, temperature, seed)
    if out is not None:
        with atomic_path(out) as temporary:
            table.to_csv(temporary, index=False)
        click.echo(f"wrote {out}")
    else:
        click.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


@main.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--unknown",
    type=click.Choice(["fail", "list"]),
    default="fail",
    show_default=True,
    help="What to do with fixtures of a kind that has no check yet.",
)
def parity(folders: tuple[Path, ...], unknown: str) -> None:
    """Compare the networks and rules with official numbers (exit 1 when one differs)."""
    from gcbench.parity import run_parity

    sys.exit(run_parity(folders, unknown=unknown, echo=click.echo))


@main.command(cls=RunCommand)
@click.argument("name")
@click.option("--data-root", type=click.Path(path_type=Path), envvar="GCBENCH_DATA")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the trained weights.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder of resumable checkpoints.")
@click.option("--seed", type=int, help="Instead of the recipe's; the weights are NAME-seedN.")
@click.option(
    "--accumulate",
    type=click.IntRange(min=1),
    help="Micro-batches of a step, which processes share, instead of the recipe's.",
)
@click.option(
    "--features", type=click.Path(path_type=Path), help="What gcbench extract wrote; no image read."
)
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard beside the work.")
@click.option("--dry-run", is_flag=True, help="Say what it takes, from steps measured here.")
def train(name: str, dry_run: bool, **options: Any) -> None:
    """Train a recipe; run the same command again to resume.

    torchrun or `accelerate launch` starts it in several processes, see docs/training.md.
    """
    from gcbench import training

    if dry_run:
        given = {key: options[key] for key in ("data_root", "seed", "accumulate")}
        click.echo("\n".join(training.dry_run(name, **given)))
        return
    try:
        training.train(name, **options)
    except KeyboardInterrupt:
        raise Interrupted(
            "\ninterrupted at once; the steps since the last checkpoint are lost", signal.SIGINT
        ) from None
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Threads of torch's process group may outlive the interpreter, whose end they then abort.
        sys.stdout.flush()
        os._exit(0)


@main.command(cls=RunCommand)
@click.argument("name")
@click.option("--data-root", type=click.Path(path_type=Path), envvar="GCBENCH_DATA")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the trained weights.")
@click.option("--features", type=click.Path(path_type=Path), help="Folder to fill.")
@click.option("--seed", type=int, help="Instead of the recipe's.")
def extract(name: str, **options: Any) -> None:
    """Encode the images of a recipe once, for gcbench train RECIPE --features DIR.

    Run the same command again to resume, and as often at a time as there are GPUs: each takes
    shards that no other is at.
    """
    from gcbench import training

    click.echo(str(training.extract(name, **options, echo=click.echo)))


@main.command()
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Folder that has it.")
@click.option("--data-root", type=click.Path(path_type=Path), envvar="GCBENCH_DATA")
@click.option("--file", help="Which file of a repository that holds several.")
def fetch(name: str, source: Path | None, data_root: Path | None, file: str | None) -> None:
    """Bring a data set, or the published weights of METHOD or METHOD:VARIANT.

    This is the only command that uses the network.
    """
    from gcbench.fetch import fetch as fetch_by_name

    fetch_by_name(_registry(), name, source=source, data_root=data_root, file=file, echo=click.echo)


@main.command()
@click.option("--method", required=True)
@click.option("--variant", help="Size or training; the first by default. Short: METHOD:VARIANT.")
@click.option("--random-weights", is_flag=True, help="Time a network without its checkpoint.")
@click.option("--set", "changes", multiple=True, help="[ROLE.]KEY=VALUE: another shape.")
@click.option("--classes", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--trials", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--precision", default="fp32,bf16", show_default=True, callback=split_one)
@click.option("--device", default="auto", show_default=True)
@click.option("--batch-size", default="auto", show_default=True, callback=positive_or_auto)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print all that was measured as JSON.")
def speed(**options: Any) -> None:
    """Seconds per image, FLOPs and share of the machine's peak, fast paths on and off."""
    from gcbench.session import speed_session

    speed_session(_registry(), echo=click.echo, **options)


@main.command()
@click.option("--tokenizer", "tokenizers", multiple=True, required=True, callback=split)
@click.option(
    "--bench", "benches", multiple=True, required=True, callback=split, help="or suite:NAME"
)
@click.option(
    "--t",
    "levels",
    default="0,0.01,0.02,0.05,0.1,0.15,0.2,0.3",
    show_default=True,
    callback=noise_levels,
    help="Levels of noise: latents z become (1 - t) z + t eps.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--limit-per-class", type=int, help="Only the first N samples of each class.")
@click.option("--subset", help="full, official-2k, first-N or random-N[@SEED] per class.")
@click.option("--device", default="auto", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), envvar="GCBENCH_DATA")
@results_option
def tokenizer(**options: Any) -> None:
    """Flipped tokens and reconstruction quality of tokenizers under latent noise (Table 3)."""
    from gcbench.session import tokenizer_session

    tokenizer_session(_registry(), echo=click.echo, **options)


@main.command()
@click.option("--data-root", type=click.Path(path_type=Path), envvar="GCBENCH_DATA")
def data(data_root: Path | None) -> None:
    """Which benchmarks' data are on this machine: found, incomplete or missing, and where."""
    from rich.console import Console

    from gcbench.data_status import data_status, show_status

    show_status(data_status(_registry(), data_root), Console())


for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main()
