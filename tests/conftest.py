"""What all tests share: the toy plugins, command-line calls, and the shared fixture folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checkout import PLUGINS, ROOT
from click.testing import CliRunner, Result
from hypothesis import settings

from gcbench.bench import Benchmark
from gcbench.method import Runtime
from gcbench.plan import PlannedRun, plan
from gcbench.registry import Registry
from gcbench.store import Run, Store
from gcbench.strategy import EXHAUSTIVE, Strategy

# Tests in several processes share the cores; what they start inherits it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# A property must not fail because the machine is busy.
settings.register_profile("gcbench", deadline=None)
settings.load_profile("gcbench")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty results folder."""
    return Store(tmp_path / "results").create()


@pytest.fixture
def no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own configuration is not read."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry([PLUGINS])


@pytest.fixture
def gcbench() -> Callable[..., Result]:
    """Calls the command line in this process, toy plugins included."""

    def call(*arguments: object) -> Result:
        from gcbench.cli import main

        return CliRunner().invoke(main, ["--plugins", str(PLUGINS), *map(str, arguments)])

    return call


@pytest.fixture
def gcbench_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls the command line in a process of its own, with further environment variables."""

    def call(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gcbench.cli", "--plugins", str(PLUGINS)]
        return subprocess.run(
            [*command, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


@pytest.fixture
def plan_toy(registry: Registry, tmp_path: Path) -> Callable[..., PlannedRun]:
    """Plans the toy method on the toy benchmark, in a store of its own unless one is given."""

    def call(
        folder: str = "store",
        bench: str = "greys",
        trials: int | None = None,
        seed: int = 0,
        subset: str = "full",
        benchmark: Benchmark | None = None,
        strategy: Strategy = EXHAUSTIVE,
        **runtime: str,
    ) -> PlannedRun:
        cls = registry.method("grey-level")
        method = cls(cls.variant_named(None), Runtime(**runtime))
        target = (benchmark or registry.benchmark(bench)).choose(subset)
        store = Store(tmp_path / folder).create()
        return plan([method], [target], store, trials=trials, seed=seed, strategy=strategy)[0]

    return call


@pytest.fixture
def run_grey(registry: Registry, tmp_path: Path) -> Callable[..., Run]:
    """Runs the toy method, all images shrunk to its size, on a benchmark of any label space."""
    from gcbench.engine.run import execute

    class Grey(registry.method("grey-level")):  # type: ignore[misc]
        def preprocess(self, image):
            return super().preprocess(image.resize((4, 4)))

    def call(benchmark: Benchmark, folder: str = "store") -> Run:
        variant = replace(Grey.variants[0], label_space=benchmark.label_space.name)
        store = Store(tmp_path / folder).create()
        (planned,) = plan([Grey(variant, Runtime())], [benchmark], store, trials=None, seed=0)
        execute(planned)
        return planned.run

    return call
