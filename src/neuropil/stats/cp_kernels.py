"""Compiled updates of factors and small contractions of `cp`; the large products are matrix products there.

Rows of a factor are independent given the others: row i solves min_a a' H_i a / 2 - m_i' a over a >= 0 by coordinate descent from where
it stands, which is hierarchical alternating least squares, row by row, so that a row stays in registers through all its sweeps and
H_i may differ from row to row, as it does where entries are missing.

The kernels release the interpreter's lock. They are exempt from runtime checks of types, which would hide their source from numba.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz"}
UNHEARD = 1e-14


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def descend(factor, products, grams, n_sweeps, patience, floor):
    """Coordinate descent of every row of `factor`, in place.

    `products` (row, rank) holds m, `grams` (row or 1, rank * (rank + 1) / 2) the lower triangles of H. A row ends after `n_sweeps`, or
    when a sweep moves it by less than `patience` times its first.
    """
    n_rows, rank = factor.shape
    gram = np.empty((rank, rank))
    # a component that all but vanishes where a row was observed has nothing to say about it
    least = 0.0
    for i in range(len(grams)):
        place = -1
        for r in range(rank):
            place += r + 1
            least = max(least, UNHEARD * grams[i, place])
    for i in range(n_rows):
        if i == 0 or len(grams) > 1:
            place = 0
            for r in range(rank):
                for s in range(r + 1):
                    gram[r, s] = grams[i, place]
                    gram[s, r] = grams[i, place]
                    place += 1
        first = 0.0
        for sweep in range(n_sweeps):
            moved = 0.0
            for r in range(rank):
                if gram[r, r] <= least:
                    continue
                slope = products[i, r]
                for s in range(rank):
                    slope -= gram[r, s] * factor[i, s]
                value = max(floor, factor[i, r] + slope / gram[r, r])
                moved += (value - factor[i, r]) ** 2
                factor[i, r] = value
            if sweep == 0:
                first = moved
            if moved <= patience * patience * first:
                break


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def contract_rest(partial, columns, out):
    """`out[i, r]` = sum over k of partial[i, k, r] columns[k, r]; axes of length 1 of either are repeated."""
    n, n_rest, rank = partial.shape
    for i in range(n):
        for r in range(rank):
            out[i, r] = 0.0
        for k in range(n_rest):
            for r in range(rank):
                out[i, r] += partial[i, k, r] * columns[k, r]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def contract_first(partial, rows, out):
    """`out[k, r]` = sum over i of partial[i, k, r] rows[i, r]."""
    n, n_rest, rank = partial.shape
    out[:] = 0.0
    for i in range(n):
        for k in range(n_rest):
            for r in range(rank):
                out[k, r] += partial[i, k, r] * rows[i, r]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def quadratic(factor, grams):
    """Sum over rows of a' H a."""
    total = 0.0
    for i in range(len(factor)):
        g = i if len(grams) > 1 else 0
        place = 0
        for r in range(factor.shape[1]):
            for s in range(r):
                total += 2.0 * grams[g, place] * factor[i, r] * factor[i, s]
                place += 1
            total += grams[g, place] * factor[i, r] * factor[i, r]
            place += 1
    return total


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def squares(factor):
    """Products of the columns of every row, lower triangle: (row, rank * (rank + 1) / 2)."""
    n, rank = factor.shape
    out = np.empty((n, rank * (rank + 1) // 2))
    for i in range(n):
        place = 0
        for r in range(rank):
            for s in range(r + 1):
                out[i, place] = factor[i, r] * factor[i, s]
                place += 1
    return out


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def measure(matrix, weights):
    """Weighted sum of squares in double precision, not finite if an entry is not, and the least entry; of length 1 are equal weights."""
    total, low = 0.0, np.inf
    same = weights.size == 1
    for i in range(matrix.shape[0]):
        row = 0.0
        for j in range(matrix.shape[1]):
            value = np.float64(matrix[i, j])
            low = min(low, value)
            row += value * value if same else weights[i, j] * value * value
        total += row
    return total, low
