"""The fixed schedule of Li et al. 2023: so many classes go on after so many trials. Pure numpy.

Source: diffusion-classifier/diffusion-classifier ``eval_prob_adaptive.py``. Each stage spreads its
trials evenly over all K (there: timesteps), reuses those that earlier stages evaluated, and keeps
the classes with the highest means over all trials so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spread_timesteps(count: int, timesteps: int) -> list[int]:
    """`count` of `timesteps` diffusion steps at equal distances, in the middle of their intervals.

    These are the trials of a schedule whose last stage has `count` of them.
    """
    step = timesteps // count
    return list(range(step // 2, timesteps, step))[:count]


def new_trials(counts: Sequence[int], trials: int) -> list[list[int]]:
    """Per stage the indices of the K trials that it adds.

    Args:
        counts: trials at the end of each stage, growing.
        trials: K, of which stages take evenly spread ones.
    """
    stages: list[list[int]] = []
    seen: set[int] = set()
    for count in counts:
        chosen = spread_timesteps(count, trials)
        stages.append([k for k in chosen if k not in seen])
        seen.update(chosen)
    return stages


def best(values: NDArray[np.floating], alive: NDArray[np.bool_], keep: int) -> NDArray[np.bool_]:
    """The `keep` living classes with the highest means over the trials so far, [B, C].

    Args:
        values: scores [B, k, C] of those trials; those of dropped classes are not read.
        alive: [B, C].
    """
    means = np.asarray(np.where(alive[:, None], values, 0.0), np.float64).mean(axis=1)  # [B, C]
    order = np.where(alive, -means, np.inf).argsort(axis=1, kind="stable")
    kept = np.zeros_like(alive)
    np.put_along_axis(kept, order[:, :keep], True, axis=1)
    return kept & alive
