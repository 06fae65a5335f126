"""Several p-values: one statement from several data sets (`stouffer`), or several statements none of which may be false (`holm`).

Stouffer, Suchman, DeVinney, Star & Williams (1949). The American Soldier, volume 1.
Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 65-70.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray

from neuropil.errors import DataError

LEAST_PVALUE = 1e-300


def holm(pvalues: Float[ndarray, " test"]) -> Float[ndarray, " test"]:
    """Holm's adjusted p-values: sorted ascending, the k-th times (m - k + 1), never below its predecessor, at most 1.

    Parameters
    ----------
    pvalues : ndarray of shape (n_tests,)

    Returns
    -------
    ndarray of shape (n_tests,)
        In the order given. Rejecting where it is at most alpha keeps the probability of any false rejection at most alpha, however the
        tests depend on each other.

    Examples
    --------
    >>> import numpy as np
    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    _check_pvalues(pvalues)
    order = np.argsort(pvalues, kind="stable")
    adjusted = np.empty(len(pvalues))
    adjusted[order] = np.minimum(np.maximum.accumulate(pvalues[order] * np.arange(len(pvalues), 0, -1)), 1.0)
    return adjusted


def stouffer(pvalues: Float[ndarray, " dataset"], n_subjects: Real[ndarray, " dataset"]) -> tuple[float, float]:
    r"""Combine one-sided p-values of independent data sets by Stouffer's method with weights sqrt(n_subjects).

    A test of n signs or swaps reaches 2^-n at best, but 1 at worst, which as it stands would overrule all other data sets: p is limited
    to [2^-n, 1 - 2^-n], so that a data set says no more against a system than it could say in its favour.

    Parameters
    ----------
    pvalues : ndarray of shape (n_datasets,)
        One-sided, all in the same direction.
    n_subjects : ndarray of shape (n_datasets,)

    Returns
    -------
    tuple of float
        :math:`Z = \sum_k \sqrt{n_k} z_k / \sqrt{\sum_k n_k}` and its one-sided p-value.

    Examples
    --------
    >>> import numpy as np
    >>> z, p = stouffer(np.array([0.05, 0.05]), np.array([10, 10]))
    >>> round(z, 3), round(p, 4)
    (2.326, 0.01)
    """
    from scipy.stats import norm

    _check_pvalues(pvalues)
    if pvalues.shape != n_subjects.shape or not (n_subjects >= 1).all():
        raise DataError(
            f"Every p-value needs its number of subjects, 1 or more, got {n_subjects.tolist()} for {len(pvalues)} p-values."
        )
    furthest = norm.isf(np.maximum(0.5 ** n_subjects.astype(np.float64), LEAST_PVALUE))
    z = np.clip(norm.isf(pvalues), -furthest, furthest)
    weights = np.sqrt(n_subjects.astype(np.float64))
    combined = float(weights @ z / np.sqrt(weights @ weights))
    return combined, float(norm.sf(combined))


def _check_pvalues(pvalues: ndarray) -> None:
    if not len(pvalues) or not ((pvalues >= 0) & (pvalues <= 1)).all():
        raise DataError(f"Expected one p-value or more, each between 0 and 1, got {pvalues.tolist()}.")
