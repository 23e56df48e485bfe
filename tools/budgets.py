"""The table of sizes and training budgets in baselines/weights/README.md.

python -m tools.budgets            prints it
python -m tools.budgets --update   writes it into the page
"""

from __future__ import annotations

from pathlib import Path

import click

from gcbench.checkpoint import Shipped
from gcbench.method import Method, Runtime
from gcbench.registry import Registry
from tools.racing import with_table

PAGE = Path(__file__).parents[1] / "baselines" / "weights" / "README.md"
HEADINGS = (
    "classifier",
    "parameters",
    "with its frozen networks",
    "images seen in training",
    "MFLOP per evaluation",
    "product, TFLOP",
)


@click.command()
@click.option("--update", is_flag=True, help="Write the table into the page.")
def main(update: bool) -> None:
    """Print or write the table."""
    text = budgets()
    if update:
        PAGE.write_text(with_table(PAGE.read_text(), text))
    else:
        click.echo(text, nl=False)


def budgets() -> str:
    """A row for every classifier whose trained weights are here, by family and name."""
    registry = Registry()
    methods = [
        kind(variant, Runtime())
        for kind in registry.methods.values()
        for variant in kind.variants
        if isinstance(variant.checkpoints.get("model"), Shipped)
    ]
    methods.sort(key=lambda m: (m.family, m.name, m.variant.name))
    lines = [HEADINGS, ("---",) + ("---:",) * (len(HEADINGS) - 1), *map(row, methods)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def row(method: Method) -> tuple[str, ...]:
    """One classifier; `product` is what its training would cost were a step one evaluation."""
    cards = {role: c.card() for role, c in method.variant.checkpoints.items()}
    recipe = cards["model"]["recipe"]
    seen = recipe["steps"] * recipe["batch_size"]
    each = method.flops_per_evaluation() or 0.0
    return (
        f"`{method.name}:{method.variant.name}`",
        f"{cards['model']['parameters'] / 1e6:.2f} M",
        f"{sum(card['parameters'] for card in cards.values()) / 1e6:.2f} M",
        f"{seen:,}",
        f"{each / 1e6:.1f}",
        f"{seen * each / 1e12:.1f}",
    )


if __name__ == "__main__":
    main()
