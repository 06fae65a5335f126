"""Where chains of the bi-clustering sampler start: clusters merged by their evidence, smooth trajectories, states by energy.

Alternating draws cannot leave a bad partition: a cluster with three latent variables imitates two clusters well enough. So a start is
searched for in a model that is quick to evaluate. Counts become Gaussian log rates with fixed precisions, every cluster follows random
walks of its own, and variational Bayes gives a lower bound of its evidence. Many small clusters of k-means are merged as long as the bound
gains, and neurons move to where they fit best.

States start from k-means of the log energy of the smoothed trajectories, which tells a quiet state from a lively one.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.special import gammaln

from neuropil.latent.biclustering_model import POISSON_DISPERSION, ChainState, Priors, standing_dynamics
from neuropil.stats import kalman_information
from neuropil.stats.kalman_information import Evidence, SwitchingDynamics
from neuropil.stats.polya_gamma import PseudoObservations

DISPERSION = 10.0
NOISES = (0.01, 0.03, 0.1)
STEPS = 12


class ClusterFit(NamedTuple):
    """A cluster by itself.

    Attributes
    ----------
    bound : float
        Lower bound of the log evidence, up to what no partition changes.
    means : ndarray of shape (n_times, n_factors + 1)
        Of the latent variables.
    seconds : ndarray of shape (n_times, n_factors + 2, n_factors + 2)
        Second moments of a constant 1 and the latent variables.
    """

    bound: float
    means: Float[ndarray, "time variable"]
    seconds: Float[ndarray, "time moment moment"]


def smoothed_log_counts(counts: Float[ndarray, "time neuron"], width: float = 2.0) -> Float[ndarray, "time neuron"]:
    """Logarithms of counts smoothed by a Gaussian (standard deviation in bins), which keeps silent stretches finite."""
    filled = np.where(np.isnan(counts), np.nanmean(counts, axis=0), counts)
    return np.log(gaussian_filter1d(filled, width, axis=0) + 0.2 * filled.mean(axis=0))


def expected_pseudo_observations(
    counts: Float[ndarray, "time neuron"], log_means: Float[ndarray, "time neuron"], dispersion: float
) -> PseudoObservations:
    """As `augment_counts`, with the mean of the Pólya-Gamma variables in the place of draws."""
    seen = ~np.isnan(counts)
    tilt = log_means - np.log(dispersion)
    near = np.abs(tilt) < 1e-4
    safe = np.where(near, 1.0, tilt)
    share = np.where(near, 0.25, np.tanh(safe / 2) / (2 * safe))
    precisions = np.where(seen, (np.nan_to_num(counts) + dispersion) * share, 0.0)
    targets = np.where(seen, 0.5 * (np.nan_to_num(counts) - dispersion) + precisions * np.log(dispersion), 0.0)
    return PseudoObservations(precisions, targets)


def start_labels(
    counts: Float[ndarray, "time neuron"], priors: Priors, rng: Generator, *, n_clusters: int | None = None
) -> Int[ndarray, " neuron"]:
    """Clusters whose number follows from their evidence, from `n_clusters` small ones at first (one for three neurons, 16 at most)."""
    if priors.max_clusters == 1:
        return np.zeros(counts.shape[1], dtype=np.int64)
    logs = smoothed_log_counts(counts)
    pseudo = expected_pseudo_observations(counts, logs, POISSON_DISPERSION if priors.poisson else DISPERSION)
    labels = k_means(_standardised(logs), n_clusters or min(max(2, counts.shape[1] // 3 + 2), 16), rng)
    noise = max(NOISES, key=lambda q: sum(_fit(pseudo, logs, labels == k, q, priors).bound for k in np.unique(labels)))
    for _ in range(4):
        before = labels
        labels = _merge(pseudo, logs, labels, noise, priors)
        labels = _reassign(pseudo, logs, labels, noise, priors)
        if np.array_equal(labels, before):
            break
    return labels


def k_means_labels(counts: Float[ndarray, "time neuron"], n_clusters: int, rng: Generator) -> Int[ndarray, " neuron"]:
    """k-means of smoothed log counts, each neuron with mean 0 and variance 1."""
    return k_means(_standardised(smoothed_log_counts(counts)), n_clusters, rng)


def k_means(traces: Float[ndarray, "time neuron"], n_clusters: int, rng: Generator) -> Int[ndarray, " neuron"]:
    """k-means of the neurons' traces."""
    from sklearn.cluster import KMeans

    model = KMeans(min(n_clusters, traces.shape[1]), n_init=5, random_state=int(rng.integers(2**31)))
    return np.unique(model.fit_predict(traces.T), return_inverse=True)[1].astype(np.int64)


