r"""Linear-Gaussian state-space models: filter, smoother, likelihood, simulation, draws from the posterior, missing observations.

.. math:: z_1 \sim N(m, V), \quad z_t = A z_{t-1} + N(0, Q), \quad y_t = C z_t + N(0, R_t)

Sequences come as a padded array (sequence, time, channel) with their `lengths`, or as a list of arrays (time, channel); results have the
same form, padding filled with NaN. An entry that is NaN was not observed: whatever else was observed at that step counts, also where
the noise of the two is correlated.

Observations are whitened once and reduced to as many numbers a step as there are states (nothing is lost by it), so that the cost of the
recursion does not grow with the number of channels. Covariances are products of factors throughout and stay positive definite for
any number of steps; V and Q may be singular, R may not. A call takes 8 (d + d²) bytes a step for d states, which it returns, the
smoother 8 d² more for the covariances of neighbours, and 8 min(n, d) for the reduced observations.

Rauch, Tung & Striebel (1965). Maximum likelihood estimates of linear dynamic systems. AIAA Journal 3(8).
Särkkä & Svensson (2023). Bayesian Filtering and Smoothing, 2nd edition. Cambridge University Press.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import DataError, UsageError
from neuropil.stats import kalman_kernels as kernels
from neuropil.stats.kalman_observations import check_covariance, reduce
from neuropil.stats.sequences import Packed, over_sequences, pack

Steps = Float[ndarray, "sequence time channel"] | Sequence[Float[ndarray, "_ channel"]]
Lengths = Int[ndarray, " sequence"] | None


class LinearGaussian(NamedTuple):
    r"""Parameters of a linear-Gaussian state-space model with d states and n channels.

    Attributes
    ----------
    initial_mean, initial_covariance : ndarray of shape (d,) and (d, d)
        :math:`m, V` of the first state, before its observation.
    transition, transition_covariance : ndarray of shape (d, d)
        :math:`A, Q`.
    observation : ndarray of shape (n, d)
        :math:`C`.
    observation_covariance : ndarray of shape (n, n), or (n_sequences, n_times, n, n), or list of ndarray of shape (n_times_i, n, n)
        :math:`R`, or :math:`R_t` of every step in the form of the observations; positive definite.
    """

    initial_mean: Float[ndarray, " state"]
    initial_covariance: Float[ndarray, "state state"]
    transition: Float[ndarray, "state state"]
    transition_covariance: Float[ndarray, "state state"]
    observation: Float[ndarray, "channel state"]
    observation_covariance: Any


class Filtered(NamedTuple):
    r"""What is known of the states from the past.

    Attributes
    ----------
    log_likelihood : ndarray of shape (n_sequences,)
        :math:`\log p(y_{1:T})`, of what was observed.
    means : ndarray of shape (n_sequences, n_times, d) or list of ndarray of shape (n_times_i, d)
        :math:`E[z_t \mid y_{1:t}]`.
    covariances : ndarray of shape (n_sequences, n_times, d, d) or list of ndarray of shape (n_times_i, d, d)
        :math:`\mathrm{Cov}[z_t \mid y_{1:t}]`.
    """

    log_likelihood: Float[ndarray, " sequence"]
    means: Any
    covariances: Any


class Smoothed(NamedTuple):
    r"""What is known of the states from the whole sequence.

    Attributes
    ----------
    log_likelihood : ndarray of shape (n_sequences,)
        :math:`\log p(y_{1:T})`, of what was observed.
    means : ndarray of shape (n_sequences, n_times, d) or list of ndarray of shape (n_times_i, d)
        :math:`E[z_t \mid y_{1:T}]`.
    covariances : ndarray of shape (n_sequences, n_times, d, d) or list of ndarray of shape (n_times_i, d, d)
        :math:`\mathrm{Cov}[z_t \mid y_{1:T}]`.
    cross_covariances : ndarray of shape (n_sequences, n_times - 1, d, d) or list of ndarray of shape (n_times_i - 1, d, d)
        :math:`\mathrm{Cov}[z_{t+1}, z_t \mid y_{1:T}]`, rows of the later state.
    """

    log_likelihood: Float[ndarray, " sequence"]
    means: Any
    covariances: Any
    cross_covariances: Any


class Simulated(NamedTuple):
    r"""States :math:`z_t` (n_sequences, n_times, d) and observations :math:`y_t` (n_sequences, n_times, n) drawn from a model."""

    states: Float[ndarray, "sequence time state"]
    observations: Float[ndarray, "sequence time channel"]


def filter(model: LinearGaussian, observations: Steps, lengths: Lengths = None) -> Filtered:
    """Kalman filter: the log-likelihood of every sequence and its states given the past.

    Parameters
    ----------
    model : LinearGaussian
    observations : ndarray of shape (n_sequences, n_times, n_channels) or list of ndarray of shape (n_times_i, n_channels)
        NaN where nothing was observed.
    lengths : ndarray of int, shape (n_sequences,), optional
        Valid steps of every sequence of a padded array.

    Returns
    -------
    Filtered

    Raises
    ------
    DataError
        If an observation is infinite or shapes do not fit.
    UsageError
        If the model's shapes do not fit each other, or a covariance is none.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> walk = LinearGaussian(np.zeros(1), one, one, 0.5 * one, one, one)
    >>> result = filter(walk, np.array([[[1.0], [np.nan], [2.0]]]))
    >>> result.means[0, :, 0].round(12).tolist(), result.covariances[0, :, 0, 0].round(12).tolist()
    ([0.5, 0.5, 1.4], [0.5, 1.0, 0.6])
    """
    _, packed, means, covariances, log_likelihood = _forward(model, observations, lengths)
    return Filtered(log_likelihood, _given_back(packed, means), _given_back(packed, covariances))


def smooth(model: LinearGaussian, observations: Steps, lengths: Lengths = None) -> Smoothed:
    """Rauch-Tung-Striebel smoother, with the covariances of neighbouring states that expectation maximisation needs.

    Parameters as for `filter`.

    Returns
    -------
    Smoothed

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> walk = LinearGaussian(np.zeros(1), one, one, 0.5 * one, one, one)
    >>> smooth(walk, np.array([[[1.0], [np.nan], [2.0]]])).means[0, :, 0].round(12).tolist()
    [0.8, 1.1, 1.4]
    """
    model, packed, means, covariances, log_likelihood = _forward(model, observations, lengths)
    crossed = np.empty_like(covariances)
    over_sequences(
        lambda part: kernels.smooth_backward(
            model.transition, model.transition_covariance, means, covariances, crossed, packed.starts[part], packed.lengths[part]
        ),
        packed.lengths, 10 * means.shape[1] ** 3,
    )  # fmt: skip
    for s, start in enumerate(packed.starts + packed.lengths - 1):
        crossed[start : packed.starts[s] + (packed.n_times or packed.lengths[s])] = np.nan
    neighbours = packed.unpack(crossed)
    neighbours = neighbours[:, :-1] if isinstance(neighbours, ndarray) else [steps[:-1] for steps in neighbours]
    return Smoothed(log_likelihood, _given_back(packed, means), _given_back(packed, covariances), neighbours)


def sample_posterior(
    model: LinearGaussian,
    observations: Steps,
    lengths: Lengths = None,
    *,
    n_samples: int = 1,
    random_state: int | Generator | None = None,
) -> Any:
    """Draw paths of states from p(z_{1:T} | y_{1:T}): filtering forward, sampling backward.

    Parameters
    ----------
    model, observations, lengths
        As for `filter`.
    n_samples : int, default 1
        Paths a sequence.
    random_state : int, Generator or None

    Returns
    -------
    ndarray of shape (n_samples, n_sequences, n_times, d) or list of ndarray of shape (n_samples, n_times_i, d)
    """
    if n_samples < 1:
        raise UsageError(f"Expected one sample or more, got n_samples={n_samples}.")
    model, packed, means, covariances, _ = _forward(model, observations, lengths)
    states = default_rng(random_state).standard_normal((len(means), n_samples, means.shape[1]))
    over_sequences(
        lambda part: kernels.sample_backward(
            model.transition, model.transition_covariance, means, covariances, packed.starts[part], packed.lengths[part], states
        ),
        packed.lengths, 10 * means.shape[1] ** 3,
    )  # fmt: skip
    paths = _given_back(packed, states)
    return np.moveaxis(paths, 2, 0) if isinstance(paths, ndarray) else [path.swapaxes(0, 1) for path in paths]


def simulate(
    model: LinearGaussian, n_sequences: int, n_times: int, random_state: int | Generator | None = None
) -> Simulated:
    """Draw states and observations from a model with one observation covariance.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> walk = LinearGaussian(np.zeros(1), one, one, 0.5 * one, one, one)
    >>> simulate(walk, 2, 100, random_state=0).observations.shape
    (2, 100, 1)
    """
    model = _check_model(model)
    if n_sequences < 1 or n_times < 1:
        raise UsageError(f"Expected one sequence and one step or more, got {n_sequences} and {n_times}.")
    R = check_covariance(model.observation_covariance, len(model.observation), "observation_covariance")
    rng = default_rng(random_state)
    states = rng.standard_normal((n_sequences, n_times, len(model.initial_mean)))
    states[:, 0] = model.initial_mean + states[:, 0] @ _root(model.initial_covariance).T
    states[:, 1:] = states[:, 1:] @ _root(model.transition_covariance).T
    for t in range(1, n_times):
        states[:, t] += states[:, t - 1] @ model.transition.T
    noise = rng.standard_normal((n_sequences, n_times, len(R))) @ _root(R).T
    return Simulated(states, states @ model.observation.T + noise)


def predict(
    means: Float[ndarray, "*batch state"],
    covariances: Float[ndarray, "*batch state state"],
    transition: Float[ndarray, "state state"],
    transition_covariance: Float[ndarray, "state state"],
) -> tuple[Float[ndarray, "*batch state"], Float[ndarray, "*batch state state"]]:
    """One step ahead: A m and A P A' + Q, symmetric to the last bit.

    Examples
    --------
    >>> import numpy as np
    >>> mean, covariance = predict(np.array([2.0]), np.eye(1), 0.5 * np.eye(1), np.eye(1))
    >>> mean.tolist(), covariance.tolist()
    ([1.0], [[1.25]])
    """
    ahead = transition @ covariances @ transition.T + transition_covariance
    return means @ transition.T, (ahead + ahead.swapaxes(-1, -2)) / 2


def stationary_covariance(
    transition: Float[ndarray, "state state"], transition_covariance: Float[ndarray, "state state"]
) -> Float[ndarray, "state state"]:
    """The covariance S = A S A' + Q to which states settle (discrete Lyapunov equation).

    Raises
    ------
    UsageError
        If an eigenvalue of `transition` has an absolute value of one or more: the states then never settle.

    Examples
    --------
    >>> import numpy as np
    >>> stationary_covariance(0.6 * np.eye(1), 0.64 * np.eye(1)).round(12).tolist()
    [[1.0]]
    """
    from scipy.linalg import solve_discrete_lyapunov

    radius = float(np.abs(np.linalg.eigvals(transition)).max())
    if not radius < 1:
        raise UsageError(
            f"A state settles only if all eigenvalues of transition are smaller than 1 in absolute value, the largest is {radius:.6g}."
        )
    settled = solve_discrete_lyapunov(transition, transition_covariance)
    return (settled + settled.T) / 2


def _forward(model: Any, observations: Any, lengths: Any) -> tuple[LinearGaussian, Packed, ndarray, ndarray, ndarray]:
    model = _check_model(model)
    packed = pack(observations, lengths, "observations", ("channel",))
    n_channels, d = model.observation.shape
    if packed.values.shape[1] != n_channels:
        raise DataError(
            f"The model observes {n_channels} channels (rows of observation), the observations have {packed.values.shape[1]}."
        )
    reduced = reduce(model.observation, model.observation_covariance, packed)
    roots = [_root(covariance) for covariance in (model.initial_covariance, model.transition_covariance)]
    n_steps = len(packed.values)
    means, covariances, log_likelihood = np.empty((n_steps, d)), np.empty((n_steps, d, d)), np.empty(len(packed.starts))
    over_sequences(
        lambda part: kernels.filter_forward(
            model.initial_mean, roots[0], model.transition, roots[1], *reduced, packed.starts[part], packed.lengths[part],
            means, covariances, log_likelihood[part],
        ),
        packed.lengths, 5 * d**3,
    )  # fmt: skip
    return model, packed, means, covariances, log_likelihood


def _given_back(packed: Packed, steps: ndarray) -> Any:
    packed.blank(steps, np.nan)
    return packed.unpack(steps)


def _root(covariance: ndarray) -> ndarray:
    lower = np.empty_like(covariance)
    kernels.cholesky(covariance, lower)
    return lower


def _check_model(model: LinearGaussian) -> LinearGaussian:
    arrays = {name: np.ascontiguousarray(getattr(model, name), dtype=np.float64) for name in LinearGaussian._fields[:5]}
    d = arrays["initial_mean"].size
    expected = {
        "initial_mean": (d,),
        "initial_covariance": (d, d),
        "transition": (d, d),
        "transition_covariance": (d, d),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape or d == 0:
            raise UsageError(
                f"{name} must have shape {shape}, as initial_mean has {d} entries; got {arrays[name].shape}."
            )
    if arrays["observation"].ndim != 2 or arrays["observation"].shape[1] != d:
        raise UsageError(f"observation must have shape (n_channels, {d}), got {arrays['observation'].shape}.")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UsageError(f"{name} must be finite, got NaN or infinity.")
    for name in ("initial_covariance", "transition_covariance"):
        check_covariance(arrays[name], d, name)
    return LinearGaussian(**arrays, observation_covariance=model.observation_covariance)
