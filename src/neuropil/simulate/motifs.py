r"""Calcium traces of animals in which groups of neurons work together for a while, and weighted graphs with groups of nodes.

Every neuron of every animal has events of its own. A motif is active in an interval, in some of the animals: each of its two communities
then shares one train of events, with a gain for every neuron. Events pass through the indicator's kernel
:math:`e^{-k/12} - e^{-k/3}` (k in frames); white noise is added and, if asked for, a drift that all neurons of an animal share with
different gains: bleaching, and a random walk.

The graphs have the same density of edges everywhere; only the mean of their exponential weights tells groups apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.signal import fftconvolve

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.streams import regular_stream

INTERVALS = ((20, 100), (110, 190), (200, 290))
N_KERNEL, RISE, DECAY = 60, 3.0, 12.0


class Motifs(NamedTuple):
    """Traces of several animals, and the motifs behind them.

    Attributes
    ----------
    traces : ndarray of shape (n_animals, n_times, n_neurons)
        Fluorescence, relative to rest.
    active : ndarray of bool, shape (n_motifs, n_times)
    animals : ndarray of bool, shape (n_motifs, n_animals)
        Where a motif occurs.
    communities : ndarray of int, shape (n_motifs, n_neurons)
        0 or 1, the community in a motif; -1 for neurons that are in none.
    """

    traces: Float64[ndarray, "animal time neuron"]
    active: Bool[ndarray, "motif time"]
    animals: Bool[ndarray, "motif animal"]
    communities: Int64[ndarray, "motif neuron"]

    def together(self, motif: int) -> Bool[ndarray, " pair"]:
        """Pairs of neurons (in the order of ``np.triu_indices(n_neurons, 1)``) in one community of a motif."""
        first, second = np.triu_indices(self.communities.shape[1], 1)
        groups = self.communities[motif]
        return (groups[first] >= 0) & (groups[first] == groups[second])

    def recording(self, sfreq: float = 4.0) -> list[Recording]:
        """One recording an animal, with the stream "calcium" of neurons "n00", "n01" ... at `sfreq` frames a second."""
        if not sfreq > 0:
            raise UsageError(f"sfreq must be a positive number of frames a second, got {sfreq}.")
        names = [f"n{k:02d}" for k in range(self.traces.shape[2])]
        return [
            Recording(
                {"calcium": regular_stream(traces, sfreq, channels=names, kind="neuron", unit="1", modality="calcium")},
                subject=f"animal{k}",
                dataset="motifs",
            )
            for k, traces in enumerate(self.traces)
        ]


class BlockGraph(NamedTuple):
    """A weighted graph and its groups.

    Attributes
    ----------
    weights : ndarray of shape (n_nodes, n_nodes)
        Symmetric, 0 where there is no edge.
    labels : ndarray of int, shape (n_nodes,)
    """

    weights: Float64[ndarray, "node node"]
    labels: Int64[ndarray, " node"]


def simulate_motifs(
    n_animals: int = 5,
    n_times: int = 300,
    n_neurons: int = 30,
    *,
    intervals: tuple[tuple[int, int], ...] = INTERVALS,
    n_active: int = 3,
    size: int = 8,
    noise: float = 0.045,
    drift: bool = False,
    random_state: int | Generator | None = None,
) -> Motifs:
    """Animals whose neurons form motifs, one an interval.

    Parameters
    ----------
    n_animals, n_times, n_neurons : int
    intervals : tuple of (int, int)
        First frame and the one after the last of every motif.
    n_active : int, default 3
        Animals in which a motif occurs, drawn anew for each.
    size : int, default 8
        Neurons in each of the two communities of a motif.
    noise : float, default 0.045
        Standard deviation of the white noise; an event of size 1 peaks at 0.47.
    drift : bool, default False
        Add what all neurons of an animal share: 1.5 exp(-t / 120) and a random walk that ends with a standard deviation of 0.8, with gains
        between 0.5 and 1.5.
    random_state : int, Generator or None

    Examples
    --------
    >>> motifs = simulate_motifs(random_state=0)
    >>> motifs.traces.shape, motifs.animals.sum(axis=1).tolist(), int(motifs.together(0).sum())
    ((5, 300, 30), [3, 3, 3], 56)
    """
    if min(n_animals, n_times, n_neurons, n_active, size) < 1 or n_active > n_animals or 2 * size > n_neurons:
        raise UsageError(
            f"Expected n_active of 1 to n_animals and two communities that fit into n_neurons, got {n_active=}, {n_animals=}, "
            f"{size=}, {n_neurons=}."
        )
    if any(not 0 <= start < stop <= n_times for start, stop in intervals):
        raise UsageError(f"Intervals must lie within the {n_times} frames, got {intervals}.")
    if not noise >= 0:
        raise UsageError(f"noise must not be negative, got {noise}.")
    rng = default_rng(random_state)
    events = _events(rng, (n_animals, n_times, n_neurons), 0.02)
    active = np.zeros((len(intervals), n_times), dtype=bool)
    animals = np.zeros((len(intervals), n_animals), dtype=bool)
    communities = np.full((len(intervals), n_neurons), -1, dtype=np.int64)
    for motif, (start, stop) in enumerate(intervals):
        active[motif, start:stop] = True
        animals[motif, rng.choice(n_animals, n_active, replace=False)] = True
        members = rng.choice(n_neurons, 2 * size, replace=False).reshape(2, size)
        for community, neurons in enumerate(members):
            communities[motif, neurons] = community
            for animal in np.flatnonzero(animals[motif]):
                drive = 1.2 * _events(rng, (stop - start, 1), 0.08)
                events[animal, start:stop, neurons] += (drive * rng.uniform(0.7, 1.3, size)).T
    lags = np.arange(N_KERNEL)
    kernel = np.exp(-lags / DECAY) - np.exp(-lags / RISE)
    traces = fftconvolve(events, kernel[None, :, None], axes=1)[:, :n_times]
    traces += noise * rng.standard_normal(traces.shape)
    if drift:
        walk = np.cumsum(rng.standard_normal((n_animals, n_times)), axis=1) * 0.8 / np.sqrt(n_times)
        shared = 1.5 * np.exp(-np.arange(n_times) / 120) + walk
        traces += shared[:, :, None] * rng.uniform(0.5, 1.5, (n_animals, 1, n_neurons))
    return Motifs(traces, active, animals, communities)


def _events(rng: Generator, shape: tuple[int, ...], rate: float) -> ndarray:
    """Independent events with sizes between 0.5 and 1.5."""
    return (rng.random(shape) < rate) * rng.uniform(0.5, 1.5, shape)


def simulate_block_graph(
    n_nodes: int = 120,
    n_groups: int = 4,
    *,
    probability: float = 0.5,
    inside: float = 4.0,
    outside: float = 1.0,
    random_state: int | Generator | None = None,
) -> BlockGraph:
    """A graph whose groups differ in the mean weight of their edges, and in nothing else.

    Parameters
    ----------
    n_nodes, n_groups : int
        Groups are as equal in size as can be.
    probability : float, default 0.5
        Of an edge, everywhere.
    inside, outside : float
        Mean weight of edges within a group and between groups.
    random_state : int, Generator or None

    Examples
    --------
    >>> graph = simulate_block_graph(20, 2, random_state=0)
    >>> graph.weights.shape, np.bincount(graph.labels).tolist()
    ((20, 20), [10, 10])
    """
    if not 1 <= n_groups <= n_nodes or not 0 < probability <= 1 or not (inside > 0 and outside > 0):
        raise UsageError(
            f"Expected 1 to n_nodes groups, a probability in (0, 1] and positive means, got {n_groups=}, {probability=}, {inside=}, "
            f"{outside=}."
        )
    rng = default_rng(random_state)
    labels = np.sort(np.arange(n_nodes) % n_groups).astype(np.int64)
    means = np.where(labels[:, None] == labels, inside, outside)
    weights = np.triu(rng.exponential(means) * (rng.random((n_nodes, n_nodes)) < probability), 1)
    return BlockGraph(weights + weights.T, labels)
