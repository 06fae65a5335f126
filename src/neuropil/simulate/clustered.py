r"""Counts of neurons in clusters that each follow a trajectory of their own, under dynamics that switch between two states.

.. math:: \log \mu_{ti} = d_i + x^0_{t, z_i} + c_i^\top x_{t, z_i}, \quad x_t = A_{\xi_t} x_{t-1} + N(0, \sigma_{\xi_t}^2 I), \quad
          y_{ti} \sim NB(r, \mu_{ti})

In the quiet state the latent variables of all clusters are close to white noise; in the other those of each cluster turn in a random
plane. States alternate and last one bin plus a Poisson number.

Wei (2024). Bayesian bi-clustering of neural spiking activity with latent structures. ICLR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.linalg import block_diag

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.streams import regular_stream

PUBLISHED: dict[str, Any] = {
    "n_clusters": 3,
    "neurons_per_cluster": 10,
    "n_times": 400,
    "n_factors": 2,
    "baseline": 0.0,
    "decay": 0.01,
    "growth": 1.01,
    "angle": 9.0,
    "noise": (0.1, 0.1),
    "dispersion": 10.0,
    "dwell": 50.0,
}
EASIER: dict[str, Any] = PUBLISHED | {
    "neurons_per_cluster": 20,
    "n_times": 600,
    "baseline": 2.0,
    "decay": 0.5,
    "growth": 0.99,
    "angle": 22.5,
    "noise": (0.05, 0.15),
}


class ClusteredPopulation(NamedTuple):
    """Counts, and the truth behind them.

    Attributes
    ----------
    counts : ndarray of int, shape (n_times, n_neurons)
        Spikes a bin.
    labels : ndarray of int, shape (n_neurons,)
        Cluster of every neuron.
    states : ndarray of int, shape (n_times,)
        0 is the quiet state.
    paths : ndarray of shape (n_times, n_clusters * (1 + n_factors))
        Trajectories cluster by cluster; the first of each has the loading 1. Their means over time are 0.
    loadings : ndarray of shape (n_neurons, n_factors)
    baselines : ndarray of shape (n_neurons,)
        Mean log rates, d.
    dispersion : ndarray of shape (n_neurons,)
    rates : ndarray of shape (n_times, n_neurons)
        Expected spikes a bin.
    transitions : ndarray of shape (2, d, d)
        Dynamics of both states, d the number of trajectories.
    """

    counts: Int[ndarray, "time neuron"]
    labels: Int[ndarray, " neuron"]
    states: Int[ndarray, " time"]
    paths: Float[ndarray, "time latent"]
    loadings: Float[ndarray, "neuron factor"]
    baselines: Float[ndarray, " neuron"]
    dispersion: Float[ndarray, " neuron"]
    rates: Float[ndarray, "time neuron"]
    transitions: Float[ndarray, "2 latent latent"]

    def recording(self, bin_width: float = 0.1) -> Recording:
        """A recording with the streams "spikes" (counts a bin), "state" and "trajectories"; `bin_width` in s."""
        if not bin_width > 0:
            raise UsageError(f"bin_width must be a positive number of seconds, got {bin_width}.")
        return Recording(
            {
                "spikes": regular_stream(self.counts, 1 / bin_width, kind="misc", unit="count", modality="spikes"),
                "state": regular_stream(self.states[:, None], 1 / bin_width, kind="misc", unit="", modality="state"),
                "trajectories": regular_stream(
                    self.paths, 1 / bin_width, kind="misc", unit="", modality="latent variables"
                ),
            }
        )


def plane_rotation(n: int, angle: float, random_state: int | Generator | None = None) -> Float[ndarray, "n n"]:
    """Turn by `angle` degrees in a random plane of n dimensions.

    Examples
    --------
    >>> turn = plane_rotation(3, 90.0, 0)
    >>> bool(np.allclose(turn @ turn.T, np.eye(3))), round(float(np.trace(turn)), 6)
    (True, 1.0)
    """
    if n < 2:
        raise UsageError(f"A plane needs two dimensions or more, got {n}.")
    turn = np.eye(n)
    radians = np.radians(angle)
    turn[:2, :2] = [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]
    basis = np.linalg.qr(default_rng(random_state).standard_normal((n, n)))[0]
    return basis @ turn @ basis.T


def simulate_clustered(
    n_clusters: int = 3,
    neurons_per_cluster: int = 10,
    n_times: int = 400,
    n_factors: int = 2,
    *,
    baseline: float = 0.0,
    decay: float = 0.01,
    growth: float = 1.01,
    angle: float = 9.0,
    noise: tuple[float, float] = (0.1, 0.1),
    dispersion: float = 10.0,
    dwell: float = 50.0,
    random_state: int | Generator | None = None,
) -> ClusteredPopulation:
    """Counts of clustered neurons under two alternating dynamics; the defaults are the published ones.

    Parameters
    ----------
    n_clusters, neurons_per_cluster, n_times : int
        As many bins again are simulated before and left out.
    n_factors : int
        Trajectories of a cluster besides the one that all its neurons share.
    baseline : float
        Mean of d; its standard deviation, and that of the loadings, is 0.5.
    decay : float
        The quiet state's dynamics is that times the identity.
    growth, angle : float
        The other's, per cluster: a turn by `angle` degrees a bin, times `growth`.
    noise : (float, float)
        Standard deviations of the two states' noise.
    dispersion : float
        r.
    dwell : float
        Mean number of bins that a state lasts, less one.
    random_state : int, Generator or None

    Examples
    --------
    >>> easier = simulate_clustered(**EASIER, random_state=0)
    >>> easier.counts.shape, np.bincount(easier.labels).tolist()
    ((600, 60), [20, 20, 20])
    """
    if min(n_clusters, neurons_per_cluster, n_times, n_factors) < 1 or dispersion <= 0 or dwell < 0 or min(noise) < 0:
        raise UsageError(
            "Expected one cluster, neuron, bin and factor or more, dispersion > 0 and dwell, noise of 0 or more, got "
            f"{n_clusters}, {neurons_per_cluster}, {n_times}, {n_factors}, {dispersion:g}, {dwell:g}, {noise}."
        )
    rng = default_rng(random_state)
    width = n_factors + 1
    turns = [growth * plane_rotation(width, angle, rng) for _ in range(n_clusters)]
    transitions = np.stack([decay * np.eye(n_clusters * width), block_diag(*turns)])
    states = _alternating(2 * n_times, dwell, rng)
    paths = np.zeros((2 * n_times, n_clusters * width))
    shocks = rng.standard_normal(paths.shape) * np.asarray(noise)[states][:, None]
    for t in range(2 * n_times):
        paths[t] = (transitions[states[t]] @ paths[t - 1] if t else 0.0) + shocks[t]
    states, paths = states[n_times:], paths[n_times:] - paths[n_times:].mean(axis=0)
    labels = np.repeat(np.arange(n_clusters), neurons_per_cluster)
    n_neurons = len(labels)
    baselines = baseline + 0.5 * rng.standard_normal(n_neurons)
    loadings = 0.5 * rng.standard_normal((n_neurons, n_factors))
    blocks = paths.reshape(n_times, n_clusters, width)[:, labels]
    rates = np.exp(np.clip(baselines + blocks[..., 0] + (blocks[..., 1:] * loadings).sum(axis=2), -20.0, 12.0))
    spread = np.full(n_neurons, float(dispersion))
    counts = rng.poisson(rng.gamma(spread, rates / spread))
    return ClusteredPopulation(counts, labels, states, paths, loadings, baselines, spread, rates, transitions)


def _alternating(n_times: int, dwell: float, rng: Generator) -> ndarray:
    durations = 1 + rng.poisson(dwell, n_times)
    which = (np.arange(len(durations)) + rng.integers(2)) % 2
    return np.repeat(which, durations)[:n_times]
