r"""Mixtures with an unknown number of components, and what partitions drawn from them have in common.

A mixture of finite mixtures puts a prior p(k) on the number of components and Dirichlet(:math:`\gamma`) weights on them. A partition of N
items into t clusters of sizes :math:`n_c` then has the probability :math:`V_N(t) \prod_c \gamma^{(n_c)}`, with rising factorials and

.. math:: V_N(t) = \sum_{k \ge t} \frac{k_{(t)}}{(\gamma k)^{(N)}} p(k).

Miller & Harrison (2018). Mixture models with a prior on the number of components. Journal of the American Statistical Association
113(521). Dahl (2006). Model-based clustering for expression data via a Dirichlet process mixture model.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.special import gammaln, logsumexp

from neuropil.errors import UsageError


def log_mixture_coefficients(
    n_items: int, n_clusters: int, *, gamma: float = 1.0, geometric: float = 0.2
) -> Float[ndarray, " cluster"]:
    r"""log V_N(t) for t = 1 .. n_clusters, with p(k) = q (1 - q)^{k - 1}.

    Parameters
    ----------
    n_items : int
        N; 0 is the limit in which V_0(t) = sum of k_(t) p(k).
    n_clusters : int
        Largest t.
    gamma : float
        Dirichlet weight.
    geometric : float in (0, 1)
        q.

    Examples
    --------
    >>> bool(np.isclose(log_mixture_coefficients(1, 1)[0], 0.0))  # one item is one cluster, for certain
    True
    """
    if n_items < 0 or n_clusters < 1 or not gamma > 0 or not 0 < geometric < 1:
        raise UsageError(
            "Expected 0 items or more, one cluster or more, gamma > 0 and 0 < geometric < 1, got "
            f"{n_items}, {n_clusters}, {gamma:g} and {geometric:g}."
        )
    # Terms fall at least as fast as (1 - q)^k times k^t: summed until e^-60 of what there is is left.
    n_terms = int(np.ceil((60 + 3 * n_clusters * np.log(10 + n_clusters / geometric)) / -np.log1p(-geometric)))
    k = np.arange(1, n_clusters + n_terms + 1)[:, None]
    t = np.arange(1, n_clusters + 1)
    falling = np.where(k >= t, gammaln(k + 1) - gammaln(np.maximum(k - t, 0) + 1), -np.inf)
    rising = gammaln(gamma * k + n_items) - gammaln(gamma * k)
    prior = np.log(geometric) + (k - 1) * np.log1p(-geometric)
    return np.asarray(logsumexp(falling - rising + prior, axis=0))


def co_clustering(labels: Int[ndarray, "draw item"]) -> Float[ndarray, "item item"]:
    """How often two items had the same label.

    Examples
    --------
    >>> co_clustering(np.array([[0, 0, 1], [1, 0, 0]])).tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]]
    """
    n_draws, n_items = labels.shape
    if not n_draws:
        raise UsageError("Expected one draw of labels or more, got none.")
    together = np.zeros((n_items, n_items))
    for label in np.unique(labels):
        member = (labels == label).astype(np.float64)
        together += member.T @ member
    return together / n_draws


def least_squares_partition(labels: Int[ndarray, "draw item"]) -> int:
    """Index of the drawn partition that is nearest to `co_clustering(labels)` in squares.

    Examples
    --------
    >>> least_squares_partition(np.array([[0, 1, 1], [0, 0, 1], [1, 1, 0]]))
    1
    """
    mean = co_clustering(labels)
    partitions, first = np.unique(np.stack([first_occurrence(row) for row in labels]), axis=0, return_index=True)
    losses = [np.sum(((row[:, None] == row) - mean) ** 2) for row in partitions]
    return int(first[int(np.argmin(losses))])


def first_occurrence(labels: Int[ndarray, " item"]) -> Int[ndarray, " item"]:
    """Labels renamed 0, 1, ... in the order in which they first occur, so that equal partitions look equal.

    Examples
    --------
    >>> first_occurrence(np.array([7, 7, 2, 7])).tolist()
    [0, 0, 1, 0]
    """
    _, index, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(index), dtype=np.int64)
    rank[np.argsort(index)] = np.arange(len(index))
    return rank[inverse]
