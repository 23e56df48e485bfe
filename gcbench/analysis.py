"""Runs that keep what single tokens say: a results folder's `analyses/` beside its `runs/`.

An analysis is a run of its own, stored as `gcbench.store` says, with two more kinds of files:

    analyses/<run name>/tokens-00000.npz   results of one shard's tokens, image by image
    analyses/<run name>/tokens.npz         counts over all images, and the maps of a few of them

Figures need the second only.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from gcbench.errors import GcbenchError
from gcbench.store import Run, Shard, Store, atomic_path, remove_leftovers
from gcbench.tokens import TokenResults, TokenSummary, joined, summed_up

# Images whose maps and pixels a summary holds; all of a file is to stay small enough to commit.
SHOWN_IMAGES = 20
Arrays = TypeVar("Arrays", TokenResults, TokenSummary)


@dataclass(frozen=True)
class TokenShard(Shard):
    """A shard with the results of its images' tokens; None when no image could be scored."""

    tokens: TokenResults | None = None


class Analysis(Run):
    """A run that keeps what single tokens say."""

    def token_file(self, index: int) -> Path:
        return self.path / f"tokens-{index:05d}.npz"

    def write_shard(self, shard: Shard) -> None:
        """As a run does; the tokens are written first, so that the shard is there when they are."""
        assert isinstance(shard, TokenShard)
        if shard.tokens is not None:
            _write(self.token_file(shard.index), shard.tokens)
        super().write_shard(shard)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """As a run does, with the tokens of all shards summed up.

        Raises:
            GcbenchError: a file is damaged.
        """
        shards = self.shards()
        parts = [_read(self.token_file(s.index), TokenResults) for s in shards if s.sample_ids]
        if parts:
            ids = [id for shard in shards for id in shard.sample_ids]
            labels = [label for shard in shards for label in shard.labels]
            whole = summed_up(joined(parts), ids, labels, SHOWN_IMAGES)
            _write(self.path / "tokens.npz", whole)
        super().finish(summary)

    def every_image(self) -> tuple[list[str], TokenResults] | None:
        """The ids and results of the images whose shards are there; None where there are none.

        Raises:
            GcbenchError: a file is damaged.
        """
        there = [s for s in self.shards() if s.sample_ids and self.token_file(s.index).is_file()]
        if not there:
            return None
        ids = [id for shard in there for id in shard.sample_ids]
        return ids, joined([_read(self.token_file(s.index), TokenResults) for s in there])

    @property
    def tokens(self) -> TokenSummary | None:
        """What all images' tokens say; None while the analysis is unfinished.

        Raises:
            GcbenchError: the file is damaged.
        """
        file = self.path / "tokens.npz"
        return _read(file, TokenSummary) if file.is_file() else None


class Analyses(Store):
    """The analyses of a results folder."""

    folder: ClassVar[str] = "analyses"

    def runs(self) -> list[Analysis]:  # type: ignore[override]  # a list of what `run` gives
        return [self.run(run.name) for run in super().runs()]

    def run(self, name: str) -> Analysis:
        return Analysis(self.root / self.folder / name)


def _write(file: Path, arrays: TokenResults | TokenSummary) -> None:
    remove_leftovers(file)
    with atomic_path(file) as temporary, temporary.open("wb") as opened:
        np.savez_compressed(opened, **vars(arrays))


def _read(file: Path, kind: type[Arrays]) -> Arrays:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            return kind(**{field.name: found[field.name] for field in fields(kind)})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise GcbenchError(
            f"{file} cannot be read ({error})",
            hint="delete it and the scores of the same number, and run the same command again",
        ) from error
