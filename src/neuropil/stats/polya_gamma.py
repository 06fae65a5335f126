r"""Pólya-Gamma augmentation of negative-binomial counts, and tables of the Chinese restaurant.

A count y ~ NB(r, mean :math:`\mu = e^\eta`), of variance :math:`\mu + \mu^2 / r`, has the likelihood

.. math:: \frac{(e^\psi)^y}{(1 + e^\psi)^{y + r}} \propto e^{(y - r) \psi / 2} \int e^{-\omega \psi^2 / 2} \,
          PG(\omega \mid y + r, 0) \, d\omega, \quad \psi = \eta - \log r,

so that given :math:`\omega \sim PG(y + r, \psi)` it is Gaussian in :math:`\eta`, with precision :math:`\omega`.

Polson, Scott & Windle (2013). Bayesian inference for logistic models using Pólya-Gamma latent variables. Journal of the American
Statistical Association 108(504). Zhou & Carin (2015). Negative binomial process count and mixture modeling. IEEE TPAMI 37(2).
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import UsageError, require

SMALLEST_SHAPE = 1e-3


class PseudoObservations(NamedTuple):
    r"""Gaussian stand-ins of counts.

    Attributes
    ----------
    precisions : ndarray, shape of the counts
        :math:`\omega`; 0 where a count is missing.
    targets : ndarray, shape of the counts
        Precision times pseudo-observation of the log mean, :math:`(y - r) / 2 + \omega \log r`; 0 where a count is missing.
    """

    precisions: Float[ndarray, "*shape"]
    targets: Float[ndarray, "*shape"]


def draw_polya_gamma(
    shape: Float[ndarray, "*shape"], tilt: Float[ndarray, "*shape"], random_state: int | Generator | None = None
) -> Float[ndarray, "*shape"]:
    """Draws from PG(shape, tilt).

    Raises
    ------
    MissingExtraError
        Without the package polyagamma (`pip install 'neuropil[bayes]'`).

    Examples
    --------
    >>> draws = draw_polya_gamma(np.full(20_000, 2.0), np.full(20_000, 1.0), 0)
    >>> bool(abs(draws.mean() - np.tanh(0.5)) < 0.01)  # shape / (2 tilt) tanh(tilt / 2)
    True
    """
    library, rng = require("polyagamma", "bayes"), default_rng(random_state)
    tiny = shape < SMALLEST_SHAPE
    if not tiny.any():
        return np.asarray(library.random_polyagamma(shape, tilt, random_state=rng))
    draws = np.empty(shape.shape)
    draws[~tiny] = library.random_polyagamma(shape[~tiny], tilt[~tiny], random_state=rng)
    draws[tiny] = _sum_of_gammas(shape[tiny], tilt[tiny], rng)
    return draws


def _sum_of_gammas(shape: ndarray, tilt: ndarray, rng: Generator) -> ndarray:
    """The definition of the distribution, its sum cut where what is left is 1 in 1,000 of its mean; the library refuses tiny shapes."""
    k = np.arange(1, 201) - 0.5
    weights = 1 / (2 * np.pi**2 * (k**2 + (tilt[:, None] / (2 * np.pi)) ** 2))
    return (weights * rng.standard_gamma(shape[:, None], weights.shape)).sum(axis=1)


def augment_counts(
    counts: Float[ndarray, "time neuron"],
    log_means: Float[ndarray, "time neuron"],
    dispersion: Float[ndarray, " neuron"],
    random_state: int | Generator | None = None,
) -> PseudoObservations:
    """Gaussian pseudo-observations of the log means of negative-binomial counts, all drawn in one call.

    Parameters
    ----------
    counts : ndarray of shape (n_times, n_neurons)
        NaN where missing.
    log_means : ndarray of shape (n_times, n_neurons)
        Present values.
    dispersion : ndarray of shape (n_neurons,)
        r; the larger, the closer to Poisson.
    random_state : int, Generator or None

    Examples
    --------
    >>> pseudo = augment_counts(np.array([[3.0, np.nan]]), np.zeros((1, 2)), np.full(2, 10.0), 0)
    >>> (pseudo.precisions > 0).tolist(), float(pseudo.targets[0, 1])
    ([[True, False]], 0.0)
    """
    if not np.all(dispersion > 0):
        raise UsageError(f"dispersion must be positive, got {dispersion[~(dispersion > 0)][0]}.")
    seen = ~np.isnan(counts)
    log_r = np.log(dispersion)
    shape = (counts + dispersion)[seen]
    precisions, targets = np.zeros(counts.shape), np.zeros(counts.shape)
    omega = draw_polya_gamma(shape, (log_means - log_r)[seen], random_state)
    precisions[seen] = omega
    targets[seen] = (0.5 * (counts - dispersion) + precisions * log_r)[seen]
    return PseudoObservations(precisions, targets)


def draw_tables(
    customers: Int[ndarray, "*shape"],
    concentration: Float[ndarray, "*shape"],
    random_state: int | Generator | None = None,
) -> Int[ndarray, "*shape"]:
    r"""Occupied tables of Chinese restaurants, :math:`\sum_{k=0}^{n-1} \mathrm{Bernoulli}(c / (c + k))`.

    Parameters
    ----------
    customers : ndarray of int
        n of every restaurant.
    concentration : ndarray of float, same shape
        c; 0 gives one table to one customer or more, as the limit does.

    Examples
    --------
    >>> draw_tables(np.array([0, 1, 100]), np.array([1.0, 1.0, 1e12]), 0).tolist()
    [0, 1, 100]
    """
    if customers.size and (customers.min() < 0 or not np.all(concentration >= 0)):
        raise UsageError("Restaurants need 0 customers or more and a concentration of 0 or more.")
    flat = np.ascontiguousarray(customers).ravel().astype(np.int64)
    uniforms = default_rng(random_state).random(int(flat.sum()))
    tables = np.empty(len(flat), dtype=np.int64)
    _count_tables(flat, np.ascontiguousarray(concentration, dtype=np.float64).ravel(), uniforms, tables)
    return tables.reshape(customers.shape)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _count_tables(customers, concentration, uniforms, tables):
    used = 0
    for i in range(len(customers)):
        tables[i] = 0
        for k in range(customers[i]):
            if k == 0 or uniforms[used] * (concentration[i] + k) < concentration[i]:
                tables[i] += 1
            used += 1
