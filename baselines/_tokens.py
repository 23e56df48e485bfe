"""What methods on discrete tokens share."""

from __future__ import annotations

from gcbench.errors import GcbenchError
from gcbench.method import Method


def check_vocabulary(method: Method, predicted: int, codebook: int) -> None:
    """Refuses a network that does not predict the codes of its tokenizer.

    Raises:
        GcbenchError: `predicted` codes are not the `codebook` entries.
    """
    if predicted != codebook:
        raise GcbenchError(
            f"{method.name} ({method.variant.name}): the network predicts {predicted} codes, "
            f"its tokenizer has {codebook}",
            hint="take the tokenizer that the network was trained on",
        )
