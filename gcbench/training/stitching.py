"""Sigma-stitching: a loss of two classes that asks for a margin of one and not for a wider one.

Cross-entropy keeps rewarding wider margins, and a shortcut is the cheapest way to them. Stitching
mirrors the logistic loss at a margin of one, from where a wider margin costs as a narrower one
does. Source: Puli et al. 2023, "Don't blame dataset shift! Shortcut learning due to gradients and
cross entropy", as remembered: neither their text nor their code could be read when this was
written. Their rescaling by class, if there is one, is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sigma_stitching(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of the logistic loss of m, or of 2 - m where the margin m exceeds one.

    Args:
        logits: ``[B, 2]``; f is the second less the first.
        labels: int64 ``[B]``, 0 or 1; the margin is f for 1 and -f for 0.
    """
    margin = (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)  # [B]
    return F.softplus(-torch.minimum(margin, 2 - margin)).mean()
