r"""Bases for the history of a spike train, and strictly causal filtering of sequences by them.

A basis is an array (lag, basis function): row k - 1 is the effect of an event k bins ago. The filtered history of unit j is

.. math:: c_{t,j,b} = \sum_{k=1}^{K} \phi_b(k)\, x_{t-k,j} ,

so that the present bin never enters, and nothing enters from before the first bin of a sequence, nor from another sequence. Every
function of a basis sums to one: a weight is then the effect of a spike summed over its history, whatever the basis.

Pillow, Shlens, Paninski, Sher, Litke, Chichilnisky & Simoncelli (2008). Spatio-temporal correlations and visual signalling in a complete
neuronal population. Nature 454, 995-999.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError

Basis = Float[ndarray, "lag basis"]


def exponential_basis(n_lags: int, time_constants: float | Sequence[float] = 1.0) -> Basis:
    r"""Exponential decays :math:`\exp(-k / \tau)` over the lags k = 1 ... n_lags.

    Parameters
    ----------
    n_lags : int
        Bins of history.
    time_constants : float or sequence of float, default 1.0
        In bins, one a basis function.

    Returns
    -------
    ndarray of shape (n_lags, n_basis)

    Examples
    --------
    >>> exponential_basis(5)[:, 0].round(3).tolist()
    [0.636, 0.234, 0.086, 0.032, 0.012]
    """
    constants = np.atleast_1d(np.asarray(time_constants, dtype=np.float64))
    if not (constants > 0).all():
        raise UsageError(f"Time constants must be positive numbers of bins, got {constants.tolist()}.")
    lags = _lags(n_lags)[:, None]
    return _normalised(np.exp(-(lags - 1) / constants))


def raised_cosine_basis(n_lags: int, n_basis: int, *, offset: float = 1.0) -> Basis:
    r"""Bumps that widen with the lag: raised cosines of its logarithm, their peaks evenly spaced in log(lag + offset).

    .. math:: \phi_b(k) \propto \tfrac12 \cos(a \log(k + c) - b \pi / 2) + \tfrac12

    where the argument lies within one period, the first peak at lag 1 and the last at `n_lags`.

    Parameters
    ----------
    n_lags : int
    n_basis : int
        At least 2 and at most `n_lags`.
    offset : float, default 1.0
        c, in bins: the larger, the more even the spacing.

    Returns
    -------
    ndarray of shape (n_lags, n_basis)

    Examples
    --------
    >>> raised_cosine_basis(20, 4).argmax(axis=0).tolist()
    [0, 2, 8, 19]
    """
    lags = _lags(n_lags)
    _check_number(n_basis, n_lags, least=2)
    if not offset > 0:
        raise UsageError(f"offset must be a positive number of bins, got {offset}.")
    first, last = np.log(1 + offset), np.log(n_lags + offset)
    centres = np.linspace(first, last, n_basis)
    phase = (np.log(lags + offset)[:, None] - centres) * (n_basis - 1) / (last - first) * np.pi / 2
    return _normalised(0.5 * np.cos(np.clip(phase, -np.pi, np.pi)) + 0.5)


def boxcar_basis(n_lags: int, n_basis: int | None = None) -> Basis:
    """Adjoining stretches of lags, as equal in length as they can be; by default one a lag.

    Parameters
    ----------
    n_lags : int
    n_basis : int, optional

    Returns
    -------
    ndarray of shape (n_lags, n_basis)

    Examples
    --------
    >>> boxcar_basis(4, 2).T.tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    lags = _lags(n_lags)
    n_basis = n_lags if n_basis is None else n_basis
    _check_number(n_basis, n_lags, least=1)
    box = ((lags - 1) * n_basis // n_lags).astype(np.int64)
    return _normalised((box[:, None] == np.arange(n_basis)).astype(np.float64))


def choose_basis(basis: Any, n_lags: int) -> Basis:
    """A basis by its name: 'exp' (one function, exp(-lag)), 'raised_cosine' (four, or as many as lags), 'boxcar' (one a lag); or itself.

    Examples
    --------
    >>> choose_basis("raised_cosine", 20).shape
    (20, 4)
    """
    if isinstance(basis, ndarray):
        if basis.ndim != 2 or 0 in basis.shape:
            raise UsageError(f"A basis must have the axes (lag, basis) and be not empty, got shape {basis.shape}.")
        return np.asarray(basis, dtype=np.float64)
    if basis == "exp":
        return exponential_basis(n_lags)
    if basis == "raised_cosine":
        return raised_cosine_basis(n_lags, min(4, n_lags))
    if basis == "boxcar":
        return boxcar_basis(n_lags)
    raise UsageError(f"basis must be 'exp', 'raised_cosine', 'boxcar' or an array (lag, basis), got {basis!r}.")


def causal_filter(sequences: Sequence[Real[ndarray, "_ unit"]], basis: Basis) -> list[Float[ndarray, "_ unit basis"]]:
    """The history of every unit in every sequence, through every function of a basis.

    Parameters
    ----------
    sequences : list of ndarray of shape (n_times_i, n_units)
    basis : ndarray of shape (n_lags, n_basis)

    Returns
    -------
    list of ndarray of shape (n_times_i, n_units, n_basis)

    Raises
    ------
    DataError
        If sequences are empty, not finite, or of different units.

    Examples
    --------
    >>> spike = np.array([[0.0], [1.0], [0.0], [0.0]])
    >>> causal_filter([spike], boxcar_basis(2))[0][:, 0].tolist()
    [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    arrays = _checked(sequences, basis)
    return [_filtered(array, basis) for array in arrays]


def coupling_design(sequences: Sequence[Real[ndarray, "_ unit"]], basis: Basis) -> Float[ndarray, "time feature"]:
    """The design matrix of a regression of every unit on the history of all: filtered sequences, end to end.

    Parameters
    ----------
    sequences : list of ndarray of shape (n_times_i, n_units)
    basis : ndarray of shape (n_lags, n_basis)

    Returns
    -------
    ndarray of shape (sum of n_times_i, n_units * n_basis)
        Feature ``unit * n_basis + b``; `coupling_filters` turns coefficients into filters over lags.

    Examples
    --------
    >>> coupling_design([np.eye(3), np.eye(3)], exponential_basis(1)).tolist()[:4]
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    arrays = _checked(sequences, basis)
    n_units, n_basis = arrays[0].shape[1], basis.shape[1]
    design = np.empty((sum(len(array) for array in arrays), n_units * n_basis))
    start = 0
    for array in arrays:
        design[start : start + len(array)] = _filtered(array, basis).reshape(len(array), -1)
        start += len(array)
    return design


def coupling_filters(coefficients: Float[ndarray, "*any feature"], basis: Basis) -> Float[ndarray, "*any pre lag"]:
    """Filters over lags from coefficients of the features of `coupling_design`.

    Parameters
    ----------
    coefficients : ndarray of shape (..., n_units * n_basis)
    basis : ndarray of shape (n_lags, n_basis)

    Returns
    -------
    ndarray of shape (..., n_units, n_lags)

    Examples
    --------
    >>> coupling_filters(np.array([[1.0, 2.0]]), boxcar_basis(2)).tolist()
    [[[1.0, 2.0]]]
    """
    n_basis = basis.shape[1]
    if coefficients.shape[-1] % n_basis:
        raise UsageError(
            f"{coefficients.shape[-1]} coefficients are not a whole number of units with {n_basis} basis functions each."
        )
    return coefficients.reshape(*coefficients.shape[:-1], -1, n_basis) @ basis.T


def _lags(n_lags: int) -> ndarray:
    if n_lags < 1:
        raise UsageError(f"A history needs one bin or more, got n_lags={n_lags}.")
    return np.arange(1.0, n_lags + 1)


def _check_number(n_basis: int, n_lags: int, least: int) -> None:
    if not least <= n_basis <= n_lags:
        raise UsageError(f"n_basis must lie between {least} and the {n_lags} lags of the history, got {n_basis}.")


def _normalised(functions: ndarray) -> ndarray:
    return functions / functions.sum(axis=0)


def _filtered(array: ndarray, basis: ndarray) -> ndarray:
    filtered = np.zeros((*array.shape, basis.shape[1]))
    for k, row in enumerate(basis[: len(array) - 1], start=1):
        for b in np.flatnonzero(row).tolist():
            filtered[k:, :, b] += row[b] * array[:-k]
    return filtered


def _checked(sequences: Sequence[ndarray], basis: ndarray) -> list[ndarray]:
    if basis.ndim != 2 or 0 in basis.shape or not np.isfinite(basis).all():
        raise UsageError(f"A basis is a finite array (lag, basis function), got shape {basis.shape}.")
    arrays = [np.asarray(sequence, dtype=np.float64) for sequence in sequences]
    if not arrays:
        raise DataError("Expected one sequence (time, unit) or more, got none.")
    for k, array in enumerate(arrays):
        if array.ndim != 2 or 0 in array.shape or array.shape[1] != arrays[0].shape[1]:
            raise DataError(
                f"Every sequence must have the axes (time, unit) and the same units; number {k} has shape {array.shape}, "
                f"number 0 {arrays[0].shape}."
            )
        if not np.isfinite(array).all():
            raise DataError(f"Sequence {k} holds values that are not finite; fill or cut out missing bins first.")
    return arrays
