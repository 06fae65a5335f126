"""Sequences of symbols: read from what a user has, and how they behave."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from neuropil.activity import check_same_length, read_activity
from neuropil.errors import DataError


def read_symbols(X: Any) -> Int[ndarray, "sequence time"]:
    """Sequences of symbols from an array (sequence, time) or a list of its rows, one-hot (sequence, time, symbol), a stream or recordings.

    Raises
    ------
    DataError
        If values are no whole numbers from 0, one-hot rows do not have a single one, or sequences differ in length.

    Examples
    --------
    >>> read_symbols(np.eye(3)[[[2, 0], [1, 1]]]).tolist()
    [[2, 0], [1, 1]]
    """
    if isinstance(X, ndarray | Tensor):
        array = np.asarray(X)
        if array.dtype.kind not in "biuf" or array.ndim not in (2, 3) or 0 in array.shape:
            raise DataError(
                "Expected symbols of shape (sequence, time) or one-hot (sequence, time, symbol), none empty, "
                f"got shape {array.shape} of {array.dtype}."
            )
        if array.ndim == 3:
            if not (np.isin(array, (0, 1)).all() and (array.sum(axis=-1) == 1).all()):
                raise DataError(
                    "Expected one-hot symbols: a single 1 at every step, 0 elsewhere; give integers otherwise."
                )
            return array.argmax(axis=-1).astype(np.int64)
    else:
        if isinstance(X, list | tuple) and X and all(np.ndim(part) == 1 and np.size(part) for part in X):
            X = [np.asarray(part)[:, None] for part in X]
        activity = read_activity(X)
        stacked = check_same_length(activity)
        array = stacked[..., activity.names.index("symbol") if "symbol" in activity.names else 0]
        if len(activity.names) > 1 and "symbol" not in activity.names:
            raise DataError(
                f"Expected a stream with one channel of symbols, got {len(activity.names)} channels; give that channel alone."
            )
    finite = np.isfinite(array).all()
    if not finite or (array < 0).any() or (array != np.floor(array)).any():
        raise DataError(
            f"Symbols must be whole numbers from 0, got values from {np.nanmin(array):g} to {np.nanmax(array):g}"
            f"{'' if finite else ', some not finite'}; number them 0, 1, 2 ..."
        )
    if array.shape[1] < 2:
        raise DataError("Sequences of one step have no order to learn; give two steps or more.")
    return array.astype(np.int64)


class SymbolStatistics(NamedTuple):
    """How sequences of symbols behave.

    Attributes
    ----------
    frequencies : ndarray of shape (n_symbols,)
        Share of every symbol.
    transition : ndarray of shape (n_symbols, n_symbols)
        Share of the next symbols after every one; rows of symbols that never occur are zero.
    volatility : float
        Mean number of changes a sequence.
    """

    frequencies: Float[ndarray, " symbol"]
    transition: Float[ndarray, "symbol symbol"]
    volatility: float


def symbol_statistics(symbols: Int[ndarray, "sequence time"], n_symbols: int) -> SymbolStatistics:
    """Frequencies, transitions and changes of symbols.

    Examples
    --------
    >>> statistics = symbol_statistics(np.array([[0, 0, 1, 1], [0, 1, 1, 1]]), 2)
    >>> statistics.transition.round(2).tolist(), statistics.volatility
    ([[0.33, 0.67], [0.0, 1.0]], 1.0)
    """
    pairs = np.bincount((symbols[:, :-1] * n_symbols + symbols[:, 1:]).ravel(), minlength=n_symbols**2)
    counts = pairs.reshape(n_symbols, n_symbols).astype(float)
    changes = (symbols[:, 1:] != symbols[:, :-1]).sum(axis=1)
    frequencies = np.bincount(symbols.ravel(), minlength=n_symbols) / symbols.size
    return SymbolStatistics(
        frequencies, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), float(changes.mean())
    )
