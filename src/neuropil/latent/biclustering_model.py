"""What a chain of the Bayesian bi-clustering sampler carries: priors, the present values of everything unknown, the log means they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from neuropil.stats import negative_binomial
from neuropil.stats.conjugate import MatrixNormalInverseWishart
from neuropil.stats.kalman_information import SwitchingDynamics

NOISE = 0.01  # prior scale of the noise of dynamics, and the noise of a cluster just born
POISSON_DISPERSION = 100.0


@dataclass(frozen=True)
class Priors:
    """Settings of the model.

    Attributes
    ----------
    n_factors : int
        Latent variables of a cluster besides the one with loading 1.
    max_states : int
    alpha, gamma, kappa : float
        Of the sticky hierarchical Dirichlet process.
    log_mixture : ndarray of shape (n_neurons + 1,)
        log V_N(t), t = 1, 2, ...
    mixture_gamma : float
    max_clusters : int
    poisson : bool
        Counts are Poisson; the negative binomial of dispersion 100 proposes.
    """

    n_factors: int
    max_states: int
    alpha: float
    gamma: float
    kappa: float
    log_mixture: Float[ndarray, " cluster"]
    mixture_gamma: float
    max_clusters: int
    poisson: bool = False

    @property
    def width(self) -> int:
        """Latent variables of a cluster."""
        return self.n_factors + 1

    def dynamics(self, n_latent: int) -> MatrixNormalInverseWishart:
        """Prior of [A b] and Q in so many dimensions: a random walk without drift and with little noise."""
        mean = np.eye(n_latent, n_latent + 1)
        return MatrixNormalInverseWishart(mean, np.eye(n_latent + 1), float(n_latent + 2), NOISE * np.eye(n_latent))


@dataclass
class ChainState:
    """Present values of everything unknown.

    Attributes
    ----------
    labels : ndarray of int, shape (n_neurons,)
        Clusters 0 .. n_clusters - 1, none of them empty.
    baselines, dispersion : ndarray of shape (n_neurons,)
    loadings : ndarray of shape (n_neurons, n_factors)
    path : ndarray of shape (n_times, n_clusters * (n_factors + 1))
        Latent variables, cluster by cluster; the first of each cluster has the loading 1.
    states : ndarray of int, shape (n_times,)
    dynamics : SwitchingDynamics
    base_weights : ndarray of shape (max_states,)
    transition : ndarray of shape (max_states, max_states)
    """

    labels: Int[ndarray, " neuron"]
    baselines: Float[ndarray, " neuron"]
    loadings: Float[ndarray, "neuron factor"]
    dispersion: Float[ndarray, " neuron"]
    path: Float[ndarray, "time latent"]
    states: Int[ndarray, " time"]
    dynamics: SwitchingDynamics
    base_weights: Float[ndarray, " state"]
    transition: Float[ndarray, "state state"]

    @property
    def width(self) -> int:
        return self.loadings.shape[1] + 1

    @property
    def n_clusters(self) -> int:
        return self.path.shape[1] // self.width

    def blocks(self) -> Float[ndarray, "cluster time variable"]:
        """Latent variables of every cluster."""
        return np.ascontiguousarray(self.path.reshape(len(self.path), -1, self.width).swapaxes(0, 1))

    def coefficients(self) -> Float[ndarray, "neuron variable"]:
        """Loadings with the 1 of the first latent variable before them."""
        return np.column_stack([np.ones(len(self.labels)), self.loadings])

    def design(self) -> Float[ndarray, "neuron latent"]:
        """Coefficients of every neuron on all latent variables, 0 for other clusters'."""
        rows = np.zeros((len(self.labels), self.n_clusters, self.width))
        rows[np.arange(len(self.labels)), self.labels] = self.coefficients()
        return rows.reshape(len(self.labels), -1)

    def log_means(self) -> Float[ndarray, "time neuron"]:
        """Log expected counts."""
        return self.baselines + self.path @ self.design().T


def standing_dynamics(n_latent: int, n_states: int) -> SwitchingDynamics:
    """A slow random walk in every state, the first value standard normal."""
    return SwitchingDynamics(
        np.tile(np.eye(n_latent), (n_states, 1, 1)),
        np.zeros((n_states, n_latent)),
        np.tile(NOISE * np.eye(n_latent), (n_states, 1, 1)),
        np.zeros(n_latent),
        np.eye(n_latent),
    )


def log_likelihood(counts: Float[ndarray, "time neuron"], state: ChainState, priors: Priors) -> float:
    """Of all counts that were seen."""
    if priors.poisson:
        return float(poisson_log_likelihood(counts, state.log_means()).sum())
    return float(negative_binomial.log_likelihood(counts, state.log_means(), state.dispersion).sum())


def poisson_log_likelihood(
    counts: Float[ndarray, "*shape"], log_means: Float[ndarray, "*shape"]
) -> Float[ndarray, "*shape"]:
    """Of every count; 0 where it is missing."""
    from scipy.special import gammaln

    eta = np.clip(log_means, negative_binomial.LOWEST, negative_binomial.HIGHEST)
    return np.where(np.isnan(counts), 0.0, counts * eta - np.exp(eta) - gammaln(counts + 1))
