"""What all draws of the bi-clustering sampler say together: partitions, trajectories with intervals, what was held out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment

from neuropil.latent.biclustering_chain import ChainDraws
from neuropil.latent.biclustering_trajectories import canonical
from neuropil.stats.mixtures import co_clustering, first_occurrence, least_squares_partition

BAND = (0.025, 0.975)
COMPARED = 1000  # draws at most for co-clustering of time bins


class Partition(NamedTuple):
    """Shares of draws in which two items have the same label, and the drawn partition nearest to them."""

    similarity: Float[ndarray, "item item"]
    labels: Int[ndarray, " item"]


class Trajectories(NamedTuple):
    """Posterior means over the draws that have the cluster, factors turned into those of a reference draw.

    Attributes
    ----------
    blocks : list of ndarray of shape (n_times, n_factors + 1)
        One a cluster; the first latent variable has the loading 1.
    loadings : ndarray of shape (n_neurons, n_factors)
    common, lower, upper : ndarray of shape (n_times, n_clusters)
        Log rate averaged over a cluster's neurons, less its mean over time, with 95 % intervals.
    share : ndarray of shape (n_clusters,)
        Share of the draws that have a cluster with more than half of its neurons.
    """

    blocks: list[ndarray]
    loadings: Float[ndarray, "neuron factor"]
    common: Float[ndarray, "time cluster"]
    lower: Float[ndarray, "time cluster"]
    upper: Float[ndarray, "time cluster"]
    share: Float[ndarray, " cluster"]


def partition(draws: Int[ndarray, "draw item"]) -> Partition:
    """Co-clustering and the least-squares partition.

    Examples
    --------
    >>> partition(np.array([[0, 0, 1], [0, 0, 1], [0, 1, 1]])).labels.tolist()
    [0, 0, 1]
    """
    if len(draws) > COMPARED:
        draws = draws[np.linspace(0, len(draws) - 1, COMPARED).round().astype(np.int64)]
    return Partition(co_clustering(draws), first_occurrence(draws[least_squares_partition(draws)]))


def trajectories(chains: list[ChainDraws], labels: Int[ndarray, " neuron"]) -> Trajectories:
    """Latent variables of the clusters of one partition over all kept draws."""
    n_clusters = int(labels.max()) + 1
    members = np.eye(n_clusters)[labels]
    draws = [
        (chain.labels[at], block, loadings)
        for chain in chains
        for at, block, loadings in zip(chain.kept, chain.blocks, chain.loadings, strict=True)
    ]
    # the reference is the draw that agrees with the partition best
    overlaps = [members.T @ np.eye(len(block))[drawn] for drawn, block, _ in draws]
    matches = [linear_sum_assignment(-overlap) for overlap in overlaps]
    agreed = [
        overlap[match].sum() - abs(overlap.shape[1] - n_clusters)
        for overlap, match in zip(overlaps, matches, strict=True)
    ]
    order = [int(np.argmax(agreed)), *range(len(draws))]
    n_factors = draws[0][2].shape[1]
    n_times = draws[0][1].shape[1]
    reference: dict[int, ndarray] = {}
    sums, n_used = np.zeros((n_clusters, n_times, n_factors + 1)), np.zeros(n_clusters)
    loading_sums = np.zeros((len(labels), n_factors))
    for position, index in enumerate(order):
        drawn, block, loadings = draws[index]
        blocks, turns = canonical(block)
        for cluster, found in zip(*matches[index], strict=True):
            if 2 * overlaps[index][cluster, found] <= members[:, cluster].sum():
                continue
            if cluster not in reference:
                reference[cluster] = blocks[found, :, 1:]
            if position == 0:
                continue
            turn = orthogonal_procrustes(blocks[found, :, 1:], reference[cluster])[0]
            sums[cluster, :, 0] += blocks[found, :, 0]
            sums[cluster, :, 1:] += blocks[found, :, 1:] @ turn
            inside = labels == cluster
            # a neuron that this draw puts elsewhere has no loading on this cluster
            with_it = inside & (drawn == found)
            loading_sums[with_it] += loadings[with_it] @ turns[found] @ turn
            n_used[cluster] += 1
    means = sums / np.maximum(n_used, 1)[:, None, None]
    paths = np.concatenate([chain.log_means @ (members / members.sum(axis=0)).astype(np.float32) for chain in chains])
    paths = paths - paths.mean(axis=1, keepdims=True)
    lower, upper = np.quantile(paths, BAND, axis=0)
    return Trajectories(
        list(means),
        loading_sums / np.maximum(n_used, 1)[labels][:, None],
        paths.mean(axis=0).astype(np.float64),
        lower.astype(np.float64),
        upper.astype(np.float64),
        n_used / len(draws),
    )
