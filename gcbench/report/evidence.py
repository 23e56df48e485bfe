"""Which stored run stands behind a cell, and how the runs of one table differ in protocol."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gcbench.metrics import group_accuracy
from gcbench.report.cells import Position, Status
from gcbench.report.slots import Slot
from gcbench.stats import wilson_interval
from gcbench.store import Run, prediction_table

if TYPE_CHECKING:
    import pandas as pd

# What cells of one table should have in common, and among which cells. An empty scope is the whole
# table; methods differ in weights and preprocessing by nature, so those count per method.
_PROTOCOL: Mapping[str, tuple[str, ...]] = {
    "precision": (),
    "seed": (),
    "protocol": ("method",),
    "scoring_version": ("method",),
    "preprocessing": ("method",),
    "weights": ("method", "variant"),
    "benchmark_digest": ("benchmark",),
}


@dataclass(frozen=True)
class Evidence:
    """A cell's images, and whether each was classified correctly.

    Attributes:
        sample_ids: [N] in benchmark order.
        predicted: [N] predicted classes in the same order, indices into the label space.
        labels: [N] the true ones.
        total: how many samples the run's subset holds; more than N when the run is partial.
        group: where only the worst group of images counts, the values that name it.
        complete: no image is missing from which another group could be the worst.
        others: the same of other trainings, where the cell is the mean over several.
    """

    run: Run
    sample_ids: NDArray[np.str_]
    predicted: NDArray[np.int64]
    labels: NDArray[np.int64]
    total: int
    group: tuple[object, ...] = ()
    complete: bool = True
    others: tuple[Evidence, ...] = ()

    @property
    def trainings(self) -> tuple[Evidence, ...]:
        """What the cell is the mean of: itself, and the same of other trainings."""
        return (self, *self.others)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """[N] whether each image was classified correctly, by the first training."""
        return np.asarray(self.predicted == self.labels)

    def restricted(self, chosen: NDArray[np.bool_ | np.intp], total: int) -> Evidence:
        """The same run on some of the images; `total` of the run's samples are such.

        `chosen` are positions, or [N] whether each image is chosen.
        """
        return replace(
            self,
            sample_ids=self.sample_ids[chosen],
            predicted=self.predicted[chosen],
            labels=self.labels[chosen],
            total=total,
        )

    @property
    def count(self) -> int:
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        return float(np.mean([training.correct.mean() for training in self.trainings]))

    @property
    def interval(self) -> tuple[float, float]:
        """Of several trainings, that of one with their mean accuracy: images are drawn once."""
        return wilson_interval(round(self.accuracy * self.count), self.count)

    @property
    def subset(self) -> str:
        return str(self.run.spec["subset"])

    @property
    def status(self) -> Status:
        """`full`, `subset` (a chosen part, complete) or `partial` (images are not scored)."""
        if any(training.lacks_images for training in self.trainings):
            return "partial"
        return "full" if self.subset == "full" else "subset"

    @property
    def lacks_images(self) -> bool:
        """Whether images of this training's run are not scored."""
        return self.count < self.total or not self.complete

    @property
    def limitation(self) -> str | None:
        """What keeps the cell from being a whole one, in words; None when nothing does."""
        limits = dict.fromkeys(training._own_limitation for training in self.trainings)
        remarks = [limit for limit in limits if limit is not None]
        if self.others:
            shares = [float(training.correct.mean()) for training in self.trainings]
            spread = f"{min(shares):.3f} to {max(shares):.3f}"
            remarks.append(f"mean of {len(shares)} trainings, {spread}")
        return "; ".join(remarks) or None

    @property
    def _own_limitation(self) -> str | None:
        group = f" of group {' x '.join(map(str, self.group))}" if self.group else ""
        if self.lacks_images:
            chosen = "" if self.subset == "full" else f" of the subset {self.subset}"
            scored = f"{self.count:,} of the {self.total:,} images{group}{chosen} are scored"
            return f"partial: {scored}" + ("" if self.complete else ", others are missing")
        if self.subset != "full":
            return f"the subset {self.subset}: {self.count:,} images{group}"
        return f"{self.count:,} images{group}" if self.group else None

    @property
    def command(self) -> str:
        """The command that completes a partial run, the first one of several."""
        run = next((t.run for t in self.trainings if t.lacks_images), self.run)
        # A finished run that lacks images could not read them.
        return command_of(run) + (" --rerun failed" if run.summary is not None else "")

    @property
    def preference(self) -> tuple[Any, ...]:
        """Sorts the evidence for one cell, best first: whole, large, then as its runs."""
        return (self.status != "full", -self.count, *preference(self.run))

    def comparable(self, other: Evidence) -> bool:
        """Whether both cells are about the same images of the same benchmark."""
        return all(
            all(
                self.run.spec[field] == training.run.spec[field]
                for field in ("benchmark", "benchmark_digest")
            )
            and np.array_equal(self.sample_ids, training.sample_ids)
            for training in (*self.others, *other.trainings)
        )


