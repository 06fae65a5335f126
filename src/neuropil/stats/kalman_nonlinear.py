r"""Filters of states that are observed, or move, nonlinearly: extended and unscented Kalman filters, and the unscented transform.

.. math:: z_1 \sim N(m, V), \quad z_t = a(z_{t-1}) + N(0, Q), \quad y_t = h(z_t) + N(0, R(z_t))

Both filters put a line :math:`H z + c` with noise in the place of h around what is predicted, and differ in which line: the extended filter
takes the tangent at the mean, the unscented one the regression line through 2 d + 1 points that have the predicted mean and covariance,
whose scatter around the line adds to the noise. With the line, the update is that of the Kalman filter, here of the covariance's factor, so
that nothing loses its definiteness. A noise that depends on the state, such as the variance of a Poisson count, is taken at the mean.

Functions are called once a step for all sequences together, so that many short sequences cost little more than one. The time that a step
takes is that of the functions; there is nothing to compile.

Anderson & Moore (1979). Optimal Filtering, chapter 8. Wan & van der Merwe (2000). The unscented Kalman filter for nonlinear estimation.
IEEE Adaptive Systems for Signal Processing, Communications, and Control Symposium. Särkkä & Svensson (2023). Bayesian Filtering and
Smoothing, 2nd edition, chapters 7 to 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.stats.kalman import Filtered, Lengths, Steps
from neuropil.stats.kalman_kernels import cholesky
from neuropil.stats.kalman_observations import check_covariance
from neuropil.stats.sequences import Packed, pack

STEP = 1e-5  # of central differences, relative to a state of size 1


class NonlinearGaussian(NamedTuple):
    r"""A state-space model with d states and n channels, whose functions take many states at once.

    Attributes
    ----------
    initial_mean, initial_covariance : ndarray of shape (d,) and (d, d)
        :math:`m, V` of the first state, before its observation.
    transition : ndarray of shape (d, d), or callable
        A matrix A, :math:`a(z) = A z`; or a function of states (n_states, d) to the next ones (n_states, d).
    transition_covariance : ndarray of shape (d, d)
        :math:`Q`.
    observe : callable
        :math:`h`, of states (n_states, d) to observations (n_states, n).
    observation_covariance : ndarray of shape (n, n), or callable
        :math:`R`, positive definite; or a function of states (n_states, d) to the variances (n_states, n) of independent channels.
    observe_slope, transition_slope : callable, optional
        Derivatives of h (n_states, n, d) and of a function `transition` (n_states, d, d); central differences without.
    """

    initial_mean: Float[ndarray, " state"]
    initial_covariance: Float[ndarray, "state state"]
    transition: Any
    transition_covariance: Float[ndarray, "state state"]
    observe: Callable[..., Any]
    observation_covariance: Any
    observe_slope: Callable[..., Any] | None = None
    transition_slope: Callable[..., Any] | None = None


class Sigma(NamedTuple):
    """Weights of the unscented transform: points lie at `spread` standard deviations, the mean itself counts `middle`."""

    spread: float
    middle: float
    middle_covariance: float
    other: float


class Transformed(NamedTuple):
    """Mean and covariance of a function of a Gaussian, and the covariance of its argument with it."""

    mean: Float[ndarray, "*batch output"]
    covariance: Float[ndarray, "*batch output output"]
    cross: Float[ndarray, "*batch state output"]


def sigma_weights(n_states: int, alpha: float = 1.0, beta: float = 0.0, kappa: float = 0.0) -> Sigma:
    """Weights of the scaled unscented transform; by default the mean itself counts nothing, and the other points alike.

    Examples
    --------
    >>> sigma_weights(4)
    Sigma(spread=2.0, middle=0.0, middle_covariance=0.0, other=0.125)
    """
    scaled = alpha**2 * (n_states + kappa)
    if not (alpha > 0 and scaled > 0):
        raise UsageError(f"Points need alpha > 0 and {n_states} + kappa > 0, got alpha={alpha}, kappa={kappa}.")
    middle = 1.0 - n_states / scaled
    return Sigma(float(np.sqrt(scaled)), middle, middle + 1.0 - alpha**2 + beta, 0.5 / scaled)


def unscented_transform(
    function: Callable[..., Any],
    means: Float[ndarray, "batch state"],
    covariances: Float[ndarray, "batch state state"],
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    kappa: float = 0.0,
) -> Transformed:
    """What becomes of Gaussians under a function of states (n_states, d), from its values at 2 d + 1 points of each.

    Exact for linear functions, to the third moment for others (Julier & Uhlmann 1997).

    Examples
    --------
    >>> moved = unscented_transform(lambda z: z**2, np.array([[3.0]]), np.array([[[1.0]]]))
    >>> moved.mean.tolist(), moved.cross.tolist()
    ([[10.0]], [[[6.0]]])
    """
    weights = sigma_weights(means.shape[1], alpha, beta, kappa)
    n, d = means.shape
    offsets = weights.spread * np.swapaxes(_roots(covariances), 1, 2)
    points = np.concatenate([means[:, None], means[:, None] + offsets, means[:, None] - offsets], axis=1)
    values = _called(function, points.reshape(-1, d), "A transformed function").reshape(n, 2 * d + 1, -1)
    first, others = values[:, 0], values[:, 1:]
    mean = weights.middle * first + weights.other * others.sum(axis=1)
    apart, middle = others - mean[:, None], first - mean
    covariance = weights.other * np.swapaxes(apart, 1, 2) @ apart
    covariance += weights.middle_covariance * middle[:, :, None] * middle[:, None]
    cross = weights.other * np.swapaxes(offsets, 1, 2) @ (others[:, :d] - others[:, d:])
    return Transformed(mean, covariance, cross)


def extended_filter(model: NonlinearGaussian, observations: Steps, lengths: Lengths = None) -> Filtered:
    """Extended Kalman filter: h, and a function `transition`, are replaced by their tangents at the mean.

    Parameters
    ----------
    model : NonlinearGaussian
    observations : ndarray of shape (n_sequences, n_times, n_channels) or list of ndarray of shape (n_times_i, n_channels)
        NaN where nothing was observed.
    lengths : ndarray of int, shape (n_sequences,), optional
        Valid steps of every sequence of a padded array.

    Returns
    -------
    Filtered
        The log-likelihood is that of the observations under the lines.

    Raises
    ------
    DataError
        If an observation is infinite, or the filter reaches a state where a function of the model is not finite.
    UsageError
        If shapes do not fit, or a covariance is none.

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> squared = NonlinearGaussian(np.ones(1), one, one, 0.1 * one, lambda z: z**2, 0.5 * one)
    >>> extended_filter(squared, np.full((1, 50, 1), 4.0)).means[0, -1].round(2).tolist()
    [2.0]
    """

    def predict(means: ndarray, covariances: ndarray) -> tuple[ndarray, ndarray]:
        if callable(model.transition):
            slopes = _slope(model.transition, model.transition_slope, means, "transition")
            return _called(model.transition, means, "transition"), slopes @ covariances @ np.swapaxes(slopes, 1, 2)
        return means @ model.transition.T, model.transition @ covariances @ model.transition.T

    def line(means: ndarray, covariances: ndarray) -> tuple[ndarray, ndarray, None]:
        return (
            _called(model.observe, means, "observe"), _slope(model.observe, model.observe_slope, means, "observe"), None
        )  # fmt: skip

    return _filter(model, observations, lengths, predict, line)


def unscented_filter(
    model: NonlinearGaussian,
    observations: Steps,
    lengths: Lengths = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    kappa: float = 0.0,
) -> Filtered:
    """Unscented Kalman filter: h, and a function `transition`, are replaced by regression lines through 2 d + 1 points.

    Parameters as for `extended_filter` and `sigma_weights`. Slopes are not needed.

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> squared = NonlinearGaussian(np.ones(1), one, one, 0.1 * one, lambda z: z**2, 0.5 * one)
    >>> unscented_filter(squared, np.full((1, 50, 1), 4.0)).means[0, -1].round(1).tolist()
    [2.0]
    """
    given = {"alpha": alpha, "beta": beta, "kappa": kappa}

    def predict(means: ndarray, covariances: ndarray) -> tuple[ndarray, ndarray]:
        if callable(model.transition):
            moved = unscented_transform(model.transition, means, covariances, **given)
            return moved.mean, moved.covariance
        return means @ model.transition.T, model.transition @ covariances @ model.transition.T

    def line(means: ndarray, covariances: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        seen = unscented_transform(model.observe, means, covariances, **given)
        factor = _roots(covariances)
        slopes = np.swapaxes(_solve_twice(factor, seen.cross), 1, 2)
        explained = slopes @ factor
        return seen.mean, slopes, seen.covariance - explained @ np.swapaxes(explained, 1, 2)

    return _filter(model, observations, lengths, predict, line)


def _filter(
    model: NonlinearGaussian,
    observations: Any,
    lengths: Any,
    predict: Callable[..., tuple[ndarray, ndarray]],
    line: Callable[..., tuple[ndarray, ndarray, ndarray | None]],
) -> Filtered:
    packed = pack(observations, lengths, "observations", ("channel",))
    mean, covariance, noise = _check(model, packed)
    d, n_sequences = len(mean), len(packed.starts)
    means, covariances = np.full((len(packed.values), d), np.nan), np.full((len(packed.values), d, d), np.nan)
    log_likelihood = np.zeros(n_sequences)
    order = np.argsort(-packed.lengths, kind="stable")
    still = np.tile(mean, (n_sequences, 1))
    spread = np.tile(covariance, (n_sequences, 1, 1))
    for t in range(int(packed.lengths.max())):
        active = order[packed.lengths[order] > t]
        rows = packed.starts[active] + t
        m, P = still[: len(active)], spread[: len(active)]
        if t > 0:
            m, P = predict(m, P)
            P = P + model.transition_covariance
        y = packed.values[rows]
        seen = ~np.isnan(y)
        m, P, gained = _update(m, P, y, seen, noise, line)
        if not (np.isfinite(m).all() and np.isfinite(P).all()):
            raise DataError(
                f"The filter left what its functions can describe at step {t}; choose smaller noise or a tamer model."
            )
        still, spread = m, (P + np.swapaxes(P, 1, 2)) / 2
        means[rows], covariances[rows] = still, spread
        log_likelihood[active] += gained
    return Filtered(log_likelihood, packed.unpack(means), packed.unpack(covariances))


def _update(
    m: ndarray, P: ndarray, y: ndarray, seen: ndarray, noise: Any, line: Callable[..., Any]
) -> tuple[ndarray, ndarray, ndarray]:
    """Means and covariances given the observations of one step, and the logarithms of their densities.

    With P = F F' and the whitened line J = F' H' R^-1 H F, the covariance is F (1 + J)^-1 F'.
    """
    expected, slopes, scatter = line(m, P)
    residual = np.where(seen, y - expected, 0.0)
    slopes = np.where(seen[:, :, None], slopes, 0.0)
    factor = _roots(P)
    if callable(noise) and scatter is None:
        variances = np.where(seen, _variances(noise, m, y.shape[1]), 1.0)
        weight = 1.0 / np.sqrt(variances)
        residual, slopes, log_noise = residual * weight, slopes * weight[:, :, None], np.log(variances).sum(axis=1)
    else:
        if callable(noise):
            R = np.zeros((*y.shape, y.shape[1]))
            R[:, range(y.shape[1]), range(y.shape[1])] = _variances(noise, m, y.shape[1])
        else:
            R = np.broadcast_to(noise, (len(m), *noise.shape))
        both = seen[:, :, None] & seen[:, None]
        R = np.where(both, R if scatter is None else R + scatter, np.eye(y.shape[1]))
        try:
            lower = np.linalg.cholesky((R + np.swapaxes(R, 1, 2)) / 2)
        except np.linalg.LinAlgError as error:
            raise UsageError(
                "The noise of the observations is not positive definite; give every channel some, or the points a larger alpha."
            ) from error
        residual = np.linalg.solve(lower, residual[:, :, None])[:, :, 0]
        slopes = np.linalg.solve(lower, slopes)
        log_noise = 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    seen_by_factor = slopes @ factor
    precision = np.eye(m.shape[1]) + np.swapaxes(seen_by_factor, 1, 2) @ seen_by_factor
    pull = np.einsum("sni,sn->si", seen_by_factor, residual)
    moved = np.linalg.solve(precision, pull[:, :, None])[:, :, 0]
    new = factor @ np.linalg.solve(precision, np.swapaxes(factor, 1, 2))
    squares = (residual**2).sum(axis=1) - (pull * moved).sum(axis=1)
    logs = seen.sum(axis=1) * np.log(2 * np.pi) + log_noise + np.linalg.slogdet(precision)[1]
    return m + np.einsum("sij,sj->si", factor, moved), new, -0.5 * (logs + squares)


def _variances(noise: Callable[..., Any], m: ndarray, n_channels: int) -> ndarray:
    found = _called(noise, m, "observation_covariance")
    if found.shape[1] != n_channels or (found <= 0).any():
        raise UsageError(
            f"observation_covariance must give {n_channels} positive variances a state, got shape {found.shape}"
            + (f" and {found.min():.6g}." if found.size else ".")
        )
    return found


def _called(function: Callable[..., Any], states: ndarray, name: str) -> ndarray:
    values = np.asarray(function(states), dtype=float)
    if values.ndim < 2 or len(values) != len(states):
        raise UsageError(
            f"{name} must take states (n_states, d) and give one row each, got shape {values.shape} for {states.shape}."
        )
    return values


def _slope(function: Callable[..., Any], slope: Callable[..., Any] | None, means: ndarray, name: str) -> ndarray:
    """Derivatives (n_states, output, d)."""
    if slope is not None:
        return _called(slope, means, f"{name}_slope")
    n, d = means.shape
    steps = STEP * np.maximum(1.0, np.abs(means))
    around = np.concatenate(
        [means[:, None] + steps[:, :, None] * np.eye(d), means[:, None] - steps[:, :, None] * np.eye(d)], axis=1
    )
    values = _called(function, around.reshape(-1, d), name).reshape(n, 2 * d, -1)
    return np.swapaxes((values[:, :d] - values[:, d:]) / (2 * steps[:, :, None]), 1, 2)


def _roots(covariances: ndarray) -> ndarray:
    """Lower factors, also of matrices that are singular."""
    try:
        return np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        roots = np.empty_like(covariances)
        for covariance, root in zip(covariances, roots, strict=True):
            cholesky(np.ascontiguousarray(covariance), root)
        return roots


def _solve_twice(factor: ndarray, right: ndarray) -> ndarray:
    """(F F')^-1 right; along directions without any variance, 0."""
    diagonal = np.diagonal(factor, axis1=1, axis2=2)
    if (diagonal > 0).all():
        return np.linalg.solve(np.swapaxes(factor, 1, 2), np.linalg.solve(factor, right))
    return np.linalg.pinv(factor @ np.swapaxes(factor, 1, 2), hermitian=True) @ right


def _check(model: NonlinearGaussian, packed: Packed) -> tuple[ndarray, ndarray, Any]:
    mean = np.asarray(model.initial_mean, dtype=float)
    if mean.ndim != 1 or not len(mean) or not np.isfinite(mean).all():
        raise UsageError(f"initial_mean must be finite numbers of shape (d,), got shape {mean.shape}.")
    d = len(mean)
    covariance = check_covariance(model.initial_covariance, d, "initial_covariance")
    check_covariance(model.transition_covariance, d, "transition_covariance")
    if not callable(model.transition) and np.shape(model.transition) != (d, d):
        raise UsageError(
            f"transition must be a function or have shape ({d}, {d}), got shape {np.shape(model.transition)}."
        )
    if not callable(model.observe):
        raise UsageError(f"observe must be a function of states, got {type(model.observe).__name__}.")
    if np.isinf(packed.values).any():
        raise DataError("observations are infinite; NaN stands for a missing one.")
    n = packed.values.shape[1]
    found = _called(model.observe, mean[None], "observe").shape[1]
    if found != n:
        raise DataError(f"observe gives {found} channels, the observations have {n}.")
    noise = model.observation_covariance
    return mean, covariance, noise if callable(noise) else check_covariance(noise, n, "observation_covariance")
