"""gcbench: the benchmark harness for generative image classifiers."""

__version__ = "0.1.0"
