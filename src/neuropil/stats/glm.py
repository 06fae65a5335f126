r"""Generalised linear models of many neurons at once: Poisson and negative binomial regressions of counts, Gaussian ones of traces.

Every neuron n has coefficients of its own on one design matrix C,

.. math:: \eta_{t,n} = b_n + \sum_f W_{n,f}\, C_{t,f} + o_{t,n}, \qquad \mu = g(\eta), \qquad
          y_{t,n} \sim \text{Poisson}(\mu),\ \text{NB}(\mu, \text{variance } \mu + \alpha_n \mu^2)\ \text{or}\ N(\mu, \sigma^2_n) ,

found by Newton's method on the weighted log-likelihood less a ridge (`glm_solver`: all neurons side by side in multiplications of
matrices, without a matrix of second derivatives). Memory grows linearly with time. Where the design is rank-deficient and there is no
ridge, coefficients stay put along the directions that the data say nothing about.

McCullagh & Nelder (1989). Generalized Linear Models. Chapman & Hall. Truccolo, Eden, Fellows, Donoghue & Brown (2005). A point process
framework for relating neural spiking activity to spiking history, neural ensemble, and extrinsic covariate effects. Journal of
Neurophysiology 93(2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.stats import glm_kernels as kernels
from neuropil.stats.glm_inputs import (
    check_arrays,
    check_family,
    check_offset,
    check_ridge,
    check_weights,
    starting_dispersion,
    weighted_mean,
)
from neuropil.stats.glm_solver import Part, Point, Problem, maximise

LOG_ALPHAS = (-12.0, 6.0)
ROUNDS = 25


class GLMFit(NamedTuple):
    """Fitted regressions.

    Attributes
    ----------
    coefficients : ndarray of shape (n_neurons, n_features)
        ``W[post, feature]``.
    intercepts : ndarray of shape (n_neurons,)
    log_likelihood : ndarray of shape (n_neurons,)
        Weighted sum over time, natural logarithm, all constants included, ridge left out.
    covariance : ndarray of shape (n_neurons, n_features + 1, n_features + 1) or None
        Inverse of the penalised Fisher information of coefficients and, last, the intercept; only if asked for.
    dispersion : ndarray of shape (n_neurons,)
        :math:`\\alpha` of negative binomial counts, :math:`\\sigma^2` of Gaussian traces; ones for Poisson counts.
    n_iter : int
        Steps of Newton's method.
    converged : ndarray of bool, shape (n_neurons,)
    """

    coefficients: Float[ndarray, "neuron feature"]
    intercepts: Float[ndarray, " neuron"]
    log_likelihood: Float[ndarray, " neuron"]
    covariance: Float[ndarray, "neuron parameter parameter"] | None
    dispersion: Float[ndarray, " neuron"]
    n_iter: int
    converged: Bool[ndarray, " neuron"]


def fit_glm(
    design: Any,
    responses: Any,
    *,
    family: str = "poisson",
    link: str | None = None,
    offset: Any = None,
    weights: Any = None,
    ridge: float | Float[ndarray, " feature"] = 0.0,
    centre: Float[ndarray, "neuron feature"] | None = None,
    dispersion: float | Float[ndarray, " neuron"] | None = None,
    start: tuple[Float[ndarray, "neuron feature"], Float[ndarray, " neuron"]] | None = None,
    covariance: bool = False,
    max_iter: int = 100,
    tol: float = 1e-10,
) -> GLMFit:
    r"""Fit every neuron's regression on one design matrix.

    Parameters
    ----------
    design : ndarray of shape (n_times, n_features)
    responses : ndarray of shape (n_times, n_neurons)
        Counts, or real values for the Gaussian family.
    family : {'poisson', 'negative_binomial', 'gaussian'}, default 'poisson'
    link : {'exp', 'softplus', 'logistic', 'identity'}, optional
        How the mean follows from the linear predictor: 'exp' by default, 'identity' for, and only for, the Gaussian family. With
        'logistic' a count's mean stays below one.
    offset : ndarray of shape (n_times,) or (n_times, n_neurons), optional
        Added to the linear predictor.
    weights : ndarray of shape (n_times,) or (n_times, n_neurons), optional
        How often every bin counts; 0 leaves it out.
    ridge : float or ndarray of shape (n_features,), default 0.0
        Precision of a Gaussian prior on coefficients: ridge / 2 times their squares is taken off the log-likelihood.
    centre : ndarray of shape (n_neurons, n_features), optional
        Mean of that prior; 0 by default.
    dispersion : float or ndarray of shape (n_neurons,), optional
        Of the negative binomial or Gaussian family; estimated by maximum likelihood if left out.
    start : (coefficients, intercepts), optional
    covariance : bool, default False
        Also give the covariance of the estimates; takes n_neurons n_features^2 numbers.
    max_iter : int, default 100
    tol : float, default 1e-10
        Expected gain, relative to the objective, below which a neuron counts as converged.

    Returns
    -------
    GLMFit

    Raises
    ------
    DataError
        If values are not finite, counts are negative or not whole, weights negative, shapes do not fit, or a neuron never fires.
    UsageError
        If family, link or ridge do not exist or do not fit.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> design = rng.standard_normal((20_000, 2))
    >>> counts = rng.poisson(np.exp(design @ np.array([[0.5, -0.3], [0.0, 0.2]]).T - 1))
    >>> fit_glm(design, counts).coefficients.round(1).tolist()
    [[0.5, -0.3], [-0.0, 0.2]]
    """
    family_code, link_code = check_family(family, link)
    design, responses = check_arrays(design, responses, counts=family != "gaussian")
    n_times, n_features = design.shape
    n_neurons = responses.shape[1]
    offsets = None if offset is None else check_offset(offset, responses)
    weighting = np.ones((n_times, 1)) if weights is None else check_weights(weights, responses)
    penalty = check_ridge(ridge, n_features)
    means = weighted_mean(responses, weighting)
    silent = np.flatnonzero((means <= 0) & (family != "gaussian"))
    if len(silent):
        raise DataError(
            f"Neuron {int(silent[0])} never fires in the bins that count: its rate has no finite estimate; leave the neuron out."
        )
    alphas = starting_dispersion(family, dispersion, responses, weighting, means)
    first = _starting_point(start, means, link_code, n_features)
    middle = np.zeros((1, n_neurons, n_features)) if centre is None else np.asarray(centre, dtype=np.float64)[None]
    if middle.shape[1:] != (n_neurons, n_features):
        raise UsageError(f"centre must have shape {(n_neurons, n_features)}, got {middle.shape[1:]}.")
    estimated = dispersion is None and family != "poisson"
    n_iter, parts = 0, [Part(None, weighting)]
    for _ in range(ROUNDS):
        problem = Problem(design, responses, offsets, parts, family_code, link_code, alphas, penalty, middle)
        solution = maximise(problem, first, max_iter=max_iter, tol=tol)
        n_iter, first = n_iter + solution.n_iter, solution.point
        if not estimated:
            break
        eta = design @ first.coefficients[0].T + first.intercepts[0] + (0.0 if offsets is None else offsets)
        before, alphas = alphas, _dispersion(family, link_code, eta, responses, weighting)
        if np.abs(np.log(alphas / before)).max() < 1e-6:
            break
    final = maximise(problem._replace(dispersion=alphas), first, max_iter=0, tol=tol)
    constants = log_likelihood_constants(family, responses, alphas)
    return GLMFit(
        first.coefficients[0],
        first.intercepts[0],
        final.log_likelihood + (weighting * constants).sum(axis=0),
        _covariance(design, final.information[0], penalty) if covariance else None,
        alphas,
        n_iter,
        solution.converged,
    )


def log_likelihoods(
    design: Float[ndarray, "time feature"],
    responses: Float[ndarray, "time neuron"],
    coefficients: Float[ndarray, "state neuron feature"],
    intercepts: Float[ndarray, "state neuron"],
    *,
    family: str = "poisson",
    link: str | None = None,
    dispersion: Float[ndarray, " neuron"] | None = None,
    constants: Float[ndarray, " time"] | None = None,
) -> Float[ndarray, "time state"]:
    r"""Log-likelihood of every bin, summed over neurons, under several sets of regressions: the emissions of hidden states.

    Parameters
    ----------
    design : ndarray of shape (n_times, n_features)
    responses : ndarray of shape (n_times, n_neurons)
    coefficients : ndarray of shape (n_states, n_neurons, n_features)
    intercepts : ndarray of shape (n_states, n_neurons)
    family, link : str
        As for `fit_glm`.
    dispersion : ndarray of shape (n_neurons,), optional
        Ones by default.
    constants : ndarray of shape (n_times,), optional
        Sums over neurons of `log_likelihood_constants`, for callers who need them more than once.

    Returns
    -------
    ndarray of shape (n_times, n_states)

    Examples
    --------
    >>> log_likelihoods(np.zeros((1, 1)), np.ones((1, 2)), np.zeros((1, 2, 1)), np.zeros((1, 2))).tolist()
    [[-2.0]]
    """
    family_code, link_code = check_family(family, link)
    n_neurons, n_states = responses.shape[1], len(coefficients)
    alphas = np.ones(n_neurons) if dispersion is None else dispersion
    if constants is None:
        constants = log_likelihood_constants(family, responses, alphas).sum(axis=1)
    result, row = np.empty((n_states, len(design))), np.empty(0)
    problem = Problem(design, responses, None, [], family_code, link_code, alphas, np.zeros(1), 0)
    stacked = np.ascontiguousarray(coefficients.transpose(0, 2, 1))
    for here, _ in problem.chunks(Part(None, row)):
        for s in range(n_states):
            eta = design[here] @ stacked[s]
            eta += intercepts[s]
            kernels.add_log_likelihoods(eta, responses[here], alphas, family_code, link_code, result[s, here])
    return np.ascontiguousarray((result + constants).T)


def link_inverse(means: Float[ndarray, "*any"], link: int) -> Float[ndarray, "*any"]:
    """Linear predictor that gives these means, those of counts kept within what the link can give."""
    if link == kernels.IDENTITY:
        return means
    means = np.maximum(means, 1e-6)
    if link == kernels.EXP:
        return np.log(means)
    if link == kernels.SOFTPLUS:
        return means + np.log(-np.expm1(-means))
    means = np.minimum(means, 0.99)
    return np.log(means / (1 - means))


def means_of(eta: Float[ndarray, "*any"], link: int) -> Float[ndarray, "*any"]:
    """Mean responses of linear predictors; `link` as the kernels number them."""
    if link == kernels.EXP:
        return np.exp(eta)
    if link == kernels.SOFTPLUS:
        return np.logaddexp(0.0, eta)
    if link == kernels.LOGISTIC:
        return np.exp(-np.logaddexp(0.0, -eta))
    return eta


def log_likelihood_constants(family: str, responses: ndarray, dispersion: ndarray) -> ndarray:
    """Terms (time, neuron) of the log-likelihood that do not depend on the linear predictor."""
    from scipy.special import gammaln

    if family == "gaussian":
        return np.broadcast_to(-0.5 * np.log(2 * np.pi * dispersion), responses.shape)
    if family == "poisson":
        return -gammaln(responses + 1)
    size = 1 / dispersion
    return gammaln(responses + size) - gammaln(size) - gammaln(responses + 1) + responses * np.log(dispersion)


def _starting_point(start: Any, means: ndarray, link: int, n_features: int) -> Point:
    if start is None:
        return Point(np.zeros((1, len(means), n_features)), link_inverse(means, link)[None])
    coefficients, intercepts = (np.asarray(part, dtype=np.float64) for part in start)
    if coefficients.shape != (len(means), n_features) or intercepts.shape != means.shape:
        raise UsageError(
            f"start must be coefficients of shape {(len(means), n_features)} and intercepts of shape {means.shape}, "
            f"got {coefficients.shape} and {intercepts.shape}."
        )
    return Point(coefficients[None], intercepts[None])


def _dispersion(family: str, link: int, eta: ndarray, responses: ndarray, weights: ndarray) -> ndarray:
    """Dispersions of the highest likelihood given the linear predictors."""
    means = means_of(eta, link)
    if family == "gaussian":
        variances = weighted_mean((responses - means) ** 2, weights)
        return np.maximum(variances, 1e-12 * weighted_mean(responses**2, weights))
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    alphas = np.empty(responses.shape[1])
    for n in range(responses.shape[1]):
        w, y, mu = weights[:, n if weights.shape[1] > 1 else 0], responses[:, n], means[:, n]
        counts, where = np.unique(y, return_inverse=True)
        occurred = np.bincount(where, weights=w)

        def loss(log_alpha: float, w: Any = w, y: Any = y, mu: Any = mu, c: Any = counts, o: Any = occurred) -> float:
            alpha = np.exp(log_alpha)
            constants = gammaln(c + 1 / alpha) - gammaln(1 / alpha) + c * log_alpha
            return -float(o @ constants - w @ ((y + 1 / alpha) * np.log1p(alpha * mu)))

        alphas[n] = np.exp(minimize_scalar(loss, bounds=LOG_ALPHAS, method="bounded", options={"xatol": 1e-8}).x)
    return alphas


def _covariance(design: ndarray, information: ndarray, ridge: ndarray) -> ndarray:
    """Inverse information of every neuron, the intercept last."""
    extended = np.hstack([design, np.ones((len(design), 1))])
    prior = np.diag(np.append(np.broadcast_to(ridge, design.shape[1]), 0.0))
    covariances = np.empty((information.shape[1], *prior.shape))
    for n in range(information.shape[1]):
        covariances[n] = np.linalg.pinv(extended.T @ (information[:, n, None] * extended) + prior, hermitian=True)
    return covariances
