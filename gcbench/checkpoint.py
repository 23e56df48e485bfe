"""Reading network weights: any wrapping, no pickle, sha256 first, and errors that name the key."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gcbench.errors import GcbenchError, unknown_name
from gcbench.resources import resource

if TYPE_CHECKING:
    import torch
    from torch import nn

# Keys under which published training scripts wrap a state dict, tried in this order.
_WRAPPINGS = (
    "teacher",
    "ema",
    "model",
    "module",
    "state_dict",
    "model_state_dict",
    "trainer",
    "var_wo_ddp",
)
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
# Entries of official files that are no parameters and that likelihoods never read.
_IGNORED_SUFFIXES = ("freqs_cis", "kv_cache.k_cache", "kv_cache.v_cache", "causal_mask")


def sha256_of(file: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Shipped:
    """Weights of the embedded suite: `baselines/weights/NAME.safetensors`.

    The card beside them (`NAME.json`) holds their sha256, the recipe that trained them and the
    constructor arguments of their network.
    """

    name: str

    def locate(self) -> tuple[Path, str | None]:
        """The file and the sha256 that its card names."""
        return resource(f"baselines/weights/{self.name}.safetensors"), self.card()["sha256"]

    def card(self) -> dict[str, Any]:
        """How the weights were made."""
        card: dict[str, Any] = json.loads(
            resource(f"baselines/weights/{self.name}.json").read_text()
        )
        return card


@dataclass(frozen=True)
class Hub:
    """Published weights on the Hugging Face hub, read from its local cache and never downloaded.

    `licence` is that of the weights as their page states it; `note` says what else a user should
    know. The sha256 is checked where the publisher or the hub names one.
    """

    repo: str
    file: str
    licence: str
    sha256: str | None = None
    revision: str = "main"
    note: str = ""

    def locate(self) -> tuple[Path, str | None]:
        """The cached file and its expected sha256.

        Raises:
            GcbenchError: it has not been fetched.
        """
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repo, self.file, revision=self.revision)
        if not isinstance(found, str):
            raise GcbenchError(
                f"{self.repo}/{self.file} is not on this machine",
                hint="gcbench fetch METHOD:VARIANT brings it; --checkpoint uses a file of your own",
            )
        return Path(found), self.sha256


@dataclass(frozen=True)
class ByHand:
    """Weights that no command can bring: `where` they are, or why there are none.

    `name` is that of the catalogue's entry: a file that a user brings is kept under it. `holds` are
    tensors, with their shapes, by which the right file is told from another. `repo` is the hub's
    repository that has it under a name that is not known here.
    """

    where: str
    name: str = ""
    holds: Mapping[str, Sequence[int]] = field(default_factory=dict)
    repo: str | None = None
    licence: str = ""

    def locate(self) -> tuple[Path, str | None]:
        """The file that was brought. Raises GcbenchError where there is none: how to bring it."""
        if self.here:
            return self.here[0], None
        bring = f"then gcbench fetch {self.name} --from FILE, or " if self.name else ""
        raise GcbenchError(
            f"{self.name or 'this file'} has to be brought by hand",
            hint=f"{self.where}; {bring}pass the file with --checkpoint FILE",
        )

    @property
    def here(self) -> list[Path]:
        """The file that was brought, in a list that is empty when there is none."""
        files = [self.file(suffix) for suffix in WEIGHT_SUFFIXES] if self.name else []
        return [file for file in files if file.is_file()]

    def file(self, suffix: str) -> Path:
        """Where a file of that suffix is kept."""
        return cache_folder() / "checkpoints" / f"{self.name}{suffix}"

    def check(self, file: Path) -> None:
        """Raises GcbenchError when a file is no checkpoint, or not the one that is meant."""
        tensors = read_state_dict(file)
        for key, shape in self.holds.items():
            found = [list(v.shape) for k, v in tensors.items() if f".{k}".endswith(f".{key}")]
            if found != [list(shape)]:
                got = f"holds it as {found[0]}" if found else f"has no {key!r}"
                raise GcbenchError(
                    f"{file} is not {self.name}: expected {key!r} of shape {list(shape)}, "
                    f"the file {got}",
                    hint=self.where,
                )


@dataclass(frozen=True)
class Url:
    """Published weights at an address, kept in gcbench's cache once they are fetched.

    `sha256` may be the beginning of the digest, as PyTorch's file names have it.
    """

    url: str
    licence: str
    sha256: str | None = None
    note: str = ""

    @property
    def file(self) -> Path:
        """Where the fetched file is kept."""
        return cache_folder() / "checkpoints" / PurePosixPath(urlsplit(self.url).path).name

    def locate(self) -> tuple[Path, str | None]:
        """The fetched file and its expected sha256. Raises GcbenchError when it is not there."""
        if not self.file.is_file():
            raise GcbenchError(
                f"{self.url} is not on this machine",
                hint="gcbench fetch METHOD:VARIANT brings it; --checkpoint uses a file of your own",
            )
        return self.file, self.sha256


Checkpoint = Shipped | Hub | Url | ByHand


def cache_folder() -> Path:
    """`$GCBENCH_CACHE`, or `gcbench` in the user's cache folder."""
    own = os.environ.get("GCBENCH_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(cache, "gcbench")


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """The published checkpoints by name, as `baselines/checkpoints.toml` lists them."""
    return tomllib.loads(resource("baselines/checkpoints.toml").read_text())


def published(name: str) -> Hub | Url | ByHand:
    """The entry of that name in the catalogue of published checkpoints.

    Raises:
        GcbenchError: there is none.
    """
    if name not in catalogue():
        raise unknown_name("published checkpoint", name, catalogue())
    card = catalogue()[name]
    common = {key: card[key] for key in ("licence", "sha256", "note") if key in card}
    if "hub" in card:
        return Hub(card["hub"], card["file"], **common)
    if "url" in card:
        return Url(card["url"], **common)
    holds, repo = card.get("holds", {}), card.get("repo")
    return ByHand(card["by_hand"], name, holds, repo, card["licence"])


def fetched(name: str) -> tuple[Path, str | None]:
    """File and expected sha256 of an entry of the catalogue that `gcbench fetch NAME` brings.

    Raises:
        GcbenchError: there is no such entry, or it has not been fetched.
    """
    checkpoint = published(name)
    try:
        return checkpoint.locate()
    except GcbenchError as error:
        raise GcbenchError(error.message, hint=f"gcbench fetch {name} brings it") from error


def check_sha256(file: Path, expected: str) -> None:
    """Raises GcbenchError when a file's sha256 does not begin with what its card names."""
    if not (found := sha256_of(file)).startswith(expected):
        raise GcbenchError(
            f"{file} has sha256 {found}, its card names {expected}",
            hint="the file is damaged or not the one that was published: fetch it again",
        )


def read_state_dict(file: Path, expected_sha256: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, unwrapped, on the CPU.

    Raises:
        GcbenchError: no such file, another sha256 than expected, not a checkpoint, or truncated.
    """
    if not file.is_file():
        raise GcbenchError(f"no checkpoint at {file}", hint="check the path given by --checkpoint")
    if expected_sha256 is not None:
        check_sha256(file, expected_sha256)
    try:
        content = _read(file)
    except Exception as error:  # readers raise many types for a damaged file; all mean the same
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GcbenchError(
            f"{file} is not a readable checkpoint ({reason[:200]})",
            hint="expected safetensors or a torch file of tensors; is the download complete?",
        ) from error
    return _unwrapped(content, file)


def _read(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    import torch

    return torch.load(file, map_location="cpu", weights_only=True)


def _unwrapped(content: Any, file: Path) -> dict[str, torch.Tensor]:
    import torch

    for key in _WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise GcbenchError(f"{file} holds {type(content).__name__}, expected named tensors")
    tensors = {
        name.removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, torch.Tensor) and not name.endswith(_IGNORED_SUFFIXES)
    }
    if not tensors:
        raise GcbenchError(f"{file} holds no tensors (keys: {', '.join(list(content)[:5])})")
    return tensors


def load_into(network: nn.Module, tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """Copies a checkpoint into a network, strictly: same names, same shapes.

    A network may have a method `translated(tensors)` that renames what other published layouts
    call otherwise, and a method `misfit(tensors)` that says in words of its own what is wrong with
    a checkpoint, or returns None.

    Raises:
        GcbenchError: names the first missing, unexpected or misshapen key and counts the rest.
    """
    translated = getattr(network, "translated", dict)
    tensors = translated(tensors)
    expected = network.state_dict()
    missing = [k for k in expected if k not in tensors]
    extra = [k for k in tensors if k not in expected]
    misshapen = [k for k in expected if k in tensors and tensors[k].shape != expected[k].shape]
    problems = []
    misfit = getattr(network, "misfit", None)
    if misfit is not None and (reason := misfit(tensors)):
        problems.append(reason)
    if missing:
        problems.append(f"{len(missing)} missing keys, first {missing[0]!r}")
    if extra:
        problems.append(f"{len(extra)} unexpected keys, first {extra[0]!r}")
    if misshapen:
        key = misshapen[0]
        problems.append(
            f"{len(misshapen)} keys of another shape, first {key!r}: "
            f"got {list(tensors[key].shape)}, expected {list(expected[key].shape)}"
        )
    if problems:
        raise GcbenchError(
            f"{file} does not fit {type(network).__name__}: {'; '.join(problems)}",
            hint="is it the checkpoint of another variant or method?",
        )
    network.load_state_dict(dict(tensors), strict=True)
