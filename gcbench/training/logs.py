"""What a training tells while it runs: a bar, a line and a row of the curve per evaluation."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gcbench.errors import GcbenchError
from gcbench.training.recipe import Recipe
from gcbench.training.saving import Progressed, replacing


class Log:
    """The curve of one training, on the screen, in a CSV file and for TensorBoard.

    Args:
        recipe: what is trained.
        out: folder of the curve ``NAME.curve.csv``.
        console: silent in every process but the main one.
        board: folder of TensorBoard's events; None for none.

    Raises:
        GcbenchError: TensorBoard is asked for and not installed.
    """

    def __init__(self, recipe: Recipe, out: Path, console: Console, board: Path | None) -> None:
        self.recipe, self.console = recipe, console
        self.file, self.board = out / f"{recipe.name}.curve.csv", board
        self._writer: Any = None

    @contextmanager
    def running(self, state: Progressed) -> Iterator[Callable[[float], None]]:
        """Shows a bar with the time left; gives what moves it by one step, given its loss."""
        columns = (
            TextColumn(self.recipe.name),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
        )
        if self.board is not None and not self.console.quiet:
            self._writer = _tensorboard(self.board, state.step)
        with Progress(*columns, console=self.console) as bar:
            handle = bar.add_task("", total=self.recipe.steps, completed=state.step, loss=0.0)
            try:
                yield lambda loss: bar.update(handle, advance=1, loss=loss)
            finally:
                if self._writer is not None:
                    self._writer.close()

    def evaluated(self, state: Progressed) -> None:
        """Write and show the newest row. Raises GcbenchError where it cannot be written."""
        row = state.curve[-1]
        write_curve(self.file, state.curve)
        if self._writer is not None:
            for key, value in row.items():
                if key != "step":
                    self._writer.add_scalar(key, value, state.step)
            self._writer.flush()
        left = state.seconds / state.step * (self.recipe.steps - state.step)
        self.console.print(
            "  ".join(f"{k} {v:.5g}" for k, v in row.items())
            + f"  {state.seconds:.0f} s, {timedelta(seconds=round(left))} left",
            soft_wrap=True,
        )


def write_curve(file: Path, curve: Sequence[Mapping[str, float]]) -> None:
    """Replace a CSV file by these rows. Raises GcbenchError where it cannot be written."""
    columns = list(dict.fromkeys(key for row in curve for key in row))
    with replacing(file) as partial, partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in curve)


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer that drops what an interrupted training wrote after ``step``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise GcbenchError(
            "logging for TensorBoard needs the package tensorboard",
            hint="pip install 'gcbench[tensorboard]'",
        ) from None
    return SummaryWriter(str(folder), purge_step=step + 1)
