"""Finds methods and benchmarks: the plugin folders, entry points, and `--plugins DIR`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from gcbench import _plugins
from gcbench.bench import Benchmark, BenchmarkFamily
from gcbench.errors import GcbenchError, unknown_name
from gcbench.method import Method
from gcbench.resources import resource as resource


class Registry:
    """All plugins that this process can see, by name."""

    def __init__(self, extra: Iterable[Path] = ()):
        self.extra = tuple(extra)
        self.methods: dict[str, type[Method]] = {}
        self.families: list[BenchmarkFamily] = []
        self._origin: dict[str, str] = {}
        for module in _modules(self.extra):
            for cls in _defined_in(module, Method):
                self._claim(f"method {cls.name}", module)
                self.methods[cls.name] = cls
            for family in _defined_in(module, BenchmarkFamily):
                for name in family.names:
                    self._claim(f"benchmark {name}", module)
                self.families.append(family())

    def _claim(self, what: str, module: ModuleType) -> None:
        origin = getattr(module, "__file__", None) or module.__name__
        if what in self._origin:
            raise GcbenchError(
                f"two plugins define {what}: {self._origin[what]} and {origin}",
                hint="rename one of them",
            )
        self._origin[what] = origin

    def method(self, name: str) -> type[Method]:
        """The method of that name. Raises GcbenchError with the nearest name."""
        if name not in self.methods:
            raise unknown_name("method", name, self.methods)
        return self.methods[name]

    @property
    def benchmark_names(self) -> list[str]:
        return [name for family in self.families for name in family.names]

    def benchmark(self, name: str, data_root: Path | None = None) -> Benchmark:
        """The benchmark of that name, loaded. Raises GcbenchError with the nearest name."""
        for family in self.families:
            if family.accepts(name):
                return family.load(name, data_root)
        raise unknown_name("benchmark", name, self.benchmark_names)

    @property
    def training_sets(self) -> list[str]:
        return [name for family in self.families for name in family.training_sets]

    def training(
        self, name: str, data_root: Path | None = None
    ) -> tuple[Benchmark, Benchmark | None]:
        """The training set of that name, see `BenchmarkFamily.load_training`.

        Raises:
            GcbenchError: no such set (the nearest name is suggested), or its data are missing.
        """
        for family in self.families:
            if name in family.training_sets:
                return family.load_training(name, data_root)
        raise unknown_name("training set", name, self.training_sets)


def _modules(extra: Iterable[Path]) -> Iterator[ModuleType]:
    for folder in ("baselines", "benchmarks"):
        stems: set[str] = set()
        for root in _plugins.__path__:
            stems |= {p.stem for p in Path(root, folder).glob("*.py") if p.stem[0] != "_"}
        for stem in sorted(stems):
            yield importlib.import_module(f"gcbench._plugins.{folder}.{stem}")
    for group in ("gcbench.methods", "gcbench.benchmarks"):
        for point in entry_points(group=group):
            loaded = point.load()
            yield loaded if isinstance(loaded, ModuleType) else _module_of(loaded)
    for directory in extra:
        if not directory.is_dir():
            raise GcbenchError(f"--plugins {directory}: no such folder")
        for file in sorted(directory.glob("*.py")):
            yield _module_from_file(file)


def _module_of(loaded: Any) -> ModuleType:
    return importlib.import_module(loaded.__module__)


def _module_from_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gcbench_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise GcbenchError(f"{file} cannot be imported as a plugin")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _defined_in(module: ModuleType, base: Any) -> list[Any]:
    return [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
