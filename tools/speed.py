"""The tables of docs/speed.md, from what `gcbench speed --json` printed.

python -m tools.speed            prints them
python -m tools.speed --update   writes them into docs/speed.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tools.racing import with_table

ROOT = Path(__file__).parents[1]
PAGE, MEASURED = ROOT / "docs" / "speed.md", ROOT / "results" / "speed"
HEADINGS = (
    "path",
    "s / image",
    "evaluations / s",
    "GFLOP/s",
    "of peak",
    "speed-up",
    "relative error",
    "centred error, nats",
    "same argmax",
)


@click.command()
@click.option("--update", is_flag=True, help="Write the tables into docs/speed.md.")
def main(update: bool) -> None:
    """Print or write the tables of measured speeds."""
    text = measured_tables()
    if update:
        PAGE.write_text(with_table(PAGE.read_text(), text))
    else:
        click.echo(text, nl=False)


def measured_tables() -> str:
    """A heading, the conditions and a Markdown table per file, by name."""
    files = sorted(MEASURED.glob("*.json"))
    return "\n".join(section(file.stem, json.loads(file.read_text())) for file in files)


def section(name: str, found: dict[str, Any]) -> str:
    """One measurement."""
    where, model = found["provenance"], found["config"]["model"]
    shape = ", ".join(f"{k} {model[k]}" for k in ("dim", "n_layer", "vocab_size") if k in model)
    weights = "random weights" if found["random_weights"] else "trained weights"
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row(t) for t in found["timings"])]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return (
        f"### {name}: {found['method']} {found['variant']}\n\n"
        f"{shape or 'vocabulary and width of the variant'}; {weights}; {found['classes']} classes, "
        f"{found['trials']} trials, batch {found['batch_size']}, median of {found['rounds']} "
        f"rounds. {where['device']}, {where['threads']} threads, torch {where['torch']}. Encoding "
        f"{found['encode_seconds']:.3f} s / image, peak memory of the process "
        f"{found['peak_memory_mb']:,} MB.\n\n{table}"
    )


def row(timing: dict[str, Any]) -> tuple[str, ...]:
    """One rung."""
    share = timing["share_of_peak"]
    return (
        timing["rung"],
        f"{timing['seconds_per_image']:.3f}",
        f"{timing['evaluations_per_second']:,.1f}",
        "?" if share is None else f"{timing['gflops']:.0f} of {timing['peak_gflops']:.0f}",
        "?" if share is None else f"{share:.0%}",
        f"{timing['ratio']:.2f}x",
        f"{timing['relative_error']:.1e}",
        f"{timing['centred_error']:.1e}",
        "yes" if timing["same_argmax"] else "no",
    )


if __name__ == "__main__":
    main()
