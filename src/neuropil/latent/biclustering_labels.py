"""Sampler steps of the neurons' clusters: Laplace proposals of label and loadings together, births, deaths.

The published sampler weighs clusters by Laplace's evidence and keeps the loadings; here label, baseline and loadings are proposed together
from Laplace's approximation and accepted with the exact ratio, so that the approximation costs acceptances and no accuracy. A new cluster
gets a smooth random trajectory and dynamics that neither follow nor drive other clusters', as published.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit
from numpy import ndarray
from numpy.random import Generator
from scipy.interpolate import CubicSpline

from neuropil.latent.biclustering_model import NOISE, ChainState, Priors
from neuropil.stats.negative_binomial import laplace_fits, neuron_log_likelihood

KNOTS = (11, 35)


def smooth_trajectory(n_times: int, width: int, rng: Generator, scale: float = 0.5) -> Float[ndarray, "time variable"]:
    """Cubic splines through normal values at 11 to 35 even knots, centred over time.

    Examples
    --------
    >>> smooth_trajectory(200, 3, np.random.default_rng(0)).shape
    (200, 3)
    """
    knots = np.linspace(0, n_times - 1, int(rng.integers(KNOTS[0], KNOTS[1] + 1)))
    values = CubicSpline(knots, scale * rng.standard_normal((len(knots), width)))(np.arange(n_times))
    return values - values.mean(axis=0)


def update_labels(
    counts: Float[ndarray, "time neuron"],
    state: ChainState,
    priors: Priors,
    rng: Generator,
    *,
    temperature: float = 1.0,
    births: bool = True,
) -> float:
    """Redraw clusters, baselines and loadings neuron by neuron; returns the share of proposals that were accepted.

    Parameters
    ----------
    counts : ndarray of shape (n_times, n_neurons)
    state : ChainState
        Changed in place; empty clusters are dropped, of a birth the trajectory is drawn from its prior.
    priors : Priors
    rng : Generator
    temperature : float
        Above 1 labels are drawn from flattened evidence and always accepted, as in burn-in.
    births : bool
        Whether a neuron may found a cluster.
    """
    designs = state.blocks()
    births = births and state.n_clusters < priors.max_clusters
    if births:
        newborn = smooth_trajectory(len(counts), state.width, rng)
        designs = np.concatenate([designs, newborn[None]])
    fits = laplace_fits(counts, state.dispersion, designs)
    n_neurons = counts.shape[1]
    labels = state.labels.astype(np.int64)
    coefficients = np.column_stack([state.baselines, state.loadings])
    sizes = np.bincount(labels, minlength=len(designs)).astype(np.int64)
    accepted = _propose_all(
        np.ascontiguousarray(counts.T), state.dispersion, designs, *fits, priors.log_mixture, priors.mixture_gamma, temperature,
        births, labels, coefficients, sizes, rng.random((n_neurons, 2)), rng.standard_normal((n_neurons, state.width)),
    )  # fmt: skip
    state.baselines, state.loadings = coefficients[:, 0].copy(), coefficients[:, 1:].copy()
    if births and sizes[-1] > 0:
        add_cluster(state, designs[-1])
    keep_clusters(state, labels, np.flatnonzero(sizes[: state.n_clusters]))
    return accepted / n_neurons


def add_cluster(state: ChainState, trajectory: Float[ndarray, "time variable"]) -> None:
    """Append a cluster with that trajectory, a random walk of its own in every state."""
    d, width = state.path.shape[1], state.width
    dynamics = state.dynamics
    n_states = len(dynamics.offset)
    transition, covariance = np.zeros((2, n_states, d + width, d + width))
    transition[:, :d, :d], covariance[:, :d, :d] = dynamics.transition, dynamics.covariance
    transition[:, d:, d:], covariance[:, d:, d:] = np.eye(width), NOISE * np.eye(width)
    offset = np.concatenate([dynamics.offset, np.zeros((n_states, width))], axis=1)
    state.path = np.concatenate([state.path, trajectory], axis=1)
    state.dynamics = dynamics._replace(
        transition=transition,
        offset=offset,
        covariance=covariance,
        initial_mean=np.zeros(d + width),
        initial_covariance=np.eye(d + width),
    )


def keep_clusters(state: ChainState, labels: ndarray, kept: ndarray) -> None:
    """Give the state these labels, which use the clusters `kept` only, and drop the others."""
    rank = np.full(state.n_clusters, -1)
    rank[kept] = np.arange(len(kept))
    state.labels = rank[labels]
    if len(kept) == state.n_clusters:
        return
    latent = (kept[:, None] * state.width + np.arange(state.width)).ravel()
    square = np.ix_(np.arange(len(state.dynamics.offset)), latent, latent)
    state.path = np.ascontiguousarray(state.path[:, latent])
    state.dynamics = state.dynamics._replace(
        transition=np.ascontiguousarray(state.dynamics.transition[square]),
        offset=np.ascontiguousarray(state.dynamics.offset[:, latent]),
        covariance=np.ascontiguousarray(state.dynamics.covariance[square]),
        initial_mean=np.zeros(len(latent)),
        initial_covariance=np.eye(len(latent)),
    )


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _log_posterior_over_proposal(counts, design, coefficients, r, log_evidence, mode, root):
    """log p(y, w | cluster) - log (evidence N(w; mode, (root root')^-1)): 0 where Laplace's approximation is exact."""
    q = len(mode)
    value = neuron_log_likelihood(counts, design, coefficients, r) - log_evidence
    for a in range(q):
        value -= 0.5 * coefficients[a] * coefficients[a] + math.log(root[a, a])
        distance = 0.0
        for k in range(a, q):
            distance += root[k, a] * (coefficients[k] - mode[k])
        value += 0.5 * distance * distance
    return value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _propose_all(
    counts, dispersion, designs, log_evidence, modes, roots, log_mixture, gamma, temperature, births, labels, coefficients,
    sizes, uniforms, normals,
):  # fmt: skip
    n_neurons, n_designs = log_evidence.shape
    q = modes.shape[2]
    n_old = n_designs - 1 if births else n_designs
    weights, drawn = np.empty(n_designs), np.empty(q)
    accepted = 0
    for i in range(n_neurons):
        old = labels[i]
        sizes[old] -= 1
        occupied = 0
        for k in range(n_designs):
            occupied += sizes[k] > 0
        alone = sizes[old] == 0
        top = -np.inf
        for k in range(n_designs):
            if sizes[k] > 0:
                weights[k] = math.log(sizes[k] + gamma)
            elif (alone and k == old) or (births and not alone and k == n_old):
                # a neuron by itself keeps its own trajectory as the candidate for a new cluster
                weights[k] = math.log(gamma) + log_mixture[occupied] - log_mixture[max(occupied - 1, 0)]
                if occupied == 0:
                    weights[k] = 0.0
            else:
                weights[k] = -np.inf
            weights[k] += log_evidence[i, k] / temperature
            top = max(top, weights[k])
        total = 0.0
        for k in range(n_designs):
            weights[k] = math.exp(weights[k] - top)
            total += weights[k]
        threshold, new, cumulated = uniforms[i, 0] * total, n_designs - 1, 0.0
        for k in range(n_designs):
            cumulated += weights[k]
            if threshold < cumulated:
                new = k
                break
        root = roots[i, new]
        for a in range(q - 1, -1, -1):
            value = normals[i, a]
            for k in range(a + 1, q):
                value -= root[k, a] * (drawn[k] - modes[i, new, k])
            drawn[a] = modes[i, new, a] + value / root[a, a]
        ratio = 0.0
        if temperature == 1.0:
            ratio = _log_posterior_over_proposal(
                counts[i], designs[new], drawn, dispersion[i], log_evidence[i, new], modes[i, new], root
            ) - _log_posterior_over_proposal(
                counts[i],
                designs[old],
                coefficients[i],
                dispersion[i],
                log_evidence[i, old],
                modes[i, old],
                roots[i, old],
            )
        if math.log(uniforms[i, 1]) < ratio:
            labels[i] = new
            accepted += 1
            for a in range(q):
                coefficients[i, a] = drawn[a]
        sizes[labels[i]] += 1
    return accepted
