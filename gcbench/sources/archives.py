"""Tar and zip archives as sources: indexed once, members read by their offset, nothing unpacked."""

from __future__ import annotations

import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from gcbench.errors import GcbenchError
from gcbench.sources.files import Source, hidden

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, struct.error, NotImplementedError)
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature ... length of name, length of extra field


@dataclass(frozen=True)
class Member:
    """Where a file's bytes lie in its archive.

    `offset` is that of the bytes in a tar, and of the local header before them in a zip.
    """

    offset: int
    size: int
    stored_size: int
    deflated: bool = False
    crc: int | None = None


Tree = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]  # folder -> its folders, its files


@dataclass(frozen=True)
class Archive(Source):
    """A tar or zip. `members` by path and `tree` by folder are its index."""

    location: Path
    members: Mapping[str, Member]
    tree: Tree

    def has_folder(self, path: str) -> bool:
        return path in self.tree

    def folders(self, under: str = "") -> list[str]:
        return list(self._below(under)[0])

    def files(self, under: str = "") -> dict[str, int]:
        prefix = f"{under}/" if under else ""
        return {name: self.members[prefix + name].size for name in self._below(under)[1]}

    def size(self, path: str) -> int | None:
        member = self.members.get(path)
        return None if member is None else member.size

    def read(self, path: str) -> bytes:
        if path not in self.members:
            raise FileNotFoundError(f"{self.shown(path)} does not exist")
        member = self.members[path]
        with self.location.open("rb") as file:
            file.seek(member.offset)
            if member.crc is not None:
                self._skip_local_header(file, path)
            data = file.read(member.stored_size)
        if member.deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
            except zlib.error as error:
                raise OSError(f"{self.shown(path)} is damaged: {error}") from error
        if len(data) != member.size or member.crc not in (None, zlib.crc32(data)):
            raise OSError(f"{self.shown(path)} is damaged: its size or checksum is wrong")
        return data

    def _skip_local_header(self, file: BinaryIO, path: str) -> None:
        header = file.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise OSError(f"{self.shown(path)} is damaged: its header is not where it should be")
        _, name, extra = LOCAL_HEADER.unpack(header)
        file.seek(name + extra, os.SEEK_CUR)

    def _below(self, folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if folder not in self.tree:
            raise GcbenchError(f"{self.location} holds no folder {folder!r}")
        return self.tree[folder]


def open_archive(location: Path) -> Archive:
    """The archive at a path, recognised by its content.

    Its index is kept in memory for as long as the file stays as it is.

    Raises:
        GcbenchError: it is no tar or zip, is compressed as a whole or damaged, or has a member
            that is a link or points outside of it.
    """
    found = location.stat()
    return _indexed(location, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _indexed(location: Path, size: int, mtime_ns: int) -> Archive:
    with location.open("rb") as file:
        start = file.read(6)
    for magic, name in COMPRESSED.items():
        if start.startswith(magic):
            raise GcbenchError(
                f"{location} is compressed as a whole ({name}): members cannot be read in place",
                hint="decompress it to a plain .tar, or unpack it into a folder",
            )
    try:
        index = _zip_members if zipfile.is_zipfile(location) else _tar_members
        found = dict(index(location))
    except (*DAMAGE, OSError, ValueError, EOFError) as error:
        raise GcbenchError(
            f"{location} cannot be read as a tar or zip ({error})",
            hint="the file is incomplete or of another kind: fetch it again",
        ) from error
    seen = {p: m for p, m in found.items() if p and not any(map(hidden, p.split("/")))}
    members = {p: m for p, m in seen.items() if m is not None}
    return Archive(location, members, _tree(seen, members))


def _tar_members(location: Path) -> Iterator[tuple[str, Member | None]]:
    with tarfile.open(location, "r:") as archive:
        for info in archive:
            path = _safe(location, info.name)
            if info.isreg() and not info.issparse():
                yield path, Member(info.offset_data, info.size, info.size)
            elif info.isdir():
                yield path, None
            else:
                kind = "a link" if info.islnk() or info.issym() else "no plain file"
                raise _unsafe(location, info.name, kind)


def _zip_members(location: Path) -> Iterator[tuple[str, Member | None]]:
    with zipfile.ZipFile(location) as archive:
        for info in archive.infolist():
            path = _safe(location, info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _unsafe(location, info.filename, "a link")
            if info.is_dir():
                yield path, None
                continue
            if info.flag_bits & 1 or info.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise GcbenchError(
                    f"{location}: member {info.filename!r} is encrypted or compressed in an "
                    "unusual way",
                    hint="pack the zip again with deflate or without compression",
                )
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            sizes = (info.file_size, info.compress_size)
            yield path, Member(info.header_offset, *sizes, deflated, info.CRC)


def _safe(location: Path, name: str) -> str:
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name):
        raise _unsafe(location, name, "an absolute path")
    if ".." in parts:
        raise _unsafe(location, name, "a path that leads out of the archive")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _unsafe(location: Path, name: str, what: str) -> GcbenchError:
    return GcbenchError(
        f"{location}: member {name!r} is {what}",
        hint="gcbench does not read such archives: unpack it with care and give the folder",
    )


def _tree(paths: Iterable[str], members: Mapping[str, Member]) -> Tree:
    folders: dict[str, set[str]] = defaultdict(set, {"": set()})
    files: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        parts = path.split("/")
        above = ["/".join(parts[:depth]) for depth in range(len(parts))]
        for folder, name in zip(above[:-1], parts[:-1], strict=True):
            folders[folder].add(name)
        if path in members:
            files[above[-1]].append(parts[-1])
        else:
            folders[above[-1]].add(parts[-1])
            files[path] += []
    every = {*folders, *files}
    return {f: (tuple(sorted(folders[f])), tuple(sorted(files[f]))) for f in every}
