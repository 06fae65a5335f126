"""Bins to hold out of the training data of a state decoder: whole trials, or blocks of time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

N_BLOCKS, LEAST_BLOCK, FEWEST_TRIALS = 40, 10, 5


def held_out(lengths: list[int], fraction: float, rng: np.random.RandomState) -> Bool[ndarray, " bin"]:
    """Bins that f is not fitted on: whole trials where there are five or more, otherwise blocks of 1/40 of all bins.

    Parameters
    ----------
    lengths : list of int
        Bins of every trial.
    fraction : float
        Part of the bins to hold out, at least.
    rng : RandomState

    Examples
    --------
    >>> held_out([400], 0.3, np.random.RandomState(0)).reshape(40, 10).all(axis=1).sum()
    np.int64(12)
    """
    total = sum(lengths)
    if len(lengths) >= FEWEST_TRIALS:
        pieces = list(lengths)
    else:
        size = max(-(-total // N_BLOCKS), min(LEAST_BLOCK, max(1, total // 5)))
        pieces = [min(size, n - start) for n in lengths for start in range(0, n, size)]
    ends = np.cumsum(pieces)
    mask = np.zeros(total, dtype=np.bool_)
    for k in rng.permutation(len(pieces)):
        if mask.sum() >= fraction * total - 1e-9:
            break
        mask[ends[k] - pieces[k] : ends[k]] = True
    return mask
