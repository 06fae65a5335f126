"""Correlation of rows: one number for every pair of signals, whatever the axes before time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray


def row_correlation(
    first: Real[ndarray, "*batch time"], second: Real[ndarray, "*batch time"]
) -> Float64[ndarray, "*batch"]:
    """Pearson correlation of the last axis of two arrays, row by row.

    Parameters
    ----------
    first, second : ndarray of shape (..., n_times)

    Returns
    -------
    ndarray of shape (...)
        0 where one of the two rows is constant, since a constant predicts nothing.

    Examples
    --------
    >>> import numpy as np
    >>> row_correlation(np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), np.array([[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]]))
    array([1., 0.])
    """
    a = first - first.mean(axis=-1, keepdims=True, dtype=np.float64)
    b = second - second.mean(axis=-1, keepdims=True, dtype=np.float64)
    power = np.asarray(np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1)))
    product = np.asarray((a * b).sum(axis=-1))
    return np.asarray(np.clip(np.divide(product, power, out=np.zeros_like(product), where=power > 0), -1.0, 1.0))
