r"""Negative-binomial counts of many neurons at once: likelihood, regressions with Laplace's evidence, the posterior of the dispersion.

.. math:: p(y \mid \mu, r) = \frac{\Gamma(y + r)}{\Gamma(r) \, y!} \frac{r^r \mu^y}{(r + \mu)^{y + r}}, \quad
          \mathrm{var}(y) = \mu + \mu^2 / r

Counts that are NaN do not count. Log means are kept within [-20, 12].
"""

from __future__ import annotations

import math
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.special import gammaln

from neuropil.errors import UsageError

LOWEST, HIGHEST = -20.0, 12.0
SLICE_DRAWS = 60


class LaplaceFits(NamedTuple):
    """Regressions of every neuron on every design.

    Attributes
    ----------
    log_evidence : ndarray of shape (n_neurons, n_designs)
        Laplace's approximation of log p(counts | design), without the terms that no design changes (the factorials).
    modes : ndarray of shape (n_neurons, n_designs, n_coefficients)
        Coefficients of the largest posterior density under a standard normal prior; the first belongs to the constant.
    roots : ndarray of shape (n_neurons, n_designs, n_coefficients, n_coefficients)
        Lower Cholesky factors of the negative Hessian there.
    """

    log_evidence: Float[ndarray, "neuron design"]
    modes: Float[ndarray, "neuron design coefficient"]
    roots: Float[ndarray, "neuron design coefficient coefficient"]


def log_likelihood(
    counts: Float[ndarray, "*shape"], log_means: Float[ndarray, "*shape"], dispersion: Float[ndarray, "*any"]
) -> Float[ndarray, "*shape"]:
    """Of every count; 0 where it is missing.

    Examples
    --------
    >>> from scipy.stats import nbinom
    >>> value = log_likelihood(np.array([3.0]), np.log([2.0]), np.array([5.0]))[0]
    >>> bool(np.isclose(value, nbinom(5, 5 / 7).logpmf(3)))
    True
    """
    eta = np.clip(log_means, LOWEST, HIGHEST)
    with np.errstate(invalid="ignore"):
        values = (
            gammaln(counts + dispersion) - gammaln(dispersion) - gammaln(counts + 1)
            + dispersion * np.log(dispersion) + counts * eta - (counts + dispersion) * np.log(dispersion + np.exp(eta))
        )  # fmt: skip
    return np.where(np.isnan(counts), 0.0, values)


def laplace_fits(
    counts: Float[ndarray, "time neuron"],
    dispersion: Float[ndarray, " neuron"],
    designs: Float[ndarray, "design time regressor"],
) -> LaplaceFits:
    r"""Fit :math:`\log \mu_{ti} = d + g_{t0} + c^\top g_{t, 1:}` for every neuron i and every design g, d and c standard normal.

    Parameters
    ----------
    counts : ndarray of shape (n_times, n_neurons)
        NaN where missing.
    dispersion : ndarray of shape (n_neurons,)
    designs : ndarray of shape (n_designs, n_times, n_regressors)
        The first regressor has the coefficient 1.

    Examples
    --------
    >>> fits = laplace_fits(np.full((200, 1), 2.0), np.array([50.0]), np.zeros((1, 200, 1)))
    >>> fits.modes.round(2).tolist()
    [[[0.69]]]
    """
    if not np.all(dispersion > 0):
        raise UsageError(f"dispersion must be positive, got {dispersion[~(dispersion > 0)][0]}.")
    n_neurons = counts.shape[1]
    q = designs.shape[2]
    fits = LaplaceFits(
        np.empty((n_neurons, len(designs))), np.empty((n_neurons, len(designs), q)), np.empty((n_neurons, len(designs), q, q))
    )  # fmt: skip
    _fit_all(np.ascontiguousarray(counts.T), dispersion, np.ascontiguousarray(designs), *fits)
    return fits


