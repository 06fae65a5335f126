"""Sampler steps of the dynamics: the parameters of every state, states given trajectories, and the sticky transition probabilities."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from neuropil.latent.biclustering_model import ChainState, Priors
from neuropil.stats import conjugate, markov, sticky


def update_dynamics(state: ChainState, priors: Priors, rng: Generator) -> None:
    """Redraw A, b, Q of every state given trajectories and states; those of unused states come from the prior."""
    n_latent = state.path.shape[1]
    prior = priors.dynamics(n_latent)
    inputs = np.column_stack([state.path[:-1], np.ones(len(state.path) - 1)])
    outputs, used = state.path[1:], state.states[1:]
    coefficients, covariances = [], []
    for s in range(priors.max_states):
        steps = used == s
        posterior = conjugate.update(prior, inputs[steps], outputs[steps]) if steps.any() else prior
        drawn, noise = conjugate.sample(posterior, rng)
        coefficients.append(drawn)
        covariances.append(noise)
    stacked = np.stack(coefficients)
    state.dynamics = state.dynamics._replace(
        transition=np.ascontiguousarray(stacked[:, :, :-1]),
        offset=np.ascontiguousarray(stacked[:, :, -1]),
        covariance=np.stack(covariances),
    )


def step_log_likelihoods(state: ChainState) -> Float[ndarray, "time state"]:
    """log p(x_t | x_{t-1}) under every state; 0 at the first bin."""
    path, dynamics = state.path, state.dynamics
    values = np.zeros((len(path), len(dynamics.offset)))
    for s, (A, b, Q) in enumerate(zip(dynamics.transition, dynamics.offset, dynamics.covariance, strict=True)):
        root = np.linalg.cholesky(Q)
        whitened = np.linalg.solve(root, (path[1:] - path[:-1] @ A.T - b).T)
        values[1:, s] = -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(root)).sum()
    return values


def update_states(state: ChainState, rng: Generator) -> None:
    """Redraw states given trajectories: messages backward, draws forward."""
    uniform = np.full(len(state.base_weights), 1 / len(state.base_weights))
    likelihoods = step_log_likelihoods(state)[None]
    state.states = markov.sample_paths(uniform, state.transition, likelihoods, random_state=rng)[0, 0]


def update_transitions(state: ChainState, priors: Priors, rng: Generator) -> None:
    """Redraw the weights of states and the transition probabilities."""
    counts = sticky.count_transitions(state.states, priors.max_states)
    state.base_weights = sticky.draw_base_weights(
        counts, state.base_weights, alpha=priors.alpha, gamma=priors.gamma, kappa=priors.kappa, random_state=rng
    )
    state.transition = sticky.draw_transitions(
        counts, state.base_weights, alpha=priors.alpha, kappa=priors.kappa, random_state=rng
    )
