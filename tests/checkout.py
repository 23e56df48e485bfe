"""Where things are in this checkout, and beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = ROOT / "tests" / "plugins"
MANIFESTS = ROOT / "tests" / "manifests"
# Numbers from the official implementations; not every checkout has them.
GOLDEN = ROOT.parent / "shared" / "golden"
