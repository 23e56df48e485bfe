"""Brings what does not ship: data sets, and published weights from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gcbench.checkpoint import Hub, sha256_of
from gcbench.errors import GcbenchError, unknown_name
from gcbench.registry import Registry

Echo = Callable[[str], object]


def fetch(
    registry: Registry,
    name: str,
    *,
    source: Path | None = None,
    data_root: Path | None = None,
    echo: Echo = print,
) -> None:
    """Brings a data set below `data_root` (`data` if None), or the weights of METHOD[:VARIANT].

    Raises:
        GcbenchError: nothing of that name, no access, no network, or a file that is not what its
            card says.
    """
    for family in registry.families:
        if name in family.data_sets:
            echo(f"{name}: {family.data_sets[name]}")
            echo(str(family.fetch(name, data_root or Path("data"), source, echo)))
            return
    method, _, variant = name.partition(":")
    if method not in registry.methods:
        known = [n for family in registry.families for n in family.data_sets]
        raise unknown_name("data set or method", name, [*known, *registry.methods])
    chosen = registry.method(method).variant_named(variant or None)
    wanted = [c for c in chosen.checkpoints.values() if isinstance(c, Hub)]
    if not wanted:
        echo(f"{method}:{chosen.name} needs nothing: its weights ship with gcbench")
    for checkpoint in wanted:
        echo(str(download(checkpoint, echo)))


def download(checkpoint: Hub, echo: Echo) -> Path:
    """A hub file, its size announced first, resumed when it was cut, its sha256 checked.

    The hub names the sha256 of every large file, so the check does not depend on the card.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    where = f"{checkpoint.repo}/{checkpoint.file}"
    try:
        url = hf_hub_url(checkpoint.repo, checkpoint.file, revision=checkpoint.revision)
        found = get_hf_file_metadata(url)
        size = f"{found.size / 1e9:.2f} GB" if found.size else "size unknown"
        echo(f"{where}: {size}, licence {checkpoint.licence}")
        file = Path(hf_hub_download(checkpoint.repo, checkpoint.file, revision=checkpoint.revision))
    except GatedRepoError as error:
        raise GcbenchError(
            f"{checkpoint.repo} is gated",
            hint=f"accept its terms at huggingface.co/{checkpoint.repo}, then `hf auth login`",
        ) from error
    except RepositoryNotFoundError as error:
        raise GcbenchError(
            f"{where} does not exist or is private", hint=checkpoint.note or "check its page"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GcbenchError(
            f"{where} could not be fetched ({reason[:200]})",
            hint="run the same command again: a partial download is resumed",
        ) from error
    expected = checkpoint.sha256 or (found.etag if found.etag and len(found.etag) == 64 else None)
    if expected and (got := sha256_of(file)) != expected:
        raise GcbenchError(
            f"{where} has sha256 {got}, expected {expected}",
            hint=f"delete {file} and fetch it again",
        )
    return file