def start_state(counts: Float[ndarray, "time neuron"], labels: Int[ndarray, " neuron"], priors: Priors) -> ChainState:
    """Trajectories from the smoothed log counts of every cluster: their mean, and principal components of what is left."""
    logs = smoothed_log_counts(counts)
    baselines = logs.mean(axis=0)
    n_times, n_neurons = counts.shape
    n_clusters = int(labels.max()) + 1
    blocks, loadings = np.zeros((n_clusters, n_times, priors.width)), np.zeros((n_neurons, priors.n_factors))
    for k in range(n_clusters):
        members = labels == k
        blocks[k], loadings[members] = _components(logs[:, members] - baselines[members], priors.n_factors)
    n_latent, n_states = n_clusters * priors.width, priors.max_states
    return ChainState(
        labels=labels,
        baselines=baselines,
        loadings=loadings,
        dispersion=np.full(n_neurons, POISSON_DISPERSION if priors.poisson else DISPERSION),
        path=np.ascontiguousarray(blocks.swapaxes(0, 1).reshape(n_times, n_latent)),
        states=np.zeros(n_times, dtype=np.int64),
        dynamics=standing_dynamics(n_latent, n_states),
        base_weights=np.full(n_states, 1 / n_states),
        transition=np.full((n_states, n_states), 0.05 / n_states) + 0.95 * np.eye(n_states),
    )


def start_states(
    path: Float[ndarray, "time latent"], n_states: int, rng: Generator, window: int = 9
) -> Int[ndarray, " time"]:
    """k-means of the trajectories' log energy in moving windows."""
    if n_states == 1:
        return np.zeros(len(path), dtype=np.int64)
    energy = np.log(uniform_filter1d((path - path.mean(axis=0)) ** 2, window, axis=0).mean(axis=1) + 1e-9)
    return k_means(energy[None], n_states, rng)


def _standardised(logs: ndarray) -> ndarray:
    return (logs - logs.mean(axis=0)) / np.maximum(logs.std(axis=0), 1e-12)


def _components(logs: ndarray, n_factors: int) -> tuple[ndarray, ndarray]:
    """Latent variables and loadings of one cluster; loadings have unit variance or so."""
    common = logs.mean(axis=1)
    left, values, right = np.linalg.svd(logs - common[:, None], full_matrices=False)
    rank, scale = min(n_factors, logs.shape[1] - 1), np.sqrt(logs.shape[1])
    block, loadings = np.zeros((len(logs), n_factors + 1)), np.zeros((logs.shape[1], n_factors))
    block[:, 0] = common
    block[:, 1 : rank + 1] = left[:, :rank] * values[:rank] / scale
    loadings[:, :rank] = right[:rank].T * scale
    return block, loadings


def _fit(pseudo: PseudoObservations, logs: ndarray, members: ndarray, noise: float, priors: Priors) -> ClusterFit:
    """Variational Bayes of one cluster: trajectories and coefficients in turn."""
    weights, targets = pseudo.precisions[:, members], pseudo.targets[:, members]
    centred = logs[:, members] - logs[:, members].mean(axis=0)
    w = priors.width
    walk = SwitchingDynamics(np.eye(w)[None], np.zeros((1, w)), noise * np.eye(w)[None], np.zeros(w), np.eye(w))
    stay = np.zeros(len(logs), dtype=np.int64)
    means, covariances = _components(centred, priors.n_factors)[0], np.zeros((len(logs), w, w))
    bound = -np.inf
    for _ in range(STEPS):
        seconds = _second_moments(means, covariances)
        mean, covariance, _ = _coefficients(weights, targets, seconds)
        spread = covariance + mean[:, :, None] * mean[:, None]
        # rows of a neuron on the latent variables: 1 for the first, loadings for the others; its baseline is an offset
        rows, squares, with_baseline = mean.copy(), spread.copy(), spread[:, 0].copy()
        rows[:, 0], squares[:, 0], squares[:, :, 0], with_baseline[:, 0] = 1.0, mean, mean, mean[:, 0]
        squares[:, 0, 0] = 1.0
        evidence = Evidence(
            (weights @ squares.reshape(len(squares), -1)).reshape(-1, w, w), targets @ rows - weights @ with_baseline
        )
        smoothed = kalman_information.smooth(walk, evidence, stay)
        means, covariances = smoothed.means, smoothed.covariances
        divergence = 0.5 * (np.trace(spread, axis1=1, axis2=2) - w - np.linalg.slogdet(covariance)[1]).sum()
        offsets = (targets * mean[:, 0] - 0.5 * weights * spread[:, 0, 0]).sum()
        last, bound = bound, smoothed.log_evidence + offsets - divergence
        if bound - last < 0.05:
            break
    return ClusterFit(float(bound), means, _second_moments(means, covariances))


