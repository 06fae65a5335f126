"""Directed connectivity: scores from activity, and how well scores of pairs agree with a known graph, in the right direction.

Matrices have the shape (post, pre): row i is the target, column j the source. A transposed matrix scores almost the same by many
measures, so that direction has a test of its own. Pairs of a unit with itself are left out everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.stats import rankdata

from neuropil.errors import DataError, UsageError


class DirectionTest(NamedTuple):
    """How well scores find edges, and whether they know the edges' direction.

    Attributes
    ----------
    auroc : float
        Of true directed edges among all ordered pairs.
    transposed : float
        The same of the transposed scores.
    difference : float
        First minus second.
    p_value : float
        Chance of a difference as large if every pair's two scores were exchanged at random.
    """

    auroc: float
    transposed: float
    difference: float
    p_value: float


def edge_auroc(scores: Float[ndarray, "post pre"], edges: Bool[ndarray, "post pre"]) -> float:
    """Probability that a true edge scores higher than a pair without one; ties count half.

    Raises
    ------
    DataError
        If there is no edge, or nothing but edges.

    Examples
    --------
    >>> edges = np.array([[False, True], [False, False]])
    >>> edge_auroc(np.array([[0.0, 2.0], [1.0, 0.0]]), edges), edge_auroc(np.array([[0.0, 1.0], [2.0, 0.0]]), edges)
    (1.0, 0.0)
    """
    off = _off_diagonal(scores, edges)
    return _auroc(scores[off], edges[off])


def direction_test(
    scores: Float[ndarray, "post pre"],
    edges: Bool[ndarray, "post pre"],
    *,
    n_permutations: int = 1000,
    random_state: int | Generator | None = None,
) -> DirectionTest:
    """`edge_auroc` of the scores and of their transpose, and a permutation test of the difference.

    Parameters
    ----------
    scores, edges : ndarray of shape (post, pre)
    n_permutations : int, default 1000
    random_state : int, Generator or None

    Examples
    --------
    >>> edges = np.diag(np.ones(9, dtype=bool), 1)
    >>> found = direction_test(edges + 0.0, edges, random_state=0)
    >>> found.auroc, found.p_value < 0.01
    (1.0, True)
    """
    if n_permutations < 1:
        raise UsageError(f"A permutation test needs one permutation or more, got {n_permutations}.")
    off = _off_diagonal(scores, edges)
    rng = default_rng(random_state)
    true = edges[off]

    def difference(values: ndarray) -> tuple[float, float]:
        return _auroc(values[off], true), _auroc(values.T[off], true)

    auroc, transposed = difference(scores)
    exceeding = 0
    for _ in range(n_permutations):
        exchanged = np.triu(rng.random(scores.shape) < 0.5, 1)
        exchanged |= exchanged.T
        one, other = difference(np.where(exchanged, scores.T, scores))
        exceeding += one - other >= auroc - transposed
    return DirectionTest(auroc, transposed, auroc - transposed, (exceeding + 1) / (n_permutations + 1))


def lagged_correlation(activity: Shaped[ndarray, "time unit"], lags: Sequence[int]) -> Float[ndarray, "lag post pre"]:
    """Pearson correlation of every unit with every unit so many bins earlier.

    Parameters
    ----------
    activity : ndarray of shape (n_times, n_units)
    lags : sequence of int
        0 or more; entry (lag, i, j) correlates unit i at time t with unit j at time t - lag.

    Returns
    -------
    ndarray of shape (n_lags, n_units, n_units)
        0 for a unit that never changes.

    Examples
    --------
    >>> source = np.random.default_rng(0).random(1000)
    >>> pair = np.stack([source, np.roll(source, 3)], axis=1)
    >>> lagged_correlation(pair, [3])[0, 1, 0].round(2)
    np.float64(1.0)
    """
    values = np.asarray(activity, dtype=np.float64)
    lags = list(lags)
    if not lags or min(lags) < 0 or max(lags) >= len(values) - 1:
        raise UsageError(f"Lags must lie between 0 and {len(values) - 2} bins, got {lags}.")
    return np.stack([_correlate(values[lag:], values[: len(values) - lag]) for lag in lags])


def communities(weights: Float[ndarray, "post pre"]) -> Int[ndarray, " unit"]:
    """Groups of units that are connected more than their strengths let expect, whatever the direction.

    Newman's spectral method: the leading eigenvector of the modularity matrix divides a group in two, as long as that raises the
    modularity. Communities are numbered from the largest on.

    Parameters
    ----------
    weights : ndarray of shape (post, pre)
        0 or more; the diagonal is left out.

    References
    ----------
    Newman (2006). Modularity and community structure in networks. PNAS 103(23).

    Examples
    --------
    >>> communities(np.kron(np.eye(2), np.ones((3, 3)))).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or not np.isfinite(weights).all() or weights.min() < 0:
        raise DataError(f"Communities need a square matrix of finite weights, 0 or more, got shape {weights.shape}.")
    both = weights + weights.T
    np.fill_diagonal(both, 0.0)
    total = both.sum()
    if not total:
        return np.zeros(len(both), dtype=np.int64)
    strength = both.sum(axis=0)
    modularity = (both - np.outer(strength, strength) / total) / total
    groups, waiting = [], [np.arange(len(both))]
    while waiting:
        group = waiting.pop()
        within = modularity[np.ix_(group, group)]
        within = within - np.diag(within.sum(axis=1))
        side = np.linalg.eigh(within)[1][:, -1] > 0
        sign = np.where(side, 1.0, -1.0)
        if sign @ within @ sign > 1e-9 and side.any() and not side.all():
            waiting += [group[side], group[~side]]
        else:
            groups.append(group)
    groups.sort(key=lambda group: (-len(group), int(group[0])))
    labels = np.zeros(len(both), dtype=np.int64)
    for number, group in enumerate(groups):
        labels[group] = number
    return labels


def _auroc(scores: ndarray, true: ndarray) -> float:
    ranks, n_true = rankdata(scores), int(true.sum())
    return float((ranks[true].sum() - n_true * (n_true + 1) / 2) / (n_true * (len(true) - n_true)))


def _off_diagonal(scores: ndarray, edges: ndarray) -> ndarray:
    off = ~np.eye(len(scores), dtype=bool)
    if not np.isfinite(scores[off]).all():
        raise DataError("Scores of pairs must be finite; replace those that are missing by the mean of the others.")
    if edges[off].all() or not edges[off].any():
        raise DataError("The true graph needs edges, and pairs without one; got all or none.")
    return off


def _correlate(late: ndarray, early: ndarray) -> ndarray:
    late, early = late - late.mean(axis=0), early - early.mean(axis=0)
    size = np.sqrt(np.outer((late**2).sum(axis=0), (early**2).sum(axis=0)))
    return np.divide(late.T @ early, size, out=np.zeros_like(size), where=size > 0)
