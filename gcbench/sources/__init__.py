"""Where real data come from: folders, archives read in place, tables, and Hugging Face data sets.

Knows no data set by name; the plugins in `benchmarks/` say which files they want.
"""

from gcbench.sources.files import Source, descend, open_source

__all__ = ["Source", "descend", "open_source"]
