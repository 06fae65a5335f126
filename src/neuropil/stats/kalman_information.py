r"""Linear-Gaussian dynamics that switch between regimes, seen through Gaussian pseudo-observations of any number and rank.

.. math:: x_1 \sim N(m, V), \quad x_t = A_{\xi_t} x_{t-1} + b_{\xi_t} + N(0, Q_{\xi_t}),
          \quad p(y_t \mid x_t) \propto \exp(h_t^\top x_t - \tfrac12 x_t^\top J_t x_t)

Many observed channels cost nothing: they are summed into :math:`J_t, h_t` beforehand, and a missing one is left out of the sum. The states
:math:`\xi` can be redrawn with x integrated out, in blocks, which mixes where alternating between states and trajectories does not.

Gerlach, Carter & Kohn (2000). Efficient Bayesian inference for dynamic mixture models. Journal of the American Statistical Association
95(451). Andrieu, Doucet & Holenstein (2010). Particle Markov chain Monte Carlo methods. Journal of the Royal Statistical Society B 72(3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import UsageError
from neuropil.stats import kalman_information_kernels as kernels
from neuropil.stats.kalman_kernels import cholesky


class SwitchingDynamics(NamedTuple):
    r"""Dynamics of every regime.

    Attributes
    ----------
    transition : ndarray of shape (n_states, d, d)
        :math:`A`; row = coordinate at t, column = coordinate at t - 1.
    offset : ndarray of shape (n_states, d)
        :math:`b`.
    covariance : ndarray of shape (n_states, d, d)
        :math:`Q`.
    initial_mean, initial_covariance : ndarray of shape (d,) and (d, d)
        :math:`m, V`; the state at the first step changes nothing.
    """

    transition: Float[ndarray, "state d d"]
    offset: Float[ndarray, "state d"]
    covariance: Float[ndarray, "state d d"]
    initial_mean: Float[ndarray, " d"]
    initial_covariance: Float[ndarray, "d d"]


class Evidence(NamedTuple):
    r"""What was seen at every step: precisions :math:`J_t` and potentials :math:`h_t`."""

    precision: Float[ndarray, "time d d"]
    potential: Float[ndarray, "time d"]


class FilteredPath(NamedTuple):
    r"""Filter or smoother along one sequence of states.

    Attributes
    ----------
    log_evidence : float
        :math:`\log \int p(x_{1:T}) \prod_t \exp(h_t^\top x_t - \frac12 x_t^\top J_t x_t) \, dx`.
    means, covariances : ndarray of shape (n_times, d) and (n_times, d, d)
        Of :math:`x_t` given what was seen up to t (`filter`) or at all steps (`smooth`).
    """

    log_evidence: float
    means: Float[ndarray, "time d"]
    covariances: Float[ndarray, "time d d"]


def gather(
    design: Float[ndarray, "channel d"],
    weights: Float[ndarray, "time channel"],
    targets: Float[ndarray, "time channel"],
) -> Evidence:
    r"""Evidence of channels :math:`y_{ti} = f_i^\top x_t + N(0, 1/w_{ti})`.

    Parameters
    ----------
    design : ndarray of shape (n_channels, d)
        Rows :math:`f_i`.
    weights : ndarray of shape (n_times, n_channels)
        Precisions; 0 where nothing was observed.
    targets : ndarray of shape (n_times, n_channels)
        :math:`w_{ti} y_{ti}`; 0 where nothing was observed.

    Examples
    --------
    >>> evidence = gather(np.ones((3, 1)), np.ones((2, 3)), np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    >>> evidence.precision.ravel().tolist(), evidence.potential.ravel().tolist()
    ([3.0, 3.0], [6.0, 0.0])
    """
    d = design.shape[1]
    squares = (design[:, :, None] * design[:, None]).reshape(len(design), d * d)
    return Evidence((weights @ squares).reshape(len(weights), d, d), targets @ design)


def filter(dynamics: SwitchingDynamics, evidence: Evidence, states: Int[ndarray, " time"]) -> FilteredPath:
    """Filtered trajectories and the evidence of a sequence of states.

    Raises
    ------
    UsageError
        If shapes do not fit each other or a state does not exist.

    Examples
    --------
    >>> one = np.ones((1, 1, 1))
    >>> walk = SwitchingDynamics(one, np.zeros((1, 1)), 0.5 * one, np.zeros(1), one[0])
    >>> seen = Evidence(np.array([[[1.0]], [[0.0]], [[1.0]]]), np.array([[1.0], [0.0], [2.0]]))
    >>> filter(walk, seen, np.zeros(3, dtype=int)).means.ravel().round(12).tolist()
    [0.5, 0.5, 1.4]
    """
    means, roots, _, steps = _filtered(dynamics, evidence, states)
    return FilteredPath(float(steps.sum()), means, roots @ roots.swapaxes(1, 2))


def smooth(dynamics: SwitchingDynamics, evidence: Evidence, states: Int[ndarray, " time"]) -> FilteredPath:
    """Trajectories given everything seen.

    Examples
    --------
    >>> one = np.ones((1, 1, 1))
    >>> walk = SwitchingDynamics(one, np.zeros((1, 1)), 0.5 * one, np.zeros(1), one[0])
    >>> seen = Evidence(np.array([[[1.0]], [[0.0]], [[1.0]]]), np.array([[1.0], [0.0], [2.0]]))
    >>> smooth(walk, seen, np.zeros(3, dtype=int)).means.ravel().round(12).tolist()
    [0.8, 1.1, 1.4]
    """
    means, roots, _, steps = _filtered(dynamics, evidence, states)
    precisions, potentials = _messages(dynamics, evidence, states)
    smoothed, covariances = np.empty_like(means), np.empty_like(roots)
    kernels.smooth_path(means, roots, precisions, potentials, smoothed, covariances)
    return FilteredPath(float(steps.sum()), smoothed, covariances)


def sample_path(
    dynamics: SwitchingDynamics,
    evidence: Evidence,
    states: Int[ndarray, " time"],
    random_state: int | Generator | None = None,
) -> Float[ndarray, "time d"]:
    """Draw a trajectory given the states and everything seen: filtering forward, sampling backward.

    Examples
    --------
    >>> one = np.ones((1, 1, 1))
    >>> walk = SwitchingDynamics(one, np.zeros((1, 1)), 0.5 * one, np.zeros(1), one[0])
    >>> sure = Evidence(np.full((3, 1, 1), 1e12), np.array([[1e12], [2e12], [3e12]]))
    >>> sample_path(walk, sure, np.zeros(3, dtype=int), 0).ravel().round(3).tolist()
    [1.0, 2.0, 3.0]
    """
    means, roots, ahead, _ = _filtered(dynamics, evidence, states)
    return _backward(dynamics, states, means, roots, ahead, default_rng(random_state))


def sample_states_and_path(
    dynamics: SwitchingDynamics,
    evidence: Evidence,
    states: Int[ndarray, " time"],
    transition: Float[ndarray, "state state"],
    jump: Float[ndarray, " state"],
    random_state: int | Generator | None = None,
    *,
    n_candidates: int = 4,
    block_lengths: tuple[int, int] = (10, 30),
) -> tuple[Int[ndarray, " time"], Float[ndarray, "time d"]]:
    """Redraw states with the trajectory integrated out, then the trajectory: one move that leaves the joint posterior invariant.

    The sequence is cut into blocks of random lengths. In every block the present states compete with others, drawn from a Markov bridge
    between its neighbours; each has the weight prior times Kalman evidence over proposal (iterated sampling-importance-resampling).

    Parameters
    ----------
    dynamics, evidence
    states : ndarray of int, shape (n_times,)
        The present ones.
    transition : ndarray of shape (n_states, n_states)
        Prior probabilities of the states, from row to column; all positive. The first state is uniform.
    jump : ndarray of shape (n_states,)
        Probabilities with which candidates choose the states that they jump to; all positive.
    random_state : int, Generator or None
    n_candidates : int, default 4
        Paths a block, the present one among them; 1 leaves the states as they are.
    block_lengths : (int, int)
        Shortest and longest block.

    Returns
    -------
    states : ndarray of int, shape (n_times,)
    path : ndarray of shape (n_times, d)
    """
    if n_candidates < 1 or not 1 <= block_lengths[0] <= block_lengths[1]:
        raise UsageError(
            f"Expected one candidate or more and block lengths from shortest to longest, got {n_candidates} and {block_lengths}."
        )
    rng = default_rng(random_state)
    _check(dynamics, evidence, states)
    n_times, d = evidence.potential.shape
    states = states.astype(np.int64)
    lengths = rng.integers(block_lengths[0], block_lengths[1] + 1, n_times // block_lengths[0] + 1)
    first = int(rng.integers(1, block_lengths[1] + 1))
    edges = np.unique(np.concatenate([[0], np.minimum(first + np.cumsum(lengths) - lengths[0], n_times), [n_times]]))
    precisions, potentials = _messages(dynamics, evidence, states)
    means, roots, ahead = np.empty((n_times, d)), np.empty((n_times, d, d)), np.empty((n_times, d, d))
    kernels.scan_blocks(
        dynamics.transition, dynamics.offset, dynamics.covariance, dynamics.initial_mean, _root(dynamics.initial_covariance),
        *evidence, transition, jump, edges, rng.random((n_candidates - 1, n_times)), rng.random((n_candidates - 1, len(edges))),
        precisions, potentials, states, means, roots, ahead,
    )  # fmt: skip
    return states, _backward(dynamics, states, means, roots, ahead, rng)


def _filtered(
    dynamics: SwitchingDynamics, evidence: Evidence, states: ndarray
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    _check(dynamics, evidence, states)
    n_times, d = evidence.potential.shape
    means, roots, ahead = np.empty((n_times, d)), np.empty((n_times, d, d)), np.empty((n_times, d, d))
    steps = kernels.filter_path(
        dynamics.transition, dynamics.offset, dynamics.covariance, dynamics.initial_mean, _root(dynamics.initial_covariance),
        *evidence, states, means, roots, ahead,
    )  # fmt: skip
    return means, roots, ahead, steps


def _messages(dynamics: SwitchingDynamics, evidence: Evidence, states: ndarray) -> tuple[ndarray, ndarray]:
    precisions, potentials = np.empty_like(evidence.precision), np.empty_like(evidence.potential)
    kernels.backward_messages(
        dynamics.transition, dynamics.offset, _roots(dynamics.covariance), *evidence, states, precisions, potentials
    )
    return precisions, potentials


def _backward(
    dynamics: SwitchingDynamics, states: ndarray, means: ndarray, roots: ndarray, ahead: ndarray, rng: Generator
) -> ndarray:
    path = np.empty_like(means)
    first, second = rng.standard_normal((2, *means.shape))
    noise = _roots(dynamics.covariance)
    kernels.sample_backward(
        dynamics.transition, dynamics.offset, noise, states, means, roots, ahead, first, second, path
    )
    return path


def _roots(covariances: ndarray) -> ndarray:
    return np.stack([_root(covariance) for covariance in covariances])


def _root(covariance: ndarray) -> ndarray:
    lower = np.empty_like(covariance)
    cholesky(covariance, lower)
    return lower


def _check(dynamics: SwitchingDynamics, evidence: Evidence, states: ndarray) -> None:
    n_states, d = dynamics.offset.shape
    n_times = len(states)
    if evidence.precision.shape != (n_times, d, d) or evidence.potential.shape != (n_times, d):
        raise UsageError(
            f"For {n_times} states and dynamics in {d} dimensions, precision must have shape {(n_times, d, d)} and potential "
            f"{(n_times, d)}; got {evidence.precision.shape} and {evidence.potential.shape}."
        )
    if n_times == 0 or states.min() < 0 or states.max() >= n_states:
        raise UsageError(f"Expected one step or more with states from 0 to {n_states - 1}, got {np.unique(states)}.")
