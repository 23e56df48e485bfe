"""The one exception for a user's mistake, and the nearest-name suggestion that goes with it."""

from collections.abc import Iterable
from difflib import get_close_matches

USER_ERROR = 2
PARTIAL_RESULT = 3


class GcbenchError(Exception):
    """A mistake that a person can mend: shown as one line and a hint, never as a traceback.

    `message` says what was got and what was expected; `hint` says what to do next.
    """

    def __init__(self, message: str, *, hint: str | None = None, exit_code: int = USER_ERROR):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def unknown_name(kind: str, got: str, choices: Iterable[str]) -> GcbenchError:
    """The error for a name that is not among `choices`: lists them and suggests the nearest."""
    known = sorted(choices)
    near = get_close_matches(got, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return GcbenchError(
        f"unknown {kind} {got!r}", hint=f"{hint}known: {', '.join(known) or 'none'}"
    )
