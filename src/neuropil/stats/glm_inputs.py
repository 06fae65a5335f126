"""What generalised linear models take, checked: designs, responses, weights, offsets, and where their dispersion starts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.stats import glm_kernels as kernels


def check_family(family: str, link: str | None) -> tuple[int, int]:
    """The kernels' numbers for a family and a link (None: the family's usual one)."""
    if family not in kernels.FAMILIES:
        raise UsageError(f"family must be one of {', '.join(kernels.FAMILIES)}, got {family!r}.")
    link = ("identity" if family == "gaussian" else "exp") if link is None else link
    allowed = ("identity",) if family == "gaussian" else ("exp", "softplus", "logistic")
    if link not in allowed:
        raise UsageError(f"The link of the {family} family must be one of {', '.join(allowed)}, got {link!r}.")
    return kernels.FAMILIES[family], kernels.LINKS[link]


def check_arrays(design: Any, responses: Any, *, counts: bool) -> tuple[ndarray, ndarray]:
    """Design and responses as contiguous float64 matrices of the same bins; `counts` must be whole and not negative."""
    matrices = []
    for name, given, axes in (("design", design, "(time, feature)"), ("responses", responses, "(time, neuron)")):
        matrix = np.ascontiguousarray(given, dtype=np.float64)
        if matrix.ndim != 2 or len(matrix) == 0 or (matrix.shape[1] == 0 and name == "responses"):
            raise DataError(f"{name} must be a matrix {axes} with entries, got shape {matrix.shape}.")
        if not np.isfinite(matrix).all():
            t, k = (int(i) for i in np.argwhere(~np.isfinite(matrix))[0])
            raise DataError(
                f"{name} holds {matrix[t, k]} at time {t}, column {k}: expected finite numbers; give missing bins weight 0 "
                "and any finite value."
            )
        matrices.append(matrix)
    if len(matrices[0]) != len(matrices[1]):
        raise DataError(f"design has {len(matrices[0])} bins, responses {len(matrices[1])}; they must be the same.")
    if counts:
        wrong = (matrices[1] < 0) | (matrices[1] != np.floor(matrices[1]))
        if wrong.any():
            t, k = (int(i) for i in np.argwhere(wrong)[0])
            raise DataError(
                f"responses holds {matrices[1][t, k]:g} at time {t}, neuron {k}: counts must be whole numbers from 0 on; "
                "use the family 'gaussian' for real-valued traces."
            )
    return matrices[0], matrices[1]


def check_ridge(ridge: Any, n_features: int) -> ndarray:
    """Precisions of the prior, (feature,) or (1,)."""
    penalty = np.atleast_1d(np.asarray(ridge, dtype=np.float64))
    if penalty.shape not in ((1,), (n_features,)) or not (np.isfinite(penalty) & (penalty >= 0)).all():
        raise UsageError(f"ridge must be a number from 0 on, or {n_features} of them, got {ridge!r}.")
    return penalty


def check_offset(given: Any, responses: ndarray) -> ndarray:
    """One number a bin and neuron."""
    array = np.asarray(given, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.shape not in ((len(responses), 1), responses.shape) or not np.isfinite(array).all():
        raise DataError(
            f"offset must be finite, of shape ({len(responses)},) or {responses.shape}, got shape {np.shape(given)}."
        )
    return np.ascontiguousarray(np.broadcast_to(array, responses.shape))


def check_weights(weights: Any, responses: ndarray) -> ndarray:
    """Weights as (time, 1) or (time, neuron)."""
    array = np.asarray(weights, dtype=np.float64)
    array = np.ascontiguousarray(array[:, None] if array.ndim == 1 else array)
    if array.shape not in ((len(responses), 1), responses.shape):
        raise DataError(f"weights must have shape ({len(responses)},) or {responses.shape}, got {np.shape(weights)}.")
    if not (np.isfinite(array) & (array >= 0)).all() or not (array.sum(axis=0) > 0).all():
        raise DataError("weights must be finite numbers from 0 on, and some of every neuron's above 0.")
    return array


def starting_dispersion(family: str, dispersion: Any, responses: ndarray, weights: ndarray, means: ndarray) -> ndarray:
    """Dispersions as given, or guesses from the moments to start from."""
    if family == "poisson":
        if dispersion is not None:
            raise UsageError("Poisson counts have no dispersion; use the family 'negative_binomial', or leave it out.")
        return np.ones(len(means))
    if dispersion is not None:
        given = np.asarray(dispersion, dtype=np.float64)
        if given.shape not in ((), means.shape) or not (np.isfinite(given) & (given > 0)).all():
            raise UsageError(f"dispersion must be a positive number, or {len(means)} of them, got {dispersion!r}.")
        return np.ascontiguousarray(np.broadcast_to(given, means.shape))
    variances = weighted_mean((responses - means) ** 2, weights)
    if family == "gaussian":
        if not (variances > 0).all():
            raise DataError(
                f"Neuron {int(np.argmin(variances))} is constant: its variance cannot be estimated; leave it out."
            )
        return variances
    return np.clip((variances - means) / means**2, 0.01, 10.0)


def weighted_mean(responses: ndarray, weights: ndarray) -> ndarray:
    """Mean over time of every neuron."""
    return (weights * responses).sum(axis=0) / weights.sum(axis=0)
