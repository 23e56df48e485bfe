"""Brings what does not ship: data sets and published weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gcbench.checkpoint import (
    WEIGHT_SUFFIXES,
    ByHand,
    Checkpoint,
    Hub,
    Url,
    catalogue,
    check_sha256,
    published,
)
from gcbench.errors import GcbenchError, unknown_name
from gcbench.registry import Registry
from gcbench.sources.download import hub_error, unreachable

Echo = Callable[[str], object]


def fetch(
    registry: Registry,
    name: str,
    *,
    source: Path | None = None,
    data_root: Path | None = None,
    file: str | None = None,
    echo: Echo = print,
) -> None:
    """Brings a data set below `data_root` (`data` if None), the weights of METHOD[:VARIANT], or a
    checkpoint of the catalogue.

    Args:
        source: a data set's folder, or a checkpoint's file, that is on this machine already.
        file: one of a repository whose names the catalogue lacks.

    Raises:
        GcbenchError: nothing of that name, no access, no network, or a file that is not what its
            card says.
    """
    for family in registry.families:
        note = family.data_sets.get(name) or family.data_sets.get(name.partition(":")[0])
        if note is not None:
            echo(f"{name}: {note}")
            echo(str(family.fetch(name, data_root or Path("data"), source, echo)))
            return
    checkpoints = _checkpoints(registry, name)
    if source is not None:
        taken = [c for c in checkpoints if isinstance(c, ByHand | Url)]
        if len(taken) != 1:
            raise GcbenchError(
                f"--from brings one file, and {name} has {len(taken)} that are brought so",
                hint="name one of gcbench list --checkpoints, or run with --checkpoint FILE",
            )
        echo(str(take(taken[0], source)))
        return
    # What needs a hand comes last: the rest is here then.
    for checkpoint in sorted(checkpoints, key=lambda c: isinstance(c, ByHand)):
        echo(str(bring(checkpoint, echo, file)))


def _checkpoints(registry: Registry, name: str) -> list[Checkpoint]:
    """An entry of the catalogue, or what a variant of a method needs."""
    if name in catalogue():
        return [published(name)]
    method, _, variant = name.partition(":")
    if method in registry.methods:
        return list(registry.method(method).variant_named(variant or None).checkpoints.values())
    entries = [n for n, card in catalogue().items() if name in card["for"]]
    if len(entries) == 1:
        return [published(entries[0])]
    known = [n for family in registry.families for n in family.data_sets]
    known += [*registry.methods, *catalogue()]
    raise unknown_name("data set, method or checkpoint", name, entries or known)


def take(checkpoint: ByHand | Url, source: Path) -> Path:
    """Checks a file that is here already and keeps it where runs look for it.

    Raises:
        GcbenchError: it is not what its card says, or cannot be kept.
    """
    if not source.is_file() or source.suffix not in WEIGHT_SUFFIXES:
        raise GcbenchError(
            f"--from {source}: expected a file that ends in {', '.join(WEIGHT_SUFFIXES)}",
            hint="give the checkpoint as it was downloaded",
        )
    if isinstance(checkpoint, Url):
        target = checkpoint.file
        if checkpoint.sha256:
            check_sha256(source, checkpoint.sha256)
    else:
        target = checkpoint.file(source.suffix)
        checkpoint.check(source)
    partial = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise GcbenchError(
            f"{target} cannot be written ({error.strerror})",
            hint="GCBENCH_CACHE=DIR keeps checkpoints elsewhere",
        ) from error
    return target


def chosen_file(card: ByHand, repo: str, file: str | None) -> Hub:
    """A file of a hub repository whose names the catalogue does not know.

    Raises:
        GcbenchError: none or an unknown one was chosen: lists those that are there.
    """
    from huggingface_hub import HfApi

    try:
        names = [n for n in HfApi().list_repo_files(repo) if n.endswith(WEIGHT_SUFFIXES)]
    except Exception as error:
        # The exceptions of the transport below the hub's client differ between its versions.
        raise hub_error(repo, repo, error) from error
    if file not in names:
        got = "no --file was given" if file is None else f"it has no file {file!r}"
        raise GcbenchError(
            f"{card.name} is one of {len(names)} files of {repo}, and {got}",
            hint=f"gcbench fetch {card.name} --file NAME, one of: {', '.join(names[:40])}",
        )
    return Hub(repo, file, licence=card.licence)


def bring(checkpoint: Checkpoint, echo: Echo, file: str | None = None) -> Path:
    """The file of a checkpoint, downloaded where it is not there yet.

    Raises:
        GcbenchError: it cannot be downloaded, or is not what its card or the hub says.
    """
    if isinstance(checkpoint, Hub):
        return from_hub(checkpoint, echo)
    if isinstance(checkpoint, Url):
        return from_url(checkpoint, echo)
    if isinstance(checkpoint, ByHand) and checkpoint.repo and (file or not checkpoint.here):
        return take(checkpoint, from_hub(chosen_file(checkpoint, checkpoint.repo, file), echo))
    return checkpoint.locate()[0]


def from_url(checkpoint: Url, echo: Echo) -> Path:
    """A file at an address, its size announced first, resumed when it was cut, checked."""
    import urllib.request
    from urllib.error import HTTPError

    from rich.progress import wrap_file

    target = checkpoint.file
    partial = target.with_name(f"{target.name}.part")
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        done = partial.stat().st_size if partial.is_file() else 0
        request = urllib.request.Request(checkpoint.url, headers={"Range": f"bytes={done}-"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                resumed = answer.status == 206
                left = int(answer.headers.get("Content-Length") or 0)
                again = f", {done / 1e6:.1f} MB of it here already" if resumed and done else ""
                total = left + (done if resumed else 0)
                echo(
                    f"{checkpoint.url}: {total / 1e6:,.1f} MB{again}, licence {checkpoint.licence}"
                )
                shown = wrap_file(answer, left, description=target.name, transient=True)
                with shown as stream, partial.open("ab" if resumed else "wb") as out:
                    shutil.copyfileobj(stream, out, 1 << 20)
        except HTTPError as error:
            if error.code != 416:  # the range is empty: everything is here already
                raise unreachable(checkpoint.url, error) from error
        except OSError as error:
            raise unreachable(checkpoint.url, error) from error
        if checkpoint.sha256:
            _checked(partial, checkpoint.sha256)
        partial.replace(target)
    return target


def _checked(file: Path, expected: str) -> None:
    try:
        check_sha256(file, expected)
    except GcbenchError:
        file.unlink()
        raise


def from_hub(checkpoint: Hub, echo: Echo) -> Path:
    """A hub file, its size announced first, resumed when it was cut, its sha256 checked.

    The hub names the sha256 of every large file, so the check does not depend on the card.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    where = f"{checkpoint.repo}/{checkpoint.file}"
    try:
        url = hf_hub_url(checkpoint.repo, checkpoint.file, revision=checkpoint.revision)
        found = get_hf_file_metadata(url)
        size = f"{found.size / 1e6:,.1f} MB" if found.size else "size unknown"
        echo(f"{where}: {size}, licence {checkpoint.licence}")
        file = Path(hf_hub_download(checkpoint.repo, checkpoint.file, revision=checkpoint.revision))
    except Exception as error:
        # The exceptions of the transport below the hub's client differ between its versions.
        raise hub_error(where, checkpoint.repo, error) from error
    expected = checkpoint.sha256 or (found.etag if found.etag and len(found.etag) == 64 else None)
    if expected:
        _checked(file, expected)
    return file
