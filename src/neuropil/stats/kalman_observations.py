"""Observations of a linear-Gaussian model, whitened and reduced to what they say of the states, whatever is missing of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.stats.sequences import Packed, pack


def reduce(C: ndarray, R: Any, packed: Packed) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Loadings (pattern, k, state), the pattern of every step, whitened observations (step, k), constants of the likelihood (step,)."""
    n_steps = len(packed.values)
    missing = np.isnan(packed.values)
    infinite = np.isinf(packed.values).any(axis=1)
    padding = np.zeros(n_steps, dtype=np.bool_)
    packed.blank(padding, True)
    if (infinite & ~padding).any():
        row = int(np.flatnonzero(infinite & ~padding)[0])
        s = int(np.searchsorted(packed.starts, row, side="right")) - 1
        raise DataError(
            f"observations of sequence {s} are infinite at step {row - packed.starts[s]}; NaN stands for a missing one."
        )
    if isinstance(R, ndarray) and R.ndim == 2:
        R = check_covariance(R, len(C), "observation_covariance")
        return _reduce_constant(C, R, packed.values, missing | padding[:, None])
    per_step = pack(R, None, "observation_covariance", ("channel", "channel"))
    n = len(C)
    same = per_step.values.shape == (n_steps, n, n) and per_step.n_times == packed.n_times
    if not same or (packed.n_times is None and per_step.lengths.tolist() != packed.lengths.tolist()):
        raise UsageError(
            f"observation_covariance must have shape ({n}, {n}), or hold such a matrix for every step in the form of the observations; "
            f"got {per_step.values.shape[1:]} for {len(per_step.values)} steps, the observations have {n_steps}."
        )
    covariances = np.where(padding[:, None, None], np.eye(n), per_step.values)
    if not np.allclose(covariances, covariances.swapaxes(1, 2), rtol=1e-8, atol=0):
        raise UsageError("observation_covariance must be symmetric and finite at every step.")
    values = np.where(missing | padding[:, None], 0.0, packed.values)
    loadings, whitened, constants = _whiten(C, covariances, values[:, None], missing | padding[:, None])
    return loadings, np.arange(n_steps), whitened[:, 0], constants[:, 0]


def _reduce_constant(
    C: ndarray, R: ndarray, values: ndarray, missing: ndarray
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """One whitening for each set of channels that are missing together."""
    n_steps = len(values)
    if not missing.any():
        loadings, whitened, constants = _whiten(C, R[None], values[None], missing[:1])
        return loadings, np.zeros(n_steps, dtype=np.int64), whitened[0], constants[0]
    patterns, index = np.unique(missing, axis=0, return_inverse=True)
    index = index.reshape(n_steps)
    filled = np.where(missing, 0.0, values)
    k = min(C.shape)
    loadings, whitened, constants = np.empty((len(patterns), k, C.shape[1])), np.empty((n_steps, k)), np.empty(n_steps)
    order = np.argsort(index, kind="stable")
    for p, rows in enumerate(np.split(order, np.cumsum(np.bincount(index))[:-1])):
        found = _whiten(C, R[None], filled[rows][None], patterns[p][None])
        loadings[p], whitened[rows], constants[rows] = found[0][0], found[1][0], found[2][0]
    return loadings, index, whitened, constants


def _whiten(C: ndarray, R: ndarray, values: ndarray, missing: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Turn y = C z + N(0, R) into min(n, d) numbers with standard normal noise, for values (pattern, step, channel).

    A missing channel gets a loading of 0 and independent noise. What of the whitened y lies outside the range of the loadings says nothing
    of z and goes into the constants.
    """
    n, d = C.shape
    apart = missing[:, :, None] | missing[:, None, :]
    try:
        lower = np.linalg.cholesky(np.where(apart, np.eye(n), R))
    except np.linalg.LinAlgError as error:
        raise UsageError(
            "observation_covariance must be positive definite; a channel without noise of its own needs a small variance."
        ) from error
    loadings = np.linalg.solve(lower, np.where(missing[:, :, None], 0.0, C))
    whitened = np.linalg.solve(lower, values.swapaxes(1, 2))
    constants = -0.5 * (n - missing.sum(axis=1)) * np.log(2 * np.pi) - np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(
        axis=1
    )
    rest = np.zeros((len(values), values.shape[1]))
    if n > d:
        basis, loadings = np.linalg.qr(loadings)
        within = basis.swapaxes(1, 2) @ whitened
        rest = ((whitened - basis @ within) ** 2).sum(axis=1)
        whitened = within
    return loadings, np.ascontiguousarray(whitened.swapaxes(1, 2)), constants[:, None] - 0.5 * rest


def check_covariance(covariance: Any, n: int, name: str) -> ndarray:
    """The covariance as contiguous float64, refused if it is none."""
    covariance = np.ascontiguousarray(covariance, dtype=np.float64)
    if covariance.shape != (n, n):
        raise UsageError(f"{name} must have shape ({n}, {n}), got {covariance.shape}.")
    if not np.allclose(covariance, covariance.T, rtol=1e-8, atol=1e-12 * np.abs(covariance).max()):
        raise UsageError(f"{name} must be symmetric and finite.")
    least = float(np.linalg.eigvalsh(covariance)[0])
    if least < -1e-10 * np.abs(covariance).max():
        raise UsageError(f"{name} must not have negative eigenvalues, the least is {least:.6g}.")
    return covariance
