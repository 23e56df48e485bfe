"""Where data sets are looked for: the data root that is given, then the user's config file.

The config file is ``$XDG_CONFIG_HOME/gcbench/config.toml`` (by default below ``~/.config``):

    data_root = "/data"            # a folder that holds the data sets

    [paths]                        # single sets that lie elsewhere
    in-val = "/fast/imagenet/val"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gcbench.errors import GcbenchError, unknown_name

SUFFIXES = ("", ".tar", ".zip", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Config:
    """What the config file says."""

    data_root: Path | None = None
    paths: Mapping[str, Path] = field(default_factory=dict)


def config_file() -> Path:
    """Where the user's config file is, or would be."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "gcbench" / "config.toml"


def read_config(file: Path | None = None) -> Config:
    """The config file's content; empty when there is no file.

    Raises:
        GcbenchError: the file is no TOML, or holds an unknown key or a value that is no path.
    """
    file = file or config_file()
    if not file.is_file():
        return Config()
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise GcbenchError(
            f"{file} cannot be read ({error})", hint="mend it or delete it"
        ) from None
    for key in content:
        if key not in ("data_root", "paths"):
            raise unknown_name(f"key in {file}:", key, ("data_root", "paths"))
    root, paths = content.get("data_root"), content.get("paths", {})
    values = {} if root is None else {"data_root": root}
    if not isinstance(paths, dict):
        raise GcbenchError(f"{file}: paths is no table", hint='write [paths], then in-val = "..."')
    values |= paths
    for key, value in values.items():
        if not isinstance(value, str):
            raise GcbenchError(
                f"{file}: {key} is {value!r}, expected a path in quotes",
                hint='for example data_root = "/data", or below [paths] in-val = "/data/val"',
            )
    return Config(
        None if root is None else Path(root).expanduser(),
        {name: Path(path).expanduser() for name, path in paths.items()},
    )


def find(name: str, stems: Sequence[str], data_root: Path | None, *, hint: str) -> Path:
    """The first place that exists among those where the data set `name` may be.

    Looked at, in this order: each of `stems` (a path without suffix, see `SUFFIXES`) below
    `data_root`, the config file's own path for `name`, each stem below the config file's root.

    Raises:
        GcbenchError: no such place exists; the message names them, `hint` says how to get the set.
    """
    config = read_config()
    roots = [root for root in (data_root, config.data_root) if root is not None]
    own = [config.paths[name]] if name in config.paths else []
    below = [[root / f"{stem}{end}" for stem in stems for end in SUFFIXES] for root in roots]
    given = below.pop(0) if data_root is not None else []
    for place in (*given, *own, *(below[0] if below else [])):
        if place.exists():
            return place
    if not roots and not own:
        raise GcbenchError(
            f"{name}: no data root is known",
            hint=f"give --data-root DIR, set GCBENCH_DATA, or write data_root to {config_file()}; "
            + hint,
        )
    names = ", ".join(stems)
    looked = [f"{names} (or as .tar or .zip) in {root}" for root in roots] + [str(p) for p in own]
    raise GcbenchError(f"{name} was not found; looked for {'; '.join(looked)}", hint=hint)


def refuse_to_copy(name: str, key: str, source: Path | None) -> None:
    """Refuses to fetch a set from a folder, when one is given: it is read where it lies.

    Raises:
        GcbenchError: says how to name the folder; `key` is the set's in the config file.
    """
    if source is not None:
        raise GcbenchError(
            f"{name} is read where it lies: nothing is copied from {source}",
            hint="give --data-root, or write its path to the config file: "
            f'below [paths], {key} = "{source}"',
        )
