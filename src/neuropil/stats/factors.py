"""Factors compared: columns matched between two solutions, how stable they are over starts, and how many there should be.

Factors have neither order nor scale, so that solutions can be compared only after their columns were matched one to one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from neuropil.errors import DataError, UsageError

Factors = Sequence[Float[ndarray, "_ _"]]


def cosines(a: Float[ndarray, "row first"], b: Float[ndarray, "row second"]) -> Float[ndarray, "first second"]:
    """Cosines between the columns of two matrices; 0 with a column of zeros.

    Examples
    --------
    >>> cosines(np.eye(2), np.array([[1.0], [1.0]])).round(3).ravel().tolist()
    [0.707, 0.707]
    """
    if len(a) != len(b):
        raise DataError(f"Factors to be compared must have the same rows, got {len(a)} and {len(b)}.")
    norms = np.linalg.norm(a, axis=0)[:, None] * np.linalg.norm(b, axis=0)
    return (a.T @ b) / np.where(norms > 0, norms, 1.0)


def match_factors(
    a: Float[ndarray, "row first"], b: Float[ndarray, "row second"]
) -> tuple[Int[ndarray, " first"], Float[ndarray, " first"]]:
    """Match the columns of `b` to those of `a`, one to one, so that the sum of absolute cosines is largest.

    Parameters
    ----------
    a, b : ndarray of shape (n_rows, n_factors)
        `b` must have as many columns as `a` or more.

    Returns
    -------
    order : ndarray of int, shape (n_factors of a,)
        ``b[:, order]`` stands in the order of `a`.
    cosine : ndarray of shape (n_factors of a,)
        Cosine of every match, with its sign.

    Examples
    --------
    >>> order, cosine = match_factors(np.eye(3), 2 * np.eye(3)[:, [2, 0, 1]])
    >>> order.tolist(), cosine.tolist()
    ([1, 2, 0], [1.0, 1.0, 1.0])
    """
    return _matched(cosines(a, b))


def match_components(a: Factors, b: Factors) -> tuple[Int[ndarray, " _"], Float[ndarray, " _"]]:
    """The same for components of tensors, one matrix a mode: what is matched is the product of the cosines of all modes."""
    if len(a) != len(b) or not len(a):
        raise DataError(f"Components to be compared must have the same modes, got {len(a)} and {len(b)}.")
    found = cosines(a[0], b[0])
    for first, second in zip(a[1:], b[1:], strict=True):
        found = found * cosines(first, second)
    return _matched(found)


def _matched(similarity: ndarray) -> tuple[ndarray, ndarray]:
    n_first, n_second = similarity.shape
    if n_second < n_first:
        raise UsageError(f"{n_first} factors cannot be matched one to one with {n_second}; give the larger set second.")
    rows, order = linear_sum_assignment(-np.abs(similarity))
    return order.astype(np.int64), similarity[rows, order]


def stability(solutions: Sequence[Factors], best: int = 0) -> Float[ndarray, " _"]:
    """How well every component of the best solution is found again from other starts: its mean product of cosines over all modes.

    Parameters
    ----------
    solutions : sequence of factors
        Of several starts, each one matrix (row, component) a mode; two or more.
    best : int
        Number of the solution whose components are looked for.

    Returns
    -------
    ndarray of shape (n_components,)
        1 where every start finds the component.
    """
    others = [solution for k, solution in enumerate(solutions) if k != best % max(1, len(solutions))]
    if not others:
        raise UsageError("Stability needs two starts or more; ask for more.")
    return np.mean([match_components(solutions[best], other)[1] for other in others], axis=0)


def choose_rank(
    ranks: Sequence[int], errors: Sequence[float], stabilities: Sequence[float], threshold: float = 0.8
) -> int:
    """The rank at which the error bends, or the largest below it whose components are stable.

    The bend is the rank farthest below the straight line from the first to the last error. Of the ranks up to the bend, the largest whose
    stability reaches `threshold` is taken, the most stable of them if none does.

    Parameters
    ----------
    ranks : sequence of int
        Rising.
    errors : sequence of float
        Of the best start at every rank.
    stabilities : sequence of float
        Of the least stable, or the mean, component at every rank.
    threshold : float, default 0.8

    Examples
    --------
    >>> choose_rank([1, 2, 3, 4, 5], [0.9, 0.5, 0.2, 0.18, 0.17], [1, 1, 0.95, 0.6, 0.3])
    3
    """
    x, y, z = np.asarray(ranks, dtype=float), np.asarray(errors, dtype=float), np.asarray(stabilities, dtype=float)
    if not len(x) == len(y) == len(z) or not len(x) or (np.diff(x) <= 0).any():
        raise UsageError("Give one error and one stability for each of the ranks, which must rise.")
    chord = y[0] + (y[-1] - y[0]) * (x - x[0]) / max(x[-1] - x[0], 1.0)
    bend = int(np.argmax(chord - y))
    stable = np.flatnonzero(z[: bend + 1] >= threshold)
    return int(x[stable[-1]] if len(stable) else x[int(np.argmax(z[: bend + 1]))])
