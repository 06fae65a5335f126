"""Draws from the prior of Bayesian bi-clustering: everything unknown given the neurons' clusters, and counts given all of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator

from neuropil.latent.biclustering_model import ChainState, Priors
from neuropil.stats import conjugate, markov, sticky
from neuropil.stats.kalman_information import Evidence, SwitchingDynamics, sample_path
from neuropil.stats.negative_binomial import HIGHEST, LOWEST


def draw_prior(n_times: int, labels: Int[ndarray, " neuron"], priors: Priors, rng: Generator) -> ChainState:
    """Everything but the labels.

    Examples
    --------
    >>> priors = Priors(1, 2, 3.0, 3.0, 1.0, np.zeros(3), 1.0, 1)
    >>> draw_prior(15, np.zeros(3, dtype=int), priors, np.random.default_rng(0)).log_means().shape
    (15, 3)
    """
    n_latent, n_states = (int(labels.max()) + 1) * priors.width, priors.max_states
    none = np.zeros((n_states, n_states), dtype=np.int64)
    weights = np.maximum(rng.dirichlet(np.full(n_states, priors.gamma / n_states)), sticky.TINY)
    transition = sticky.draw_transitions(none, weights, alpha=priors.alpha, kappa=priors.kappa, random_state=rng)
    unseen = np.zeros((1, n_times, n_states))
    states = markov.sample_paths(np.full(n_states, 1 / n_states), transition, unseen, random_state=rng)[0, 0]
    drawn = [conjugate.sample(priors.dynamics(n_latent), rng) for _ in range(n_states)]
    coefficients = np.stack([pair[0] for pair in drawn])
    dynamics = SwitchingDynamics(
        np.ascontiguousarray(coefficients[:, :, :-1]),
        np.ascontiguousarray(coefficients[:, :, -1]),
        np.stack([pair[1] for pair in drawn]),
        np.zeros(n_latent),
        np.eye(n_latent),
    )
    nothing = Evidence(np.zeros((n_times, n_latent, n_latent)), np.zeros((n_times, n_latent)))
    return ChainState(
        labels=labels,
        baselines=rng.standard_normal(len(labels)),
        loadings=rng.standard_normal((len(labels), priors.n_factors)),
        dispersion=rng.gamma(1.0, size=len(labels)),
        path=sample_path(dynamics, nothing, states, rng),
        states=states,
        dynamics=dynamics,
        base_weights=weights / weights.sum(),
        transition=transition,
    )


def draw_counts(
    log_means: Float[ndarray, "time neuron"], dispersion: Float[ndarray, " neuron"], rng: Generator
) -> Float[ndarray, "time neuron"]:
    """Negative-binomial counts, as floats."""
    means = np.exp(np.clip(log_means, LOWEST, HIGHEST))
    return rng.poisson(means * rng.gamma(dispersion, 1 / dispersion, means.shape)).astype(np.float64)
