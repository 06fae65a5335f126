"""Counts drawn bin by bin from coupled regressions: every bin's rates depend on what was drawn before, and on the state of the bin."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import DataError, UsageError
from neuropil.stats.glm import means_of
from neuropil.stats.glm_inputs import check_family

LARGEST_RATE = 1e6


def sample_spike_trains(
    coefficients: Float[ndarray, "state neuron feature"],
    intercepts: Float[ndarray, "state neuron"],
    basis: Float[ndarray, "lag basis"],
    states: Int[ndarray, "sequence time"],
    *,
    link: str = "exp",
    random_state: int | Generator | None = None,
) -> tuple[Int[ndarray, "sequence time neuron"], Float[ndarray, "sequence time neuron"]]:
    """Draw Poisson counts of neurons whose couplings switch with a state.

    Parameters
    ----------
    coefficients : ndarray of shape (n_states, n_neurons, n_neurons * n_basis)
        Of the features of `bases.coupling_design`; ``coefficients[s, post]``.
    intercepts : ndarray of shape (n_states, n_neurons)
    basis : ndarray of shape (n_lags, n_basis)
    states : ndarray of int, shape (n_sequences, n_times)
    link : {'exp', 'softplus', 'logistic'}, default 'exp'
    random_state : int, Generator or None

    Returns
    -------
    counts, rates : ndarray of shape (n_sequences, n_times, n_neurons)

    Raises
    ------
    DataError
        If activity grows without bound.

    Examples
    --------
    >>> counts, rates = sample_spike_trains(
    ...     np.zeros((1, 2, 2)), np.zeros((1, 2)), np.ones((1, 1)), np.zeros((1, 500), dtype=int), random_state=0
    ... )
    >>> counts.shape, rates.max().item()
    ((1, 500, 2), 1.0)
    """
    _, link_code = check_family("poisson", link)
    n_lags, n_basis = basis.shape
    n_states, n_neurons, n_features = coefficients.shape
    if n_features != n_neurons * n_basis:
        raise UsageError(
            f"{n_neurons} neurons and {n_basis} basis functions make {n_neurons * n_basis} features, got {n_features}."
        )
    if states.min() < 0 or states.max() >= n_states:
        raise UsageError(f"States must lie between 0 and {n_states - 1}, got {states.min()} to {states.max()}.")
    rng = default_rng(random_state)
    n_sequences, n_times = states.shape
    padded = np.zeros((n_sequences, n_lags + n_times, n_neurons))
    rates = np.empty((n_sequences, n_times, n_neurons))
    backwards = np.ascontiguousarray(basis[::-1])
    for t in range(n_times):
        history = np.einsum("qkj,kb->qjb", padded[:, t : t + n_lags], backwards).reshape(n_sequences, n_features)
        now = states[:, t]
        eta = intercepts[now] + np.einsum("qif,qf->qi", coefficients[now], history)
        rate = means_of(eta, link_code)
        if not rate.max() < LARGEST_RATE:
            raise DataError(
                f"Activity grows without bound (rate {rate.max():.3g} a bin at time {t}): weaken the excitatory couplings, or use a "
                "link that is bounded."
            )
        rates[:, t] = rate
        padded[:, n_lags + t] = rng.poisson(rate)
    return padded[:, n_lags:].astype(np.int64), rates