class Measurements:
    """The runs that a table may draw on; the predictions of each are read once, when needed."""

    def __init__(self, runs: Iterable[Run]):
        self._runs = list(runs)
        self._predictions: dict[Path, pd.DataFrame] = {}

    def find(self, slot: Slot) -> Evidence | None:
        """The best evidence for a cell, or None: no run, or too few trials in it.

        Runs that left evaluations out are passed over: their one decision stands for no rule. A
        mean over trainings needs all of them.
        """
        best = [
            min(self.every(member), key=lambda evidence: evidence.preference, default=None)
            for member in slot.members
        ]
        found = [evidence for evidence in best if evidence is not None]
        if len(found) < len(best):
            return None
        return replace(found[0], others=tuple(found[1:]))

    def every(self, slot: Slot) -> Iterator[Evidence]:
        """All evidence for a cell: of other subsets, seeds and precisions too."""
        for run in self.begun(slot):
            if len(self._read(run)):
                evidence = _evidence(run, self._read(run), slot)
                if evidence is not None:
                    yield evidence

    def begun(self, slot: Slot) -> Iterator[Run]:
        """The runs that hold a cell of one training or will, even when no image is scored yet."""
        wanted = (slot.method, slot.variant, slot.benchmark)
        for run in self._runs:
            spec = run.spec
            if (spec["method"], spec["variant"], spec["benchmark"]) != wanted:
                continue
            if not run.exhaustive or _repeated_timesteps(spec) != slot.timesteps:
                continue
            if slot.prediction in self._read(run):
                yield run

    def digest(self, runs: Iterable[Run]) -> str:
        """sha256 over the names and predictions of runs: equal digests, equal tables."""
        digest = hashlib.sha256()
        for run in sorted({r.path: r for r in runs}.values(), key=lambda r: r.name):
            predictions = self._read(run).drop(columns="posterior")
            digest.update(f"{run.name}\n{predictions.to_csv(index=False)}".encode())
        return digest.hexdigest()

    def _read(self, run: Run) -> pd.DataFrame:
        if run.path not in self._predictions:
            self._predictions[run.path] = (
                prediction_table(run.scores()) if run.summary is None else run.predictions()
            )
        return self._predictions[run.path]


def _evidence(run: Run, predictions: pd.DataFrame, slot: Slot) -> Evidence | None:
    found = Evidence(
        run,
        sample_ids=predictions["sample_id"].to_numpy(dtype=str),
        predicted=predictions[slot.prediction].to_numpy(dtype=np.int64),
        labels=predictions["label"].to_numpy(dtype=np.int64),
        total=len(run.spec["sample_ids"]),
    )
    return _of_worst_group(found) if slot.worst_group else found


