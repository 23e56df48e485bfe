"""Files that ship with gcbench: weights, embedded data, published and measured results."""

from pathlib import Path

from gcbench import _plugins
from gcbench.errors import GcbenchError


def resource(path: str) -> Path:
    """A shipped file or folder by its path in the repository, in a wheel and in a checkout alike.

    Raises:
        GcbenchError: this installation does not hold it.
    """
    for root in _plugins.__path__:
        found = Path(root, path)
        if found.exists():
            return found
    raise GcbenchError(f"{path} is not part of this installation", hint="reinstall gcbench")