def draw_dispersion(
    counts: Float[ndarray, "time neuron"],
    log_means: Float[ndarray, "time neuron"],
    dispersion: Float[ndarray, " neuron"],
    random_state: int | Generator | None = None,
    *,
    shape: float = 1.0,
    rate: float = 1.0,
) -> Float[ndarray, " neuron"]:
    """Redraw every neuron's dispersion given its means, under a Gamma prior, by slice sampling of its logarithm.

    The common shortcut, Gamma(shape + tables, rate - sum log(r / (r + mean))), holds the probabilities r / (r + mean) fixed rather than
    the means, and so does not leave this posterior invariant.

    Parameters
    ----------
    counts, log_means : ndarray of shape (n_times, n_neurons)
    dispersion : ndarray of shape (n_neurons,)
        Present values.
    random_state : int, Generator or None
    shape, rate : float
        Of the prior.
    """
    uniforms = default_rng(random_state).random((len(dispersion), SLICE_DRAWS))
    drawn = np.empty(len(dispersion))
    eta = np.clip(log_means, LOWEST, HIGHEST)
    _slice_all(
        np.ascontiguousarray(counts.T), np.exp(np.ascontiguousarray(eta.T)), dispersion, shape, rate, uniforms, drawn
    )
    return drawn


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def neuron_log_likelihood(counts, design, coefficients, r):
    """Of one neuron, without what neither coefficients nor design change."""
    total = 0.0
    for t in range(len(counts)):
        y = counts[t]
        if y != y:
            continue
        eta = coefficients[0] + design[t, 0]
        for k in range(1, len(coefficients)):
            eta += coefficients[k] * design[t, k]
        eta = min(max(eta, LOWEST), HIGHEST)
        total += y * eta - (y + r) * math.log(r + math.exp(eta))
    return total


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _fit_all(counts, dispersion, designs, log_evidence, modes, roots):
    n_neurons, n_times = counts.shape
    n_designs, _, q = designs.shape
    gradient, step = np.empty(q), np.empty(q)
    hessian, row = np.empty((q, q)), np.empty(q)
    row[0] = 1.0
    for i in range(n_neurons):
        r = dispersion[i]
        total, n_seen = 0.0, 0
        for t in range(n_times):
            if counts[i, t] == counts[i, t]:
                total += counts[i, t]
                n_seen += 1
        start = math.log((total + 0.5) / (n_seen + 1.0))
        for m in range(n_designs):
            w = modes[i, m]
            w[:] = 0.0
            w[0] = start
            for _ in range(30):
                hessian[:] = 0.0
                for a in range(q):
                    gradient[a] = -w[a]
                    hessian[a, a] = 1.0
                for t in range(n_times):
                    y = counts[i, t]
                    if y != y:
                        continue
                    eta = w[0] + designs[m, t, 0]
                    for a in range(1, q):
                        row[a] = designs[m, t, a]
                        eta += w[a] * row[a]
                    mean = math.exp(min(max(eta, LOWEST), HIGHEST))
                    share = r / (r + mean)
                    slope = (y - mean) * share
                    curvature = mean * share * (y + r) / (r + mean)
                    for a in range(q):
                        gradient[a] += slope * row[a]
                        for c in range(a + 1):
                            hessian[a, c] += curvature * row[a] * row[c]
                # Cholesky in place, then two triangular solves
                for a in range(q):
                    for c in range(a + 1):
                        value = hessian[a, c]
                        for k in range(c):
                            value -= hessian[a, k] * hessian[c, k]
                        hessian[a, c] = math.sqrt(value) if a == c else value / hessian[c, c]
                largest = 0.0
                for a in range(q):
                    value = gradient[a]
                    for k in range(a):
                        value -= hessian[a, k] * step[k]
                    step[a] = value / hessian[a, a]
                for a in range(q - 1, -1, -1):
                    value = step[a]
                    for k in range(a + 1, q):
                        value -= hessian[k, a] * step[k]
                    step[a] = value / hessian[a, a]
                    largest = max(largest, abs(step[a]))
                scale = 1.0 if largest < 1.5 else 1.5 / largest
                for a in range(q):
                    w[a] += scale * step[a]
                # a step of Newton's squares the error, so that the next one would be below 1e-6
                if largest < 1e-3:
                    break
            value = neuron_log_likelihood(counts[i], designs[m], w, r)
            for a in range(q):
                value -= 0.5 * w[a] * w[a] + math.log(hessian[a, a])
                for c in range(q):
                    roots[i, m, a, c] = hessian[a, c] if c <= a else 0.0
            log_evidence[i, m] = value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _log_posterior(u, counts, means, above, shape, rate):
    r = math.exp(u)
    value = shape * u - rate * r
    for k in range(len(above)):
        value += above[k] * math.log(r + k)
    for t in range(len(counts)):
        y = counts[t]
        if y == y:
            value += r * u - (y + r) * math.log(r + means[t])
    return value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _slice_all(counts, means, dispersion, shape, rate, uniforms, drawn):
    width = 0.6
    for i in range(len(dispersion)):
        top = 0
        for t in range(counts.shape[1]):
            if counts[i, t] == counts[i, t]:
                top = max(top, int(counts[i, t]))
        # log Gamma(y + r) - log Gamma(r) is the sum of log(r + k) over k < y: counted once for all values of r
        above = np.zeros(top)
        for t in range(counts.shape[1]):
            if counts[i, t] == counts[i, t] and counts[i, t] > 0:
                above[int(counts[i, t]) - 1] += 1.0
        for k in range(top - 2, -1, -1):
            above[k] += above[k + 1]
        u = math.log(dispersion[i])
        level = _log_posterior(u, counts[i], means[i], above, shape, rate) + math.log(1.0 - uniforms[i, 0])
        low = u - width * uniforms[i, 1]
        high = low + width
        for _ in range(20):
            if _log_posterior(low, counts[i], means[i], above, shape, rate) <= level:
                break
            low -= width
        for _ in range(20):
            if _log_posterior(high, counts[i], means[i], above, shape, rate) <= level:
                break
            high += width
        drawn[i] = dispersion[i]
        for k in range(2, SLICE_DRAWS):
            proposal = low + uniforms[i, k] * (high - low)
            if _log_posterior(proposal, counts[i], means[i], above, shape, rate) > level:
                drawn[i] = math.exp(proposal)
                break
            if proposal < u:
                low = proposal
            else:
                high = proposal
