"""Runs made up of hits and misses, and how tests of tables look at what is built from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gcbench.report.cells import Cell, Table
from gcbench.report.tables import build_table
from gcbench.store import Run, Shard, Store

K = 20


def record(
    store: Store,
    method: str,
    benchmark: str,
    hits: Sequence[bool] | np.ndarray,
    *,
    scored: int | None = None,
    **spec: Any,
) -> Run:
    """Stores a run that classifies image i correctly, in every trial, exactly where `hits[i]`.

    `scored`: only so many images are there and the run is unfinished.
    """
    count, trials = len(hits), spec.get("trials", 1 if method == "randar-raster" else K)
    ids = [f"{benchmark}/{i:04d}" for i in range(count)]
    labels = [1] * count
    what = {
        "method": method,
        "variant": "mini",
        "weights": {"model": "a" * 64},
        "scoring_version": 1,
        "benchmark": benchmark,
        "benchmark_digest": "b" * 64,
        "subset": "full",
        "label_space": "fashion-10",
        "classes": [0, 1, 2],
        "preprocessing": "none",
        "precision": "fp32",
        "protocol": "independent",
        "trials": trials,
        "seed": 0,
        "strategy": "exhaustive",
        "suite": "mini",
        "sample_ids": ids,
        "labels": labels,
        **spec,
    }
    name = ".".join(str(what[k]) for k in ("method", "benchmark", "subset", "precision", "seed"))
    run = store.run(f"{name}.{trials}")
    run.begin(what)
    values = np.zeros((count, trials, 3), np.float32)
    values[:, :, 1] = np.where(np.asarray(hits, bool), 1.0, -1.0)[:, None]
    kept = count if scored is None else scored
    run.write_shard(Shard(0, tuple(ids[:kept]), tuple(labels[:kept]), values[:kept], 1.0, {}))
    if scored is None:
        run.finish({"provenance": {"commit": "0123abc", "dirty": False}})
    return run


def hits(correct: int, total: int) -> np.ndarray:
    return np.arange(total) < correct


def measured(store: Store, number: int = 1, source: str = "measured") -> Table:
    return build_table(number, suite="mini", source=source, runs=store.runs())


def cell(table: Table, row: tuple[str, ...], column: str) -> Cell:
    at = [c.label for c in table.columns].index(column)
    return next(r.cells[at] for r in table.rows if r.entries == row)


def notes(table: Table, of: Cell) -> list[str]:
    return [n.text for n in table.footnotes if n.symbol in of.footnotes]


def general(table: Table) -> str:
    return "\n".join(n.text for n in table.footnotes if not n.symbol)