def _of_worst_group(evidence: Evidence) -> Evidence | None:
    """The evidence on the group of lowest accuracy; None when the benchmark has no such groups."""
    spec = evidence.run.spec
    fields, ignored = spec["metric"]["fields"], set(spec["metric"]["ignore"])
    row = {sample: i for i, sample in enumerate(spec["sample_ids"])}
    scored = [row[str(sample)] for sample in evidence.sample_ids]
    columns = {field: np.array(spec["groups"][field], object) for field in fields}  # [total] each
    if not columns:
        return None
    found = group_accuracy(
        evidence.predicted, evidence.labels, {f: values[scored] for f, values in columns.items()}
    )
    counted = {group: share for group, share in found.items() if not set(group) & ignored}
    if not counted:
        return None
    worst = min(counted, key=counted.__getitem__)
    member = np.logical_and.reduce(
        [values == value for values, value in zip(columns.values(), worst, strict=True)]
    )  # [total]
    of_group = evidence.restricted(member[scored], total=int(member.sum()))
    return replace(of_group, group=worst, complete=evidence.count == evidence.total)


def run_command(slot: Slot, benchmarks: Sequence[str] = ()) -> str:
    """The command whose run fills a cell, or the like cells on each of these benchmarks."""
    command = (
        f"gcbench run --method {slot.method} --variant {slot.variant} "
        f"--bench {','.join(benchmarks or [slot.benchmark])}"
    )
    options = {"trials": slot.trials if slot.trials > 1 else None, "timesteps": slot.timesteps}
    return command + "".join(f" --{k} {v}" for k, v in options.items() if v is not None)


def command_of(run: Run) -> str:
    """The command that makes a run, or goes on with it."""
    spec = run.spec
    slot = Slot(
        spec["method"],
        spec["variant"],
        spec["benchmark"],
        trials=spec["trials"],
        timesteps=_repeated_timesteps(spec),
    )
    options = {
        "subset": (spec["subset"], "full"),
        "seed": (spec["seed"], 0),
        "precision": (spec["precision"], "fp32"),
        "protocol": (_protocol_name(spec), "independent"),
    }
    given = (f" --{k} {value}" for k, (value, default) in options.items() if value != default)
    return run_command(slot) + "".join(given)


def preference(run: Run) -> tuple[Any, ...]:
    """Sorts runs of the same images, best first: exact, of the default protocol, then by seed."""
    spec = run.spec
    return (
        spec["precision"] != "fp32",
        _protocol_name(spec) != "independent",
        spec["seed"],
        _repeated_timesteps(spec) is not None,
        -spec["trials"],
        run.name,
    )


def _protocol_name(spec: Mapping[str, Any]) -> str:
    """The protocol without what a method adds to it: `independent` or `published`."""
    return str(spec["protocol"]).partition(", ")[0]


def _repeated_timesteps(spec: Mapping[str, Any]) -> int | None:
    """The timesteps that a run's trials go through several times, None when they do not."""
    added = str(spec["protocol"]).partition(", ")[2]
    return int(added.split()[0]) if added.endswith(" timesteps") else None


def deviations(evidence: Mapping[Position, Evidence]) -> dict[Position, list[str]]:
    """What sets a cell apart from the protocol that most cells of the table share, in words."""
    found: dict[Position, list[str]] = {}
    for field, scope in _PROTOCOL.items():
        groups: dict[tuple[Any, ...], dict[Position, str]] = {}
        for position, cell in evidence.items():
            spec = cell.run.spec
            key = tuple(spec[name] for name in scope)
            value = _protocol_name(spec) if field == "protocol" else _short(spec[field])
            groups.setdefault(key, {})[position] = value
        for members in groups.values():
            # Ties go to the value that comes first in reading order.
            usual = Counter(members.values()).most_common(1)[0][0]
            for position, value in members.items():
                if value != usual:
                    name = field.replace("_", " ")
                    text = f"{name} {value}, where comparable cells have {usual}"
                    found.setdefault(position, []).append(text)
    return found


def _short(value: object) -> str:
    """A value of the run's spec in few characters; digests by their first twelve."""
    if isinstance(value, Mapping):
        return " ".join(f"{role} {_short(digest)}" for role, digest in sorted(value.items()))
    text = str(value)
    return text[:12] if len(text) == 64 else text
