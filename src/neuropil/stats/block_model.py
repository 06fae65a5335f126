r"""Groups of nodes of a weighted graph, and how many there are, by the evidence for them.

Nodes i and j in groups r and s are connected with a probability, and their connections have weights with a mean, that only r and s
decide (a stochastic block model). Both are integrated out: with m pairs of nodes between r and s, e edges and the sum of weights w,

.. math::
   \log L_{rs} = \log B(1 + e, 1 + m - e) + \log \frac{b\, e!}{(b + w)^{1 + e}}, \qquad
   \log p(z) = -\log \binom{N - 1}{B - 1} - \log \frac{N!}{\prod_r n_r!} - \log N,

for exponential weights whose rate has a gamma prior of shape 1 and mean 1/b, b being the mean weight. The sum over pairs of groups,
with the prior, is a log joint probability that may be compared between numbers of groups B; its negative is the description length in
nats. Groups need not be denser inside than outside: any pattern of weights makes them, and none makes one group. A pair of nodes that
was never measured is left out of m, which is not the same as a pair without an edge. Parts of a graph that hang together nowhere are legal.

With degree correction the first factor becomes that of a random multigraph with given degrees (Peixoto), its prior uniform; nested, the
counts of edges between groups are described by groups of groups, and so on up to one.

The search starts from k-means on leading eigenvectors, for several numbers of groups; it moves nodes one by one and merges groups down to
one, keeps the best partition on the way, and the best of all starts: from random groups it gets stuck. A sweep over the nodes takes a time
that grows with n_nodes (n_nodes + n_groups^2).

Aicher, Jacobs & Clauset (2015). Learning latent block structure in weighted networks. Journal of Complex Networks 3(2).
Peixoto (2018). Nonparametric weighted stochastic block models. Physical Review E 97. Peixoto (2017). Nonparametric Bayesian inference of
the microcanonical stochastic block model. Physical Review E 95. Peixoto (2014). Hierarchical block structures and high-resolution model
selection in large networks. Physical Review X 4.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.linalg import eigh
from scipy.special import gammaln

from neuropil.errors import DataError, UsageError
from neuropil.stats import block_model_kernels as kernels

WEIGHTS = ("exponential", "binary")
STARTS = (1, 2, 3, 4, 6, 8, 12, 20)
N_SWEEPS = 100


class BlockModel(NamedTuple):
    """A partition of the nodes of a graph.

    Attributes
    ----------
    labels : ndarray of int, shape (n_nodes,)
        Group of every node, from 0, the largest group first.
    description_length : float
        In nats; the lower, the better. Of the nested model where there are several levels.
    starts : ndarray of shape (n_starts,)
        Description lengths reached from the starts, without nesting.
    levels : tuple of ndarray of int, shape (n_nodes,)
        Groups of nodes at every level, `labels` first; one level without nesting.
    """

    labels: Int[ndarray, " node"]
    description_length: float
    starts: Float[ndarray, " start"]
    levels: tuple[Int[ndarray, " node"], ...]

    @property
    def n_groups(self) -> int:
        """Groups at the first level."""
        return int(self.labels.max()) + 1


class _Graph(NamedTuple):
    edges: ndarray
    weights: ndarray
    pairs: ndarray
    kind: int
    rate: float
    constant: float
    factorials: ndarray


def fit_block_model(
    graph: Any,
    *,
    weights: str = "exponential",
    degree_corrected: bool = False,
    nested: bool = False,
    starts: Sequence[int] = STARTS,
    random_state: int | Generator | None = None,
) -> BlockModel:
    """Find the groups of an undirected graph.

    Parameters
    ----------
    graph : ndarray of shape (n_nodes, n_nodes)
        Symmetric; 0 where there is no edge, a positive weight where there is one, NaN where a pair was not measured. The diagonal is left
        out.
    weights : {"exponential", "binary"}, default "exponential"
        Whether weights speak, or only edges.
    degree_corrected : bool, default False
        Let the nodes of a group have degrees of their own.
    nested : bool, default False
        Describe the edges between groups by groups of groups.
    starts : sequence of int
        Numbers of groups to start from.
    random_state : int, Generator or None
        Of k-means.

    Raises
    ------
    DataError
        If the graph is not a symmetric matrix of non-negative numbers, or has no edge.
    UsageError
        If an option is not known.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> groups = np.repeat([0, 1], 10)
    >>> graph = np.triu(rng.exponential(np.where(groups[:, None] == groups, 5.0, 1.0)), 1)
    >>> fit_block_model(graph + graph.T, random_state=0).labels.tolist() == groups.tolist()
    True
    """
    made = _read(graph, weights, degree_corrected)
    starts = sorted({int(n) for n in starts})
    n_nodes = len(made.edges)
    if not starts or starts[0] < 1:
        raise UsageError(f"Start from 1 group or more, got {starts}.")
    rng = default_rng(random_state)
    vectors = _spectrum(made, max(starts))
    found = []
    for n_groups in starts:
        if n_groups > n_nodes:
            continue
        found.append(_search(made, _clusters(vectors, n_groups, rng), rng))
    values = np.array([value for value, _ in found])
    labels = _by_size(found[int(values.argmax())][1])
    length = -float(values.max())
    levels = [labels]
    if nested:
        length, levels = _nest(made, labels, length, rng)
    return BlockModel(labels, length, -values, tuple(levels))


def description_length(
    graph: Any, labels: Int[ndarray, " node"], *, weights: str = "exponential", degree_corrected: bool = False
) -> float:
    """Description length of a given partition, in nats.

    Parameters
    ----------
    graph, weights, degree_corrected
        As in `fit_block_model`.
    labels : ndarray of int, shape (n_nodes,)
    """
    made = _read(graph, weights, degree_corrected)
    if np.shape(labels) != (len(made.edges),):
        raise UsageError(f"Give one group for each of the {len(made.edges)} nodes, got shape {np.shape(labels)}.")
    return -_value(made, np.unique(labels, return_inverse=True)[1].astype(np.int64))


def _read(graph: Any, weights: str, degree_corrected: bool) -> _Graph:
    if weights not in WEIGHTS:
        raise UsageError(f"weights must be one of {', '.join(WEIGHTS)}; got {weights!r}.")
    matrix = np.array(graph, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise DataError(f"Expected a graph as a square matrix of two nodes or more, got shape {matrix.shape}.")
    np.fill_diagonal(matrix, 0.0)
    seen = np.isfinite(matrix)
    if np.isinf(matrix).any() or (matrix[seen] < 0).any():
        raise DataError(
            "Weights of edges must be finite and not negative; NaN stands for a pair that was not measured."
        )
    if not np.array_equal(seen, seen.T) or not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0, equal_nan=True):
        raise DataError("The graph must be symmetric; add its transpose, or take directions apart first.")
    matrix = np.where(seen, (matrix + matrix.T) / 2, 0.0)
    pairs = seen.astype(np.float64)
    np.fill_diagonal(pairs, 0.0)
    edges = (matrix > 0).astype(np.float64)
    n_edges = edges.sum() / 2
    if n_edges == 0:
        raise DataError("The graph has no edge, so that no group can be told from another; keep more of its weights.")
    rate = float(matrix.sum() / 2 / n_edges) if weights == "exponential" else 0.0
    kind = kernels.DEGREES if degree_corrected else kernels.BINARY
    constant = float(gammaln(edges.sum(axis=1) + 1).sum()) if degree_corrected else 0.0
    return _Graph(edges, matrix, pairs, kind, rate, constant, _log_factorials(edges, pairs))


def _log_factorials(edges: ndarray, pairs: ndarray) -> ndarray:
    """log k! for all whole numbers k that sums over pairs and nodes can reach."""
    n = len(edges)
    return gammaln(np.arange(int(edges.sum() + pairs.sum() + n * (n + 1) // 2) + 4) + 1.0)


def _log_multisets(n_places: int, n_things: float) -> float:
    """Logarithm of the ways in which so many things that are alike can be spread over places."""
    return float(gammaln(n_places + n_things) - gammaln(n_things + 1) - gammaln(n_places))


def _spectrum(graph: _Graph, most: int) -> ndarray:
    """Leading eigenvectors of the compressed weights, by the size of their eigenvalues."""
    strengths = np.log1p(graph.weights / graph.rate) if graph.rate > 0 else graph.edges.copy()
    measured = graph.pairs > 0
    strengths = np.where(measured, strengths - strengths[measured].mean(), 0.0)
    values, vectors = eigh(strengths)
    leading = np.argsort(-np.abs(values), kind="stable")[:most]
    return vectors[:, leading] * np.abs(values[leading])


def _clusters(vectors: ndarray, n_groups: int, rng: Generator) -> ndarray:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if n_groups == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    # the mean is taken out: n groups differ in n - 1 directions
    points = np.ascontiguousarray(vectors[:, : n_groups - 1])
    means = KMeans(n_groups, n_init=4, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        # nodes without a difference make no group of their own: fewer groups are as good a start
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(points)
    return np.unique(means.labels_, return_inverse=True)[1].astype(np.int64)


def _search(graph: _Graph, labels: ndarray, rng: Generator) -> tuple[float, ndarray]:
    """The objective that is reached from a partition, and the partition."""
    labels = labels.copy()
    order = rng.permutation(len(labels))
    value, _ = kernels.search(
        graph.edges, graph.weights, graph.pairs, labels, order, N_SWEEPS, graph.kind, graph.rate, graph.factorials
    )
    return value + graph.constant, labels


def _value(graph: _Graph, labels: ndarray) -> float:
    n_groups = int(labels.max()) + 1
    sums, sizes, degrees = np.zeros((3, n_groups, n_groups)), np.zeros(n_groups), np.zeros(n_groups)
    kernels.add_up(graph.edges, graph.weights, graph.pairs, labels, sums, sizes, degrees)
    return (
        float(kernels.total(sums, sizes, degrees, n_groups, graph.kind, graph.rate, graph.factorials)) + graph.constant
    )


def _by_size(labels: ndarray) -> ndarray:
    """The same groups numbered from the largest, then from the first node."""
    _, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse]


def _nest(graph: _Graph, labels: ndarray, length: float, rng: Generator) -> tuple[float, list[ndarray]]:
    """Levels above a partition: groups are nodes, the counts of edges between them are what is described."""
    n_groups = int(labels.max()) + 1
    sums, sizes, degrees = np.zeros((3, n_groups, n_groups)), np.zeros(n_groups), np.zeros(n_groups)
    kernels.add_up(graph.edges, graph.weights, graph.pairs, labels, sums, sizes, degrees)
    lower = np.tril(np.ones((n_groups, n_groups), dtype=bool))
    there = lower & (sums[2] > 0)
    # the flat model's own prior of the counts is exchanged for the levels above
    n_edges = float(sums[0][lower].sum())
    if graph.kind == kernels.DEGREES:
        length -= _log_multisets(n_groups * (n_groups + 1) // 2, n_edges)
    else:
        length -= float(np.log1p(sums[2][there]).sum())
    levels, counts, pairs = [labels], sums[0], there | there.T
    while len(counts) > 1:
        level = _Graph(
            counts,
            np.zeros_like(counts),
            pairs.astype(np.float64),
            kernels.COUNTS,
            0.0,
            0.0,
            _log_factorials(counts, pairs),
        )
        starts = [np.zeros(len(counts), dtype=np.int64), np.arange(len(counts))]
        value, groups = max((_search(level, start, rng) for start in starts), key=lambda found: found[0])
        if groups.max() + 1 == len(counts):
            # nothing goes together: one group of all ends the levels
            groups = np.zeros(len(counts), dtype=np.int64)
            value = _value(level, groups)
        groups = _by_size(groups)
        levels.append(groups[levels[-1]])
        n_groups = int(groups.max()) + 1
        length -= value + _log_multisets(n_groups * (n_groups + 1) // 2, n_edges)
        sums, sizes, degrees = np.zeros((3, n_groups, n_groups)), np.zeros(n_groups), np.zeros(n_groups)
        kernels.add_up(level.edges, level.weights, level.pairs, groups, sums, sizes, degrees)
        counts, pairs = sums[0], sums[2] > 0
    return length + (0.0 if graph.kind == kernels.DEGREES else float(np.log1p(graph.pairs.sum() / 2))), levels
