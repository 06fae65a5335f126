r"""Updates of the sticky hierarchical Dirichlet process of hidden Markov models, in its weak limit of L states.

.. math:: \beta \sim \mathrm{Dir}(\gamma / L, ..., \gamma / L), \quad \pi_j \sim \mathrm{Dir}(\alpha \beta + \kappa e_j)

Fox, Sudderth, Jordan & Willsky (2011). A sticky HDP-HMM with application to speaker diarization. Annals of Applied Statistics 5(2A).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import UsageError
from neuropil.stats.polya_gamma import draw_tables

TINY = 1e-12


def count_transitions(states: Int[ndarray, " time"], n_states: int) -> Int[ndarray, "state state"]:
    """How often each state (row) was followed by each (column).

    Examples
    --------
    >>> count_transitions(np.array([0, 0, 1, 0]), 2).tolist()
    [[1, 1], [1, 0]]
    """
    if len(states) and not 0 <= states.min() <= states.max() < n_states:
        raise UsageError(f"Expected states from 0 to {n_states - 1}, got {states.min()} to {states.max()}.")
    pairs = np.bincount(states[:-1].astype(np.int64) * n_states + states[1:], minlength=n_states**2)
    return pairs.reshape(n_states, n_states)


def draw_base_weights(
    counts: Int[ndarray, "state state"],
    weights: Float[ndarray, " state"],
    *,
    alpha: float,
    gamma: float,
    kappa: float,
    random_state: int | Generator | None = None,
) -> Float[ndarray, " state"]:
    r"""Draw :math:`\beta` given the transitions that were made; those that stickiness explains do not count.

    Parameters
    ----------
    counts : ndarray of int, shape (n_states, n_states)
        Of transitions from row to column.
    weights : ndarray of shape (n_states,)
        Present :math:`\beta`.
    alpha, gamma, kappa : float
        Concentrations of rows and of :math:`\beta`, and stickiness.
    random_state : int, Generator or None
    """
    _check(alpha, gamma, kappa)
    n_states, rng = len(weights), default_rng(random_state)
    tables = draw_tables(counts, alpha * weights + kappa * np.eye(n_states), rng)
    own = np.diag(tables)
    stuck = rng.binomial(own, kappa / (kappa + alpha * weights)) if kappa > 0 else np.zeros_like(own)
    return _dirichlet(gamma / n_states + tables.sum(axis=0) - stuck, rng)


def draw_transitions(
    counts: Int[ndarray, "state state"],
    weights: Float[ndarray, " state"],
    *,
    alpha: float,
    kappa: float,
    random_state: int | Generator | None = None,
) -> Float[ndarray, "state state"]:
    """Draw the transition matrix given the transitions that were made; rows sum to 1 and are positive.

    Examples
    --------
    >>> pi = draw_transitions(np.diag([10**9, 10**9]), np.full(2, 0.5), alpha=5.0, kappa=10.0, random_state=0)
    >>> pi.round(3).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    _check(alpha, 1.0, kappa)
    rng = default_rng(random_state)
    concentration = alpha * weights + kappa * np.eye(len(weights)) + counts
    return np.stack([_dirichlet(row, rng) for row in concentration])


def _dirichlet(concentration: ndarray, rng: Generator) -> ndarray:
    """A draw kept away from 0, where tiny concentrations would round to."""
    draw = np.maximum(rng.standard_gamma(concentration), TINY)
    return draw / draw.sum()


def _check(alpha: float, gamma: float, kappa: float) -> None:
    if not (alpha > 0 and gamma > 0 and kappa >= 0):
        raise UsageError(
            f"alpha and gamma must be positive and kappa 0 or more, got {alpha:g}, {gamma:g} and {kappa:g}."
        )
