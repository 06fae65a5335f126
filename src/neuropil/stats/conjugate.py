r"""The conjugate prior of linear dynamics: matrix-normal–inverse-Wishart.

.. math:: Q \sim IW(\nu, S), \quad B \mid Q \sim MN(M, Q, K^{-1}), \quad y_t = B x_t + N(0, Q)

Fox, Sudderth, Jordan & Willsky (2011). Bayesian nonparametric inference of switching dynamic linear models. IEEE Transactions on Signal
Processing 59(4).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import multigammaln

from neuropil.errors import UsageError


class MatrixNormalInverseWishart(NamedTuple):
    """Distribution over a matrix of coefficients and the covariance of its noise.

    Attributes
    ----------
    mean : ndarray of shape (n_outputs, n_inputs)
        M.
    precision : ndarray of shape (n_inputs, n_inputs)
        K, of the columns.
    degrees : float
        Degrees of freedom, more than n_outputs - 1.
    scale : ndarray of shape (n_outputs, n_outputs)
        S; the mean of Q is S / (degrees - n_outputs - 1).
    """

    mean: Float[ndarray, "output input"]
    precision: Float[ndarray, "input input"]
    degrees: float
    scale: Float[ndarray, "output output"]


def update(
    prior: MatrixNormalInverseWishart, inputs: Float[ndarray, "step input"], outputs: Float[ndarray, "step output"]
) -> MatrixNormalInverseWishart:
    """The posterior after pairs of inputs and outputs; none leave the prior.

    Examples
    --------
    >>> prior = MatrixNormalInverseWishart(np.zeros((1, 1)), np.eye(1), 3.0, np.eye(1))
    >>> posterior = update(prior, np.ones((1, 1)), np.ones((1, 1)))
    >>> posterior.mean.item(), posterior.scale.item(), posterior.degrees
    (0.5, 1.5, 4.0)
    """
    _check(prior)
    precision = prior.precision + inputs.T @ inputs
    crossed = outputs.T @ inputs + prior.mean @ prior.precision
    mean = np.linalg.solve(precision, crossed.T).T
    # As a sum of squares, which cannot lose its definiteness.
    residual, moved = outputs - inputs @ mean.T, mean - prior.mean
    scale = prior.scale + residual.T @ residual + moved @ prior.precision @ moved.T
    return MatrixNormalInverseWishart(mean, precision, prior.degrees + len(inputs), (scale + scale.T) / 2)


def sample(
    distribution: MatrixNormalInverseWishart, random_state: int | Generator | None = None
) -> tuple[Float[ndarray, "output input"], Float[ndarray, "output output"]]:
    """Draw coefficients and noise covariance.

    Examples
    --------
    >>> sure = MatrixNormalInverseWishart(np.full((1, 1), 2.0), 1e12 * np.eye(1), 1e9, 1e9 * np.eye(1))
    >>> [float(value.round(3).item()) for value in sample(sure, 0)]
    [2.0, 1.0]
    """
    _check(distribution)
    rng = default_rng(random_state)
    root = inverse_wishart_root(distribution.degrees, distribution.scale, rng)
    normal = rng.standard_normal(distribution.mean.shape)
    lower = np.linalg.cholesky(distribution.precision)
    spread = solve_triangular(lower, (root @ normal).T, lower=True, trans="T").T
    return distribution.mean + spread, root @ root.T


def inverse_wishart_root(
    degrees: float, scale: Float[ndarray, "output output"], random_state: int | Generator | None = None
) -> Float[ndarray, "output output"]:
    """A matrix whose product with its transpose is a draw from the inverse Wishart distribution (Bartlett's decomposition)."""
    rng = default_rng(random_state)
    d = len(scale)
    bartlett = np.tril(rng.standard_normal((d, d)), -1)
    bartlett[np.diag_indices(d)] = np.sqrt(rng.chisquare(degrees - np.arange(d)))
    return np.asarray(solve_triangular(bartlett, np.linalg.cholesky(scale).T, lower=True).T)


def log_marginal_likelihood(
    prior: MatrixNormalInverseWishart, inputs: Float[ndarray, "step input"], outputs: Float[ndarray, "step output"]
) -> float:
    """log p(outputs | inputs) with coefficients and covariance integrated out.

    Examples
    --------
    >>> from scipy.stats import t
    >>> prior = MatrixNormalInverseWishart(np.zeros((1, 1)), np.eye(1), 3.0, np.eye(1))
    >>> value = log_marginal_likelihood(prior, np.ones((1, 1)), np.array([[0.7]]))
    >>> bool(np.isclose(value, t(3, 0, np.sqrt(2 / 3)).logpdf(0.7)))
    True
    """
    posterior = update(prior, inputs, outputs)
    n, d = outputs.shape
    return float(
        -0.5 * n * d * np.log(np.pi)
        + multigammaln(posterior.degrees / 2, d)
        - multigammaln(prior.degrees / 2, d)
        + 0.5 * prior.degrees * _logdet(prior.scale)
        - 0.5 * posterior.degrees * _logdet(posterior.scale)
        + 0.5 * d * (_logdet(prior.precision) - _logdet(posterior.precision))
    )


def log_density(
    distribution: MatrixNormalInverseWishart,
    coefficients: Float[ndarray, "output input"],
    covariance: Float[ndarray, "output output"],
) -> float:
    """log p(B, Q).

    Examples
    --------
    >>> from scipy.stats import invgamma, norm
    >>> one = MatrixNormalInverseWishart(np.zeros((1, 1)), np.eye(1), 3.0, np.eye(1))
    >>> expected = invgamma(1.5, scale=0.5).logpdf(2.0) + norm(0, np.sqrt(2)).logpdf(0.3)
    >>> bool(np.isclose(log_density(one, np.array([[0.3]]), np.array([[2.0]])), expected))
    True
    """
    _check(distribution)
    d, q = distribution.mean.shape
    lower = np.linalg.cholesky(covariance)
    logdet = 2 * np.log(np.diag(lower)).sum()
    moved = coefficients - distribution.mean
    inside = distribution.scale + moved @ distribution.precision @ moved.T
    nu = distribution.degrees
    return float(
        0.5 * nu * _logdet(distribution.scale)
        - 0.5 * nu * d * np.log(2)
        - multigammaln(nu / 2, d)
        - 0.5 * (nu + d + 1 + q) * logdet
        - 0.5 * np.trace(cho_solve((lower, True), inside))
        - 0.5 * d * q * np.log(2 * np.pi)
        + 0.5 * d * _logdet(distribution.precision)
    )


def _logdet(matrix: ndarray) -> float:
    return float(np.linalg.slogdet(matrix)[1])


def _check(distribution: MatrixNormalInverseWishart) -> None:
    d, q = distribution.mean.shape
    if distribution.precision.shape != (q, q) or distribution.scale.shape != (d, d):
        raise UsageError(
            f"For coefficients of shape {(d, q)}, precision must have shape {(q, q)} and scale {(d, d)}; "
            f"got {distribution.precision.shape} and {distribution.scale.shape}."
        )
    if not distribution.degrees > d - 1:
        raise UsageError(f"degrees must be more than {d - 1} for {d} outputs, got {distribution.degrees}.")
