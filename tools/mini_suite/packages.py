"""Fetches the pinned npm packages that the icons come from."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from gcbench.errors import GcbenchError


@dataclass(frozen=True)
class Pin:
    """One line of ``packages.toml``: an npm package at a version, its tarball's sha256."""

    set: str
    package: str
    version: str
    sha256: str

    @property
    def tarball(self) -> str:
        """The file name that ``npm pack`` gives the package."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


def read_pins(path: Path) -> dict[str, Pin]:
    """The pinned packages by the name of their icon set."""
    with path.open("rb") as file:
        return {name: Pin(set=name, **pin) for name, pin in tomllib.load(file).items()}


def unpack(pin: Pin, cache: Path) -> Path:
    """The unpacked package; its tarball is taken from `cache`, or fetched there by ``npm pack``.

    Raises:
        GcbenchError: npm cannot fetch it, or the tarball is not the pinned one.
    """
    tarball = cache / pin.tarball
    if not tarball.exists():
        command = ["npm", "pack", "--silent", f"{pin.package}@{pin.version}"]
        try:
            subprocess.run(command, cwd=cache, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise GcbenchError(
                "npm was not found", hint=f"install it, or put {pin.tarball} into {cache}"
            ) from None
        except subprocess.CalledProcessError as error:
            raise GcbenchError(f"{' '.join(command)} failed: {error.stderr.strip()}") from None
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != pin.sha256:
        raise GcbenchError(
            f"{tarball} has sha256 {digest[:12]}..., pinned is {pin.sha256[:12]}...",
            hint="delete it, so that it is fetched again",
        )
    folder = cache / tarball.stem
    if not (folder / "package.json").exists():
        with tarfile.open(tarball) as archive:
            archive.extractall(cache / f"{tarball.stem}.part", filter="data")
        (cache / f"{tarball.stem}.part" / "package").rename(folder)
        (cache / f"{tarball.stem}.part").rmdir()
    return folder
