"""The architecture, held: data flows one way, and listing stays light."""

import ast
import subprocess
import sys

import pytest
from checkout import PLUGINS, ROOT

# Each module may import only from lower ranks (or its own package): the one-way data flow.
RANKS = {
    "errors": 0,
    "options": 1,
    "_plugins": 0,
    "streams": 1,
    "diffusion": 1,
    "frechet": 1,
    "resources": 1,
    "images": 1,
    "pairs": 1,
    "sources": 1,
    "corruptions": 2,
    "preprocess": 1,
    "nets": 1,
    "scores": 1,
    "stages": 1,
    "metrics": 1,
    "confidence": 2,
    "stats": 1,
    "strategy": 2,
    "bench": 2,
    "checkpoint": 2,
    "tokenizers": 3,
    "features": 3,
    "method": 3,
    "orders": 4,
    "published": 4,
    "store": 4,
    "scales": 4,
    "sequential": 4,
    "tokens": 1,
    "analysis": 5,
    "registry": 5,
    "plan": 5,
    "paths": 6,
    "provenance": 5,
    "engine": 6,
    "report": 6,
    "parity": 7,
    "training": 7,
    "fetch": 6,
    "data_status": 7,
    "progress": 6,
    "submit": 6,
    "speed": 7,
    "robustness": 7,
    "executors": 7,
    "session": 8,
    "status": 7,
    "site": 8,
    "cli_results": 9,
    "cli": 10,
}
HEAVY = ("torch", "numpy", "pandas", "pyarrow", "matplotlib", "PIL", "scipy", "diffusers", "timm")


def modules():
    return sorted((ROOT / "gcbench").rglob("*.py"))


def area(file):
    return file.relative_to(ROOT / "gcbench").parts[0].removesuffix(".py")


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gcbench"):
            names = [node.module] if node.module != "gcbench" else []
            yield from names or [f"gcbench.{a.name}" for a in node.names if a.name != "__version__"]
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("gcbench"))


@pytest.mark.parametrize("file", modules(), ids=lambda f: str(f.relative_to(ROOT)))
def test_data_flows_one_way(file):
    own = area(file)
    if own == "__init__":
        return
    assert own in RANKS, f"give gcbench/{own} its place in the flow"
    for name in imports(file):
        other = name.split(".")[1]
        assert other == own or RANKS[other] < RANKS[own], f"{file.name} imports {name}"


@pytest.mark.parametrize("folder", ["baselines", "benchmarks"])
def test_plugins_know_the_protocols_and_not_the_engine(folder):
    for file in (ROOT / folder).glob("*.py"):
        for name in imports(file):
            assert RANKS[name.split(".")[1]] <= 4, f"{file} imports {name}"


def test_the_harness_knows_no_method_and_no_dataset_by_name(registry):
    plugin_names = {*registry.methods, *registry.benchmark_names} - {"greys", "grey-level"}
    core = ("bench", "method", "plan", "engine", "scores", "store", "registry", "session", "cli")
    for file in modules():
        if area(file) in core:
            strings = {
                node.value
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            assert not strings & plugin_names, file


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["run", "--help"], ["compare", "--help"]]
)
def test_help_and_list_import_nothing_heavy(arguments):
    code = (
        "import sys; from gcbench.cli import main\n"
        f"try: main({arguments!r}, prog_name='gcbench')\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        f"print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_a_plugin_folder_adds_its_methods_and_benchmarks(registry):
    assert PLUGINS.is_dir()
    assert "grey-level" in registry.methods
    assert "greys" in registry.benchmark_names
