"""Where the plugin folders and shipped data are found, in a wheel and in a checkout alike.

A wheel carries `baselines/`, `benchmarks/` and `results/` inside this package. In a checkout they
stand beside `gcbench/`, so the repository root joins the search path; the same import
(`gcbench._plugins.baselines.randar`) and the same resource name then work in both.
"""

from pathlib import Path

_checkout = Path(__file__).resolve().parents[2]
if (_checkout / "baselines").is_dir() and (_checkout / "pyproject.toml").is_file():
    __path__ = [*__path__, str(_checkout)]
