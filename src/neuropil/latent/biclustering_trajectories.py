"""Sampler steps around the trajectories: counts become Gaussian, states and trajectories are redrawn together, then loadings.

Every function takes a chain's present values and changes them in place; each leaves the posterior invariant.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from neuropil.latent.biclustering_model import ChainState, Priors, poisson_log_likelihood
from neuropil.stats import negative_binomial
from neuropil.stats.kalman_information import gather, sample_path, sample_states_and_path
from neuropil.stats.polya_gamma import PseudoObservations, augment_counts


def update_trajectories(
    counts: Float[ndarray, "time neuron"],
    state: ChainState,
    priors: Priors,
    rng: Generator,
    *,
    n_candidates: int = 4,
    block_lengths: tuple[int, int] = (10, 30),
) -> None:
    """Redraw states and trajectories together, then baselines and loadings, all given one draw of the Pólya-Gamma variables.

    With Poisson counts the two moves are proposals of a negative-binomial model, each accepted or not with the ratio of the two
    likelihoods.

    Parameters
    ----------
    counts : ndarray of shape (n_times, n_neurons)
        NaN where missing.
    state : ChainState
        Changed in place.
    priors : Priors
    rng : Generator
    n_candidates : int
        Paths of states that compete in every block; 1 leaves the states alone.
    block_lengths : (int, int)
    """
    pseudo = augment_counts(counts, state.log_means(), state.dispersion, rng)
    before = _copied(state)
    _draw_states_and_path(pseudo, state, rng, n_candidates, block_lengths)
    if priors.poisson:
        _accept(counts, state, before, rng)
        pseudo = augment_counts(counts, state.log_means(), state.dispersion, rng)
        before = _copied(state)
    _draw_loadings(pseudo, state, rng)
    if priors.poisson:
        _accept(counts, state, before, rng)


def update_location(state: ChainState, rng: Generator) -> None:
    """Redraw where trajectories lie: shifting them, against baselines and offsets of the dynamics, changes no rate.

    The shift is drawn from what the priors of the first values, baselines and offsets say about it, so that trajectories stay centred as
    far as the model wants them to, without a constraint imposed from outside.
    """
    dynamics, design = state.dynamics, state.design()
    n_latent = design.shape[1]
    precision = np.eye(n_latent) + design.T @ design
    potential = state.path[0] - design.T @ state.baselines
    pulls = dynamics.transition - np.eye(n_latent)
    solved = np.linalg.solve(dynamics.covariance, np.concatenate([pulls, dynamics.offset[:, :, None]], axis=2))
    for pull, weighted in zip(pulls, solved, strict=True):
        precision += pull.T @ weighted[:, :-1]
        potential -= pull.T @ weighted[:, -1]
    root = np.linalg.cholesky((precision + precision.T) / 2)
    shift = np.linalg.solve(root.T, np.linalg.solve(root, potential) + rng.standard_normal(n_latent))
    state.path = state.path - shift
    state.baselines = state.baselines + design @ shift
    state.dynamics = dynamics._replace(offset=dynamics.offset + pulls @ shift)


def update_dispersion(counts: Float[ndarray, "time neuron"], state: ChainState, priors: Priors, rng: Generator) -> None:
    """Redraw dispersions given the rates."""
    if not priors.poisson:
        state.dispersion = negative_binomial.draw_dispersion(counts, state.log_means(), state.dispersion, rng)


def canonical(
    blocks: Float[ndarray, "cluster time variable"],
) -> tuple[Float[ndarray, "cluster time variable"], Float[ndarray, "cluster factor factor"]]:
    """Trajectories centred over time and turned so that the factors of a cluster are orthogonal, the largest first.

    Returns
    -------
    blocks : ndarray of shape (n_clusters, n_times, n_factors + 1)
    turns : ndarray of shape (n_clusters, n_factors, n_factors)
        Loadings in the new axes are ``loadings @ turn``.
    """
    centred = blocks - blocks.mean(axis=1, keepdims=True)
    turns = np.stack([np.linalg.svd(block[:, 1:], full_matrices=False)[2].T for block in centred])
    centred[..., 1:] = centred[..., 1:] @ turns
    return centred, turns


def _draw_states_and_path(
    pseudo: PseudoObservations, state: ChainState, rng: Generator, n_candidates: int, block_lengths: tuple[int, int]
) -> None:
    evidence = gather(state.design(), pseudo.precisions, pseudo.targets - pseudo.precisions * state.baselines)
    if n_candidates == 1:
        state.path = sample_path(state.dynamics, evidence, state.states, rng)
        return
    jump = 0.9 * state.base_weights + 0.1 / len(state.base_weights)
    state.states, state.path = sample_states_and_path(
        state.dynamics, evidence, state.states, state.transition, jump, rng, n_candidates=n_candidates,
        block_lengths=block_lengths,
    )  # fmt: skip


def _draw_loadings(pseudo: PseudoObservations, state: ChainState, rng: Generator) -> None:
    width = state.width
    for cluster, block in enumerate(state.blocks()):
        members = np.flatnonzero(state.labels == cluster)
        regressors = np.column_stack([np.ones(len(block)), block[:, 1:]])
        squares = (regressors[:, :, None] * regressors[:, None]).reshape(len(block), -1)
        weights = pseudo.precisions[:, members]
        precision = (weights.T @ squares).reshape(-1, width, width) + np.eye(width)
        potential = (pseudo.targets[:, members] - weights * block[:, :1]).T @ regressors
        roots = np.linalg.cholesky(precision)
        noise = rng.standard_normal((len(members), width, 1))
        half = np.linalg.solve(roots, potential[..., None]) + noise
        drawn = np.linalg.solve(roots.swapaxes(1, 2), half)[..., 0]
        state.baselines[members], state.loadings[members] = drawn[:, 0], drawn[:, 1:]


def _copied(state: ChainState) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    return state.path, state.states, state.baselines.copy(), state.loadings.copy()


def _accept(
    counts: ndarray, state: ChainState, before: tuple[ndarray, ndarray, ndarray, ndarray], rng: Generator
) -> None:
    """Keep a move of the negative-binomial model with the probability that makes it one of the Poisson model."""
    after = _copied(state)
    ratio = 0.0
    for sign, values in ((1.0, after), (-1.0, before)):
        state.path, state.states, state.baselines, state.loadings = values
        eta = state.log_means()
        ratio += sign * (
            poisson_log_likelihood(counts, eta).sum()
            - negative_binomial.log_likelihood(counts, eta, state.dispersion).sum()
        )
    kept = after if np.log(rng.random()) < ratio else before
    state.path, state.states, state.baselines, state.loadings = kept
