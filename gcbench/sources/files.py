"""Files by relative path, whatever holds them: a folder, a tar or a zip."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gcbench.errors import GcbenchError

# Those of torchvision's ImageFolder.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MAX_DESCENT = 4


class Source(ABC):
    """A tree of files. Paths are relative and use "/"; the root is the empty path.

    Hidden files and folders, and what macOS adds to archives, are left out. Sources hold no open
    files, so they can be shared by threads and sent to other processes.
    """

    location: Path

    @abstractmethod
    def has_folder(self, path: str) -> bool:
        """Whether there is such a folder."""

    @abstractmethod
    def folders(self, under: str = "") -> list[str]:
        """Names of the folders directly below a folder, sorted."""

    @abstractmethod
    def files(self, under: str = "") -> dict[str, int]:
        """Names of the files directly below a folder, sorted, with their sizes in bytes."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """A file's size in bytes; None when there is no such file."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """A file's content. Raises OSError, naming the file, when it cannot be read."""

    def shown(self, path: str) -> str:
        """The file's full name for people."""
        return f"{self.location}/{path}" if path else str(self.location)

    def images(self, under: str = "") -> dict[str, int]:
        """Those of `files` whose names end as images do."""
        found = self.files(under)
        return {n: s for n, s in found.items() if n.lower().endswith(IMAGE_SUFFIXES)}


@dataclass(frozen=True)
class Folder(Source):
    """A folder on disk. Symbolic links are followed: data sets are often linked together."""

    location: Path

    def has_folder(self, path: str) -> bool:
        return (self.location / path).is_dir()

    def folders(self, under: str = "") -> list[str]:
        return sorted(e.name for e in self._entries(under) if e.is_dir())

    def files(self, under: str = "") -> dict[str, int]:
        entries = sorted(self._entries(under), key=lambda e: e.name)
        return {e.name: _size(e) for e in entries if not e.is_dir()}

    def size(self, path: str) -> int | None:
        try:
            return (self.location / path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str) -> bytes:
        return (self.location / path).read_bytes()

    def _entries(self, under: str) -> list[os.DirEntry[str]]:
        folder = self.location / under
        try:
            with os.scandir(folder) as entries:
                return [e for e in entries if not hidden(e.name)]
        except OSError as error:
            raise GcbenchError(
                f"{folder} cannot be listed ({error.strerror})",
                hint="check that it is a folder that you may read",
            ) from error


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        # A broken link stays in the list: reading it fails and says so, leaving it out would not.
        return 0


def hidden(name: str) -> bool:
    """Whether a name is no part of a data set: dot files, and macOS's folder of them."""
    return name.startswith(".") or name == "__MACOSX"


def open_source(location: Path) -> Source:
    """The source at a path: a folder, or a tar or zip that is indexed once and read in place.

    Raises:
        GcbenchError: there is nothing, or it is a file of another kind, damaged or unsafe.
    """
    if location.is_dir():
        return Folder(location)
    if not location.is_file():
        raise GcbenchError(f"{location} does not exist", hint="check the path")
    from gcbench.sources.archives import open_archive

    return open_archive(location)


def descend(source: Source, holds: Callable[[Source, str], bool]) -> str | None:
    """The outermost folder that `holds` accepts, going down where there is only one way.

    Archives often wrap their content in a folder or two. None when no such folder is met.
    """
    path = ""
    for _ in range(MAX_DESCENT):
        if holds(source, path):
            return path
        below = source.folders(path)
        if len(below) != 1:
            return None
        path = joined(path, below[0])
    return None


def joined(folder: str, name: str) -> str:
    """The path of a name below a folder."""
    return f"{folder}/{name}" if folder else name
