r"""Gaussian processes on even bins, in the Fourier domain: a smooth path is a handful of independent coefficients.

Bins are thought to lie on a circle of N > T bins. There the covariance of a stationary process is diagonal in sines and cosines, and what a
process of length-scale :math:`\ell` holds at fast frequencies is too little to keep:

.. math::
   x_t = \sum_f B_{ft} w_f, \qquad w_f \sim N(0, \kappa_f), \qquad \kappa_f = \rho \sqrt{2\pi}\, \ell\, e^{-\omega_f^2 \ell^2 / 2}

1. `fourier_basis`: the frequencies whose prior variance can exceed that of the slowest one divided by `condition`, and B.
2. `spectral_variances`: :math:`\kappa` of the squared-exponential kernel (arrays or tensors).
3. `to_time`, `variance_in_time`: paths, and their variances, from coefficients (arrays or tensors).
4. `log_density`, `sample`, `regress`: the prior's density, draws from it, and regression with its evidence in O(T F^2) instead of O(T^3).

Time folds over at the ends of the circle: bins that lie closer to each other through the gap of N - T bins than the length-scale is long
covary, which they would not on a line. Bins that are 4 length-scales apart that way do not notice.

Aoi & Pillow (2017). Scalable Bayesian inference for high-dimensional neural receptive fields. bioRxiv 212217.
Keeley, Aoi, Yu, Smith & Pillow (2020). Identifying signal and noise structure in neural population activity with Gaussian process factor
models. NeurIPS 33.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.linalg import cho_factor, cho_solve
from scipy.special import erfc

from neuropil.errors import UsageError


class FourierBasis(NamedTuple):
    """Sines and cosines on a circle of bins, cut to the bins that there are.

    Attributes
    ----------
    frequencies : ndarray of shape (n_frequencies,)
        Radians a bin: cosines from 0 upwards, then sines, which carry a minus, from the fastest to the slowest.
    basis : ndarray of shape (n_frequencies, n_times)
        Rows are orthonormal on the whole circle.
    n_circular : int
        Bins of the circle.
    """

    frequencies: Float[ndarray, " frequency"]
    basis: Float[ndarray, "frequency time"]
    n_circular: int


def fourier_basis(
    n_times: int, min_lengthscale: float = 10.0, *, condition: float = 1e8, extension: float = 0.2
) -> FourierBasis:
    r"""Basis for processes whose length-scale is `min_lengthscale` bins or more.

    Parameters
    ----------
    n_times : int
        Bins, T.
    min_lengthscale : float, default 10
        In bins. The fastest frequency is the :math:`\lfloor N / (\pi\ell) \sqrt{\log(c) / 2} \rfloor`-th.
    condition : float, default 1e8
        Ratio c of the largest to the smallest prior variance that is kept.
    extension : float, default 0.2
        The circle has :math:`N = \lceil (1 + e)\, T \rceil` bins.

    Returns
    -------
    FourierBasis

    Raises
    ------
    UsageError

    Examples
    --------
    >>> basis = fourier_basis(60, 10.0)
    >>> basis.basis.shape, basis.n_circular
    ((13, 60), 72)
    """
    if n_times < 1 or not min_lengthscale > 0 or not condition > 1 or not extension >= 0:
        raise UsageError(
            "A Fourier basis needs one bin or more, a positive min_lengthscale, a condition above 1 and an extension of 0 or more; got "
            f"{n_times}, {min_lengthscale}, {condition} and {extension}."
        )
    n_circular = math.ceil(round((1 + extension) * n_times, 9))
    fastest = math.floor(n_circular / (math.pi * min_lengthscale) * math.sqrt(0.5 * math.log(condition)))
    cosines = np.arange(min(fastest, n_circular // 2) + 1)
    sines = np.arange(-min(fastest, (n_circular - 1) // 2), 0)
    turns = np.concatenate([cosines, sines])
    frequencies = 2 * np.pi / n_circular * turns
    angles = frequencies[:, None] * np.arange(n_times)
    basis = np.where(turns[:, None] >= 0, np.cos(angles), np.sin(angles)) * math.sqrt(2 / n_circular)
    basis[(turns == 0) | (2 * turns == n_circular)] /= math.sqrt(2)  # a constant and an alternation have no sine
    return FourierBasis(frequencies, basis, n_circular)


def spectral_variances(frequencies: Any, lengthscales: Any, variance: Any = 1.0) -> Any:
    """Prior variances of the coefficients under a squared-exponential kernel; arrays in, array out, tensors in, tensor out.

    Parameters
    ----------
    frequencies : ndarray or Tensor of shape (n_frequencies,)
        Radians a bin.
    lengthscales : float, or ndarray or Tensor of shape (..., 1)
        In bins; anything that broadcasts against the frequencies.
    variance : float, ndarray or Tensor
        Of a bin.

    Returns
    -------
    ndarray or Tensor of shape (..., n_frequencies)

    Examples
    --------
    >>> spectral_variances(np.array([0.0, 0.1]), 10.0).round(2).tolist()
    [25.07, 15.2]
    """
    # math.e ** x, because it is defined for arrays and tensors alike
    return variance * math.sqrt(2 * math.pi) * lengthscales * math.e ** (-0.5 * (frequencies * lengthscales) ** 2)


def left_out(basis: FourierBasis, lengthscale: float) -> float:
    """Share of the variance of a process of that length-scale that lies at frequencies faster than those of the basis.

    Examples
    --------
    >>> basis = fourier_basis(60, 10.0)
    >>> left_out(basis, 10.0) < 1e-7, round(left_out(basis, 3.0), 2)
    (True, 0.09)
    """
    edge = np.abs(basis.frequencies).max() + np.pi / basis.n_circular
    return 0.0 if edge >= np.pi else float(erfc(edge * lengthscale / math.sqrt(2)))


def to_time(basis: Any, coefficients: Any) -> Any:
    """Paths of shape (..., n_times, n_latents) from coefficients (..., n_frequencies, n_latents); arrays or tensors."""
    return basis.T @ coefficients


def variance_in_time(basis: Any, variances: Any) -> Any:
    """Variances of a path, shape (..., n_times, n_latents), from those of independent coefficients; arrays or tensors."""
    return (basis.T**2) @ variances


def log_density(
    coefficients: Float[ndarray, "*batch frequency"], variances: Float[ndarray, "*#batch frequency"]
) -> Float[ndarray, "*batch"]:
    """Log-density of coefficients under the prior, summed over frequencies.

    Examples
    --------
    >>> float(log_density(np.zeros(2), np.ones(2)).round(3))
    -1.838
    """
    return np.asarray(-0.5 * (coefficients**2 / variances + np.log(2 * np.pi * variances)).sum(axis=-1))


def sample(
    basis: FourierBasis,
    lengthscale: float,
    n_samples: int = 1,
    *,
    variance: float = 1.0,
    random_state: int | Generator | None = None,
) -> Float[ndarray, "sample time"]:
    """Paths drawn from the prior.

    Examples
    --------
    >>> sample(fourier_basis(60), 12.0, 3, random_state=0).shape
    (3, 60)
    """
    if n_samples < 1 or not lengthscale > 0 or not variance > 0:
        raise UsageError(
            f"Draws need one sample or more, a positive length-scale and variance, got {n_samples}, {lengthscale} and {variance}."
        )
    scales = np.sqrt(spectral_variances(basis.frequencies, lengthscale, variance))
    return default_rng(random_state).standard_normal((n_samples, len(scales))) * scales @ basis.basis


class FourierRegression(NamedTuple):
    """A process given noisy values.

    Attributes
    ----------
    mean : ndarray of shape (n_times, n_series)
        Of the process given the values, in every bin of the basis.
    variance : ndarray of shape (n_times,)
        Of the process without the noise; the same for all series.
    log_evidence : ndarray of shape (n_series,)
        Log-density of the values, with the process integrated out.
    """

    mean: Float[ndarray, "time series"]
    variance: Float[ndarray, " time"]
    log_evidence: Float[ndarray, " series"]


def regress(
    basis: FourierBasis,
    values: Float[ndarray, "time series"],
    lengthscale: float,
    noise_variance: float,
    *,
    variance: float = 1.0,
) -> FourierRegression:
    """Gaussian-process regression of independent series on time, with one kernel and one noise for all.

    Parameters
    ----------
    basis : FourierBasis
    values : ndarray of shape (n_times, n_series)
        A bin is missing where its whole row is NaN; there the process is predicted.
    lengthscale, noise_variance, variance : float
        Of the kernel (in bins) and the noise.

    Returns
    -------
    FourierRegression

    Raises
    ------
    UsageError
        If sizes do not fit, a hyperparameter is not positive, or a row is missing in part.

    Examples
    --------
    >>> t = np.arange(60.0)
    >>> found = regress(fourier_basis(60), np.sin(t / 10)[:, None], 10.0, 0.01)
    >>> bool(np.abs(found.mean[:, 0] - np.sin(t / 10)).max() < 0.05)
    True
    """
    if not (lengthscale > 0 and noise_variance > 0 and variance > 0):
        raise UsageError(
            f"Length-scale, noise and variance must be positive, got {lengthscale}, {noise_variance} and {variance}."
        )
    B = basis.basis
    if len(values) != B.shape[1]:
        raise UsageError(f"The basis has {B.shape[1]} bins, the values {len(values)}; make a basis of that length.")
    missing = np.isnan(values)
    seen = ~missing.all(axis=1)
    if missing[seen].any() or not seen.any():
        raise UsageError("A bin must be there for all series or for none, and at least one has to be there.")
    # with coefficients in units of their prior deviation, I + S B B' S / noise cannot be singular
    scaled = np.sqrt(spectral_variances(basis.frequencies, lengthscale, variance))[:, None] * B
    observed, y = scaled[:, seen], values[seen]
    precision = cho_factor(np.eye(len(B)) + observed @ observed.T / noise_variance, lower=True)
    projected = observed @ y / noise_variance
    coefficients = cho_solve(precision, projected)
    squares = (y**2).sum(axis=0) / noise_variance - (projected * coefficients).sum(axis=0)
    log_determinant = 2 * np.log(np.diag(precision[0])).sum()
    evidence = -0.5 * (len(y) * math.log(2 * math.pi * noise_variance) + log_determinant + squares)
    return FourierRegression(scaled.T @ coefficients, (scaled * cho_solve(precision, scaled)).sum(axis=0), evidence)
