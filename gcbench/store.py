"""Results on disk. Nothing else reads or writes a results folder.

Layout, below the root:

    store.json                          schema version of this folder
    runs/<run name>/run.json            what was run: the key's fields and the subset's sample ids
    runs/<run name>/scores-00000.parquet   raw scores of one shard of samples (tier 1)
    runs/<run name>/predictions.parquet predictions per sample for every rule and trial count; of a
                                        run that left evaluations out, its one decision
    runs/<run name>/calibration.json    what a race knew beforehand about the spread of scores
    runs/<run name>/precision.json      how far bf16 moves the scores, by which near ties are told
    runs/<run name>/audit/              a run of the whole grid on some of the samples
    runs/<run name>/summary.json        accuracy, cost and provenance (tier 2)
    tokenizers/<name>.json              a tokenizer under noise, see gcbench.robustness
    analyses/<run name>/                a run that keeps what single tokens say: gcbench.analysis

Files are written beside their final name and renamed into place, so a reader sees a whole file or
none; the price is one extra rename and an fsync per shard. Tables need only the last two files.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gcbench.errors import GcbenchError
from gcbench.scores import Scores, TrialDesign

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1


@dataclass(frozen=True)
class Shard:
    """Scores of consecutive samples: `values` [n, K, C] float32, failures by sample id.

    `worker` names the process that computed them, `rescored` counts the evaluations of a bf16 run
    that were made again in fp32.
    """

    index: int
    sample_ids: tuple[str, ...]
    labels: tuple[int, ...]
    values: np.ndarray[Any, np.dtype[np.float32]]
    seconds: float
    failures: Mapping[str, str]
    worker: str = ""
    rescored: int = 0


class Store:
    """A results folder and the runs in it; its `folder` of them can be another in a subclass.

    Raises:
        GcbenchError: the folder is of another schema version, or is something else.
    """

    folder: ClassVar[str] = "runs"

    def __init__(self, root: Path):
        self.root = root
        marker = root / "store.json"
        if marker.is_file():
            found = read_json(marker).get("schema")
            if found != SCHEMA:
                raise GcbenchError(
                    f"{root} holds results of schema {found}, this gcbench writes schema {SCHEMA}",
                    hint="choose another folder with --results, or use the gcbench that wrote it",
                )
        elif root.is_dir() and any(root.iterdir()) and not (root / self.folder).is_dir():
            raise GcbenchError(
                f"{root} is not a results folder (it has no store.json but is not empty)",
                hint="choose an empty or new folder with --results",
            )

    def create(self) -> Store:
        """Makes the folder where there is none.

        Raises:
            GcbenchError: it cannot be written.
        """
        with explained(self.root):
            (self.root / self.folder).mkdir(parents=True, exist_ok=True)
        marker = self.root / "store.json"
        if not marker.is_file():
            write_json(marker, {"schema": SCHEMA})
        return self

    def runs(self) -> list[Run]:
        """Every run of the folder that has begun, by name."""
        folder = self.root / self.folder
        found = sorted(folder.glob("*/run.json")) if folder.is_dir() else []
        return [Run(path.parent) for path in found]

    def run(self, name: str) -> Run:
        return Run(self.root / self.folder / name)

    def tokenizers(self) -> list[dict[str, Any]]:
        """Every record of a tokenizer under noise, by name."""
        return [read_json(file) for file in sorted(self.root.glob("tokenizers/*.json"))]

    def tokenizer_file(self, name: str) -> Path:
        return self.root / "tokenizers" / f"{name}.json"


class Run:
    """One run's folder: a grid of methods x trials x classes on one benchmark subset."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What was run: the fields of the run key plus `sample_ids` and `labels` in order."""
        return read_json(self.path / "run.json")

    @property
    def exhaustive(self) -> bool:
        return bool(self.spec.get("strategy", "exhaustive") == "exhaustive")

    @property
    def summary(self) -> dict[str, Any] | None:
        """Accuracy, cost and provenance; None while the run is unfinished."""
        file = self.path / "summary.json"
        return read_json(file) if file.is_file() else None

    @property
    def begun(self) -> bool:
        return (self.path / "run.json").is_file()

    def begin(self, spec: Mapping[str, Any], *, anew: bool = False) -> None:
        """Records what is about to be run. Harmless when another process did so already.

        `anew` replaces the record of a run whose scores are about to be replaced.
        """
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        if anew or not self.begun:
            write_json(self.path / "run.json", spec)
            self.__dict__.pop("spec", None)

    def shard_file(self, index: int) -> Path:
        return self.path / f"scores-{index:05d}.parquet"

    def has_shard(self, index: int) -> bool:
        return self.shard_file(index).is_file()

    def present(self) -> set[int]:
        """The indices of the shards that are there."""
        return {int(p.stem.split("-")[1]) for p in self.path.glob("scores-*.parquet")}

    def write_shard(self, shard: Shard) -> None:
        """Appends a shard in one step; an existing shard of that index is replaced.

        What a writer of it left behind when it was killed is removed: one process at a time writes
        a shard.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        count, trials, classes = shard.values.shape
        flat = pa.array(shard.values.reshape(-1), pa.float32())
        table = pa.table(
            {
                "sample_id": pa.array(np.repeat(np.array(shard.sample_ids, object), trials)),
                "label": pa.array(np.repeat(np.array(shard.labels, np.int32), trials), pa.int32()),
                "trial": pa.array(np.tile(np.arange(trials, dtype=np.int32), count), pa.int32()),
                "scores": pa.FixedSizeListArray.from_arrays(flat, classes),
            },
            metadata={
                "gcbench.seconds": f"{shard.seconds:.6f}",
                "gcbench.worker": shard.worker,
                "gcbench.failures": json.dumps(dict(shard.failures), sort_keys=True),
                "gcbench.rescored": str(shard.rescored),
            },
        )
        remove_leftovers(self.shard_file(shard.index))
        with atomic_path(self.shard_file(shard.index)) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def read_shard(self, index: int) -> Shard:
        """The shard of that index. Raises GcbenchError when its file is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self.shard_file(index)
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise GcbenchError(
                f"{file} is damaged ({str(error).splitlines()[0]})",
                hint="delete that file and run the same command again: only it is scored anew",
            ) from error
        trials = int(self.spec["trials"])
        values = table["scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        metadata = table.schema.metadata or {}
        return Shard(
            index=index,
            sample_ids=tuple(table["sample_id"].to_pylist()[::trials]),
            labels=tuple(table["label"].to_pylist()[::trials]),
            values=values.reshape(-1, trials, len(self.spec["classes"])).astype(np.float32),
            seconds=float(metadata.get(b"gcbench.seconds", b"0")),
            failures=json.loads(metadata.get(b"gcbench.failures", b"{}")),
            worker=metadata.get(b"gcbench.worker", b"").decode(),
            rescored=int(metadata.get(b"gcbench.rescored", b"0")),
        )

    def shards(self) -> list[Shard]:
        """Every shard that is there, in order."""
        return [self.read_shard(index) for index in sorted(self.present())]

    def scores(self) -> Scores:
        """The raw scores of the samples that are there, in benchmark order."""
        shards = self.shards()
        trials, classes = int(self.spec["trials"]), len(self.spec["classes"])
        empty = np.zeros((0, trials, classes), np.float32)
        return Scores(
            sample_ids=tuple(i for s in shards for i in s.sample_ids),
            labels=np.array([y for s in shards for y in s.labels], np.int64),
            classes=np.array(self.spec["classes"], np.int64),
            values=np.concatenate([empty, *(s.values for s in shards)]),
            exhaustive=self.exhaustive,
            design=TrialDesign.from_json(self.spec["design"]) if "design" in self.spec else None,
            made=self.spec.get("evaluations"),
        )

    def aside(self, name: str) -> dict[str, Any] | None:
        """What `write_aside` was given under that name; None when there is none."""
        file = self.path / f"{name}.json"
        return read_json(file) if file.is_file() else None

    def write_aside(self, name: str, value: Mapping[str, Any]) -> None:
        """Keeps what was measured beside the run's scores."""
        write_json(self.path / f"{name}.json", value)

    @property
    def calibration(self) -> dict[str, Any] | None:
        """What a race measured before its first look."""
        return self.aside("calibration")

    @property
    def precision(self) -> dict[str, Any] | None:
        """How far a lower precision was measured to move the scores."""
        return self.aside("precision")

    def audit(self, name: str) -> Run:
        """The run of that name that checks this one on some of its samples."""
        return Run(self.path / "audit" / name)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes the predictions of every rule and trial count, then the summary, last."""
        for name in ("run.json", "predictions.parquet", "summary.json"):
            remove_leftovers(self.path / name)
        with atomic_path(self.path / "predictions.parquet") as temporary:
            prediction_table(self.scores()).to_parquet(temporary, compression="zstd", index=False)
        write_json(self.path / "summary.json", summary)

    def add_to_summary(self, **entries: Any) -> None:
        """Replaces entries of a finished run's summary."""
        write_json(self.path / "summary.json", {**(self.summary or {}), **entries})

    def predictions(self) -> pd.DataFrame:
        """One row per sample: `sample_id`, `label`, and a prediction per `<rule>@<trials>`.

        Raises:
            GcbenchError: the run is unfinished or its file damaged.
        """
        import pandas as pd
        import pyarrow as pa

        file = self.path / "predictions.parquet"
        try:
            return pd.read_parquet(file)
        except (OSError, pa.ArrowException) as error:
            raise GcbenchError(
                f"{file} cannot be read ({str(error).splitlines()[0]})",
                hint="delete summary.json beside it and run the same command again",
            ) from error


def prediction_table(scores: Scores) -> pd.DataFrame:
    """Predictions (label-space indices) for every rule and every trial count of the ladder.

    `posterior` holds softmax over classes of the mean score at all trials, [C] float32 per sample.
    Of scores that are not exhaustive there is the `decision`, and the number of `evaluations`.
    """
    import pandas as pd

    columns: dict[str, Any] = {
        "sample_id": list(scores.sample_ids),
        "label": scores.labels.astype(np.int16),
    }
    if not scores.exhaustive:
        columns["decision"] = scores.decisions().astype(np.int16)
        columns["evaluations"] = scores.evaluations().astype(np.int32)
        return pd.DataFrame(columns)
    for trials in scores.ladder:
        for rule in scores.rules if trials > 1 else ("mean",):
            columns[f"{rule}@{trials}"] = scores.predictions(rule, trials).astype(np.int16)
    combined = scores.combined()
    exp = np.exp(combined - combined.max(axis=1, keepdims=True))
    posterior = (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)  # [N, C]
    columns["posterior"] = list(posterior)
    return pd.DataFrame(columns)


def remove_leftovers(final: Path) -> None:
    """Deletes the temporary files of writers of `final` that were killed."""
    for leftover in final.parent.glob(f".{final.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside `final` that is synced and renamed onto it when the block succeeds.

    Raises:
        GcbenchError: the disk is full, read-only, or the folder may not be written.
    """
    with explained(final):
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(final: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON in one step, keys in the order given."""
    with atomic_path(final) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises GcbenchError when there is none."""
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise GcbenchError(
            f"{file} cannot be read as JSON ({error})", hint="restore or delete it"
        ) from error
    if not isinstance(value, dict):
        raise GcbenchError(f"{file} holds {type(value).__name__}, expected an object")
    return value


_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again"),
    errno.EDQUOT: ("the quota is used up", "free some space and run the same command again"),
    errno.EACCES: ("no permission to write", "choose another folder with --results"),
    errno.EPERM: ("no permission to write", "choose another folder with --results"),
    errno.EROFS: ("the file system is read-only", "choose another folder with --results"),
    errno.ENOTDIR: ("a part of the path is a file", "choose another folder with --results"),
    errno.ENOENT: (
        "a part of the path is missing",
        "is the drive there? or choose another --results",
    ),
    errno.ENAMETOOLONG: ("the path is too long", "choose another folder with --results"),
    errno.EEXIST: ("a file is in the way", "choose another folder with --results"),
    errno.EIO: ("the drive fails", "check the drive and run the same command again"),
    errno.ESTALE: ("the network drive went away", "mount it and run the same command again"),
    errno.ENODEV: ("the drive went away", "attach it and run the same command again"),
    errno.ETIMEDOUT: ("the network drive does not answer", "run the same command again later"),
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        reason, hint = _REASONS[error.errno]
        raise GcbenchError(
            f"cannot write {path}: {reason}", hint=f"{hint}; finished shards are kept"
        ) from error