def _second_moments(means: ndarray, covariances: ndarray) -> ndarray:
    full = np.column_stack([np.ones(len(means)), means])
    seconds = full[:, :, None] * full[:, None]
    seconds[:, 1:, 1:] += covariances
    return seconds


def _coefficients(weights: ndarray, targets: ndarray, seconds: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Posterior of baselines and loadings given second moments of the latent variables, and the log evidence of every neuron."""
    n_neurons, size = weights.shape[1], seconds.shape[1]
    summed = (weights.T @ seconds.reshape(len(seconds), -1)).reshape(n_neurons, size, size)
    first = targets.T @ seconds[:, 0]
    taken = np.delete(np.arange(size), 1)
    precision = summed[:, taken][:, :, taken] + np.eye(size - 1)
    potential = first[:, taken] - summed[:, taken, 1]
    covariance = np.linalg.inv(precision)
    mean = (covariance @ potential[..., None])[..., 0]
    evidence = (
        first[:, 1]
        - 0.5 * summed[:, 1, 1]
        + 0.5 * (mean * potential).sum(axis=1)
        + 0.5 * np.linalg.slogdet(covariance)[1]
    )
    return mean, covariance, evidence


def _merge(pseudo: PseudoObservations, logs: ndarray, labels: ndarray, noise: float, priors: Priors) -> ndarray:
    """Merge the pair that gains most, until none gains."""
    groups = {k: labels == k for k in np.unique(labels).tolist()}
    bounds = {k: _fit(pseudo, logs, members, noise, priors).bound for k, members in groups.items()}
    joint: dict[tuple[int, int], float] = {}
    while len(groups) > 1:
        gains = {}
        for a, b in combinations(sorted(groups), 2):
            if (a, b) not in joint:
                joint[a, b] = _fit(pseudo, logs, groups[a] | groups[b], noise, priors).bound
            sizes = np.array([groups[a].sum(), groups[b].sum()])
            gains[a, b] = joint[a, b] - bounds[a] - bounds[b] + _log_prior_gain(sizes, len(groups), priors)
        a, b = max(gains, key=gains.__getitem__)
        if gains[a, b] <= 0 and len(groups) <= priors.max_clusters:
            break
        groups[a], bounds[a] = groups[a] | groups.pop(b), joint[a, b]
        joint = {pair: value for pair, value in joint.items() if not {a, b} & set(pair)}
    merged = np.empty(len(labels), dtype=np.int64)
    for k, members in enumerate(groups.values()):
        merged[members] = k
    return merged


def _log_prior_gain(sizes: ndarray, n_clusters: int, priors: Priors) -> float:
    """Of a partition in which two of so many clusters become one, over the one before."""
    gamma = priors.mixture_gamma
    rising = gammaln(sizes.sum() + gamma) + gammaln(gamma) - gammaln(sizes + gamma).sum()
    return float(priors.log_mixture[n_clusters - 2] - priors.log_mixture[n_clusters - 1] + rising)


def _reassign(pseudo: PseudoObservations, logs: ndarray, labels: ndarray, noise: float, priors: Priors) -> ndarray:
    """Move neurons to the cluster of the largest evidence, a few times over."""
    for _ in range(5):
        names, sizes = np.unique(labels, return_counts=True)
        fits = [_fit(pseudo, logs, labels == k, noise, priors) for k in names]
        evidence = np.stack([_coefficients(*pseudo, fit.seconds)[2] for fit in fits], axis=1)
        moved = np.unique((evidence + np.log(sizes)).argmax(axis=1), return_inverse=True)[1].astype(np.int64)
        if np.array_equal(moved, labels):
            break
        labels = moved
    return labels
