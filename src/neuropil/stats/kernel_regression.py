r"""Nadaraya-Watson regression: averages of what was seen nearby, with a bandwidth chosen by leaving one out.

.. math:: \hat y(x) = \sum_i w_i y_i, \quad w_i \propto \exp(-\|x - x_i\|^2 / 2 h^2)

Weights are taken relative to the nearest point, so that an average is defined however far from all data it is asked for.

Nadaraya (1964). On estimating regression. Theory of Probability and its Applications 9(1). Watson (1964). Smooth regression analysis.
Sankhyā A 26(4).
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.stats.kalman_kernels import FAST

GRID = np.geomspace(0.05, 10.0, 20)
NEGLIGIBLE = 40.0  # of an exponent: exp(-40) is lost beside 1 in double precision
N_LEFT_OUT = 2000


class Averaged(NamedTuple):
    r"""Averages, and how many points they rest on.

    Attributes
    ----------
    values : ndarray of shape (n_queries, n_outputs)
    n_effective : ndarray of shape (n_queries,)
        :math:`(\sum_i w_i)^2 / \sum_i w_i^2`: 1 where a single point counts.
    """

    values: Float[ndarray, "query output"]
    n_effective: Float[ndarray, " query"]


def nadaraya_watson(
    X: Float[ndarray, "sample feature"],
    Y: Float[ndarray, "_ output"],
    queries: Float[ndarray, "query _"],
    bandwidth: float,
) -> Averaged:
    """Average `Y` around every query with Gaussian weights of that bandwidth, in the unit of `X`.

    Examples
    --------
    >>> import numpy as np
    >>> X, Y = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])
    >>> nadaraya_watson(X, Y, np.array([[0.5], [1e9]]), 0.1).values[:, 0].tolist()
    [1.0, 2.0]
    """
    X, Y = _check(X, Y)
    if queries.shape[1] != X.shape[1]:
        raise DataError(f"Queries must have the {X.shape[1]} features of the data, got {queries.shape[1]}.")
    if not (0 < bandwidth < np.inf):
        raise UsageError(f"A bandwidth must be positive and finite, got {bandwidth}.")
    values, n_effective = np.empty((len(queries), Y.shape[1])), np.empty(len(queries))
    _average(X, Y, np.ascontiguousarray(queries, dtype=float), bandwidth, values, n_effective)
    return Averaged(values, n_effective)


def leave_one_out_errors(
    X: Float[ndarray, "sample feature"],
    Y: Float[ndarray, "sample output"],
    bandwidths: Float[ndarray, " bandwidth"],
) -> Float[ndarray, " bandwidth"]:
    """Mean squared error of every bandwidth when a sample is predicted from all others.

    Of more than 2,000 samples, 2,000 at equal distances are left out in turn; each is predicted from all others.
    """
    X, Y = _check(X, Y)
    if len(X) < 2:
        raise DataError(f"Leaving one out needs two samples or more, got {len(X)}.")
    rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), N_LEFT_OUT)).round().astype(np.int64))
    errors = np.zeros(len(bandwidths))
    _leave_one_out(X, Y, rows, np.ascontiguousarray(bandwidths, dtype=float), errors)
    return errors / (len(rows) * Y.shape[1])


def leave_one_out_bandwidth(X: Float[ndarray, "sample feature"], Y: Float[ndarray, "sample output"]) -> float:
    """The bandwidth with the smallest leave-one-out error: the best of a grid of 20, refined between its neighbours.

    The grid runs from 0.05 to 10 standard deviations of a feature (root mean square over features).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(0, 1, 100)[:, None]
    >>> 0.005 < leave_one_out_bandwidth(X, np.sin(6 * X)) < 0.05
    True
    """
    from scipy.optimize import minimize_scalar

    scale = float(np.sqrt(X.var(axis=0).mean()))
    if not scale > 0:
        raise DataError("A bandwidth needs features that vary, all of them are constant.")
    grid = GRID * scale
    errors = leave_one_out_errors(X, Y, grid)
    k = int(errors.argmin())
    bounds = np.log(grid[max(k - 1, 0)]), np.log(grid[min(k + 1, len(grid) - 1)])
    refined = minimize_scalar(
        lambda logarithm: float(leave_one_out_errors(X, Y, np.exp([logarithm]))[0]),
        bounds=bounds, method="bounded", options={"xatol": 0.02},
    )  # fmt: skip
    return float(np.exp(refined.x)) if refined.fun < errors[k] else float(grid[k])


def _check(X: ndarray, Y: ndarray) -> tuple[ndarray, ndarray]:
    if len(X) != len(Y) or not len(X):
        raise DataError(
            f"Expected one row of outputs for each of one or more rows of features, got {len(Y)} for {len(X)}."
        )
    return np.ascontiguousarray(X, dtype=float), np.ascontiguousarray(Y, dtype=float)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def _distances(X, query, out):
    """Squared distances to all rows of X."""
    for i in range(len(X)):
        square = 0.0
        for j in range(len(query)):
            difference = X[i, j] - query[j]
            square += difference * difference
        out[i] = square


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _weighted(distances, Y, without, bandwidth, out):
    """`out` = weighted average of Y but for row `without`; the effective number of rows."""
    nearest = np.inf
    for i in range(len(distances)):
        if i != without and distances[i] < nearest:
            nearest = distances[i]
    out[:] = 0.0
    total, squares, scale = 0.0, 0.0, 0.5 / (bandwidth * bandwidth)
    for i in range(len(distances)):
        exponent = scale * (distances[i] - nearest)
        if i != without and exponent < NEGLIGIBLE:
            weight = np.exp(-exponent)
            total += weight
            squares += weight * weight
            for j in range(len(out)):
                out[j] += weight * Y[i, j]
    for j in range(len(out)):
        out[j] /= total
    return total * total / squares


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _average(X, Y, queries, bandwidth, values, n_effective):
    distances = np.empty(len(X))
    for q in range(len(queries)):
        _distances(X, queries[q], distances)
        n_effective[q] = _weighted(distances, Y, -1, bandwidth, values[q])


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _leave_one_out(X, Y, rows, bandwidths, errors):
    distances, predicted = np.empty(len(X)), np.empty(Y.shape[1])
    for row in rows:
        _distances(X, X[row], distances)
        for b in range(len(bandwidths)):
            _weighted(distances, Y, row, bandwidths[b], predicted)
            for j in range(len(predicted)):
                errors[b] += (predicted[j] - Y[row, j]) ** 2
