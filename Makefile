# Each target is one visible command; `make demo` and `make test` need nothing but Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint install results clean

demo: install
	$(BIN)/gcbench run --method randar,randar-raster --bench mini-val --limit-per-class 15 --results results/demo
	$(BIN)/gcbench report --table 1 --suite mini --results results/demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy gcbench baselines benchmarks

# The committed measurements of the embedded suite, and what is made from them (about an hour).
results: install
	$(BIN)/gcbench run --method randar,randar-raster --bench suite:mini --results results/mini
	$(BIN)/gcbench report --all --results results/mini --out results/mini/tables
	$(BIN)/gcbench report --figure accuracy-by-trials --results results/mini --out docs/accuracy-by-trials

install: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv results/demo results/local
