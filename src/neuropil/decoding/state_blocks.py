"""What decoders of states do with trials: read and check them, leave out incomplete bins, hold out whole trials or blocks of time."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from scipy.sparse import issparse

from neuropil.errors import DataError, UsageError

Trials = list[ndarray]
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


def complete_bins(features: Trials, states: Trials) -> tuple[ndarray, ndarray, ndarray]:
    """Features and states of all bins where no feature is missing, and the mask of these bins among all.

    Raises
    ------
    DataError
        If there is none.
    """
    X, Z = np.concatenate(features), np.concatenate(states)
    complete = ~np.isnan(X).any(axis=1)
    if not complete.any():
        worst = int(np.isnan(X).mean(axis=0).argmax())
        raise DataError(
            f"No bin has all features; feature {worst} is missing in {np.isnan(X[:, worst]).mean():.0%} of the bins: leave out features "
            "that often are."
        )
    return X[complete], Z[complete], complete


def is_list(X: Any) -> bool:
    """Whether it has one array a trial."""
    return isinstance(X, list | tuple) and len(X) > 0 and getattr(X[0], "ndim", 0) >= 1


def check_same_trials(X: Any, Z: Any) -> None:
    """Refuse states that do not belong to the bins of their trials."""
    if not is_list(Z) or len(X) != len(Z):
        raise DataError(f"X has {len(X)} trials, Z must have as many arrays.")
    for k, (x, z) in enumerate(zip(X, Z, strict=True)):
        if len(x) != len(z):
            raise DataError(f"Trial {k} has {len(x)} bins in X and {len(z)} in Z: every bin needs its state.")


def check_states(Z: ndarray, n_times: int) -> None:
    """Refuse states that are no finite numbers, one row a bin."""
    if Z.dtype.kind == "c":
        raise DataError("Complex data not supported: give real and imaginary parts of Z as columns.")
    if Z.ndim not in (1, 2) or Z.dtype.kind not in "biuf" or 0 in Z.shape:
        raise DataError(f"Z must be numbers of shape (n_times, d) or (n_times,), got shape {Z.shape}, {Z.dtype}.")
    if len(Z) != n_times:
        raise DataError(f"X has {n_times} bins and Z {len(Z)}: every bin needs its state.")
    if not np.isfinite(Z).all():
        raise DataError("Z has NaN or infinity; leave bins without a state out and pass trials as groups.")


def read_trials(X: Any, groups: Any) -> tuple[ndarray, list[tuple[int, int]]]:
    """All bins, and the bounds of every trial."""
    if issparse(X):
        raise DataError("Sparse data cannot be filtered; give X.toarray().")
    if is_list(X):
        if groups is not None:
            raise UsageError("groups belong to one array; a list has one array a trial already: leave them out.")
        arrays = [np.asarray(trial) for trial in X]
        for k, array in enumerate(arrays):
            if array.ndim != 2 or not len(array) or array.shape[1:] != arrays[0].shape[1:]:
                raise DataError(
                    f"Every trial must have the shape (n_times, n_features) with bins and the same features; trial {k} has "
                    f"{array.shape}, trial 0 {arrays[0].shape}."
                )
        ends = np.cumsum([len(array) for array in arrays]).tolist()
        values = np.concatenate(arrays)
        bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    else:
        values = np.asarray(X)
        bounds = [(0, len(values))] if values.ndim else []
    if values.dtype.kind not in "biuf" or values.ndim != 2:
        return values, bounds  # scikit-learn's own sentences say what is wrong
    if np.isinf(values).any():
        row, column = np.argwhere(np.isinf(values))[0]
        raise DataError(f"X has infinity, first in bin {row}, feature {column}; put NaN where a bin is missing.")
    if groups is None:
        return values, bounds
    names = np.asarray(groups)
    if names.shape != (len(values),):
        raise DataError(f"Expected the trial of each of the {len(values)} bins as groups, got shape {names.shape}.")
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]])).tolist()
    if len(np.unique(names)) != len(starts):
        raise DataError(
            "The bins of a trial must follow each other, but a trial of groups comes back after another; sort them."
        )
    return values, list(zip(starts, [*starts[1:], len(values)], strict=True))
