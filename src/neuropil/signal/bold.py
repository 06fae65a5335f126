"""Scaling of regional fMRI time courses before they become targets.

`scale_bold` looks at the whole scan, as the field does; `scale_bold_causally` uses the past and the training volumes only.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.signal.filters import butterworth, causal_filter, zero_phase_filter

CUTOFF, ORDER, QUANTILE = 0.15, 5, 0.95


def scale_bold(
    bold: Real[ndarray, "volume region"], tr: float, *, cutoff: float = CUTOFF
) -> Float64[ndarray, "volume region"]:
    """Low-passed forwards and backwards, without its mean, divided by the 95 % quantile of its absolute values.

    Parameters
    ----------
    bold : ndarray of shape (n_volumes, n_regions)
    tr : float
        Time between volumes in s; where half its rate lies below the cutoff, nothing is filtered.
    cutoff : float, default 0.15
        Edge of the low-pass (Butterworth of order 5, applied twice) in Hz.

    Examples
    --------
    >>> slow = np.sin(2 * np.pi * 0.05 * 2.0 * np.arange(100))[:, None]
    >>> bool(np.abs(np.quantile(np.abs(scale_bold(slow, 2.0)), 0.95) - 1) < 1e-9)
    True
    """
    filtered = _low_passed(bold, tr, cutoff, zero_phase_filter)
    return _scaled(filtered, len(filtered))


def scale_bold_causally(
    bold: Real[ndarray, "volume region"], tr: float, n_train: int, *, cutoff: float = CUTOFF
) -> Float64[ndarray, "volume region"]:
    """The same with a filter that uses the past only (and delays), and mean and quantile of the first `n_train` volumes.

    Examples
    --------
    >>> course = np.random.default_rng(0).normal(size=(100, 1)).cumsum(axis=0)
    >>> changed = np.concatenate([course[:80], 5 * course[80:]])
    >>> bool((scale_bold_causally(course, 2.0, 80)[:80] == scale_bold_causally(changed, 2.0, 80)[:80]).all())
    True
    """
    if not 2 <= n_train <= len(bold):
        raise UsageError(f"n_train must be between 2 and the {len(bold)} volumes, got {n_train}.")
    filtered = _low_passed(bold, tr, cutoff, lambda data, sos, axis: causal_filter(data, sos, axis=axis)[0])
    return _scaled(filtered, n_train)


def _low_passed(bold: ndarray, tr: float, cutoff: float, apply: object) -> ndarray:
    if not np.isfinite(bold).all():
        raise DataError("Regions must have a finite value in every volume; interpolate or leave out the others.")
    if cutoff >= 0.5 / tr:
        return np.asarray(bold, dtype=np.float64)
    return apply(np.asarray(bold, dtype=np.float64), butterworth(None, cutoff, 1 / tr, order=ORDER), axis=0)  # type: ignore[operator]


def _scaled(courses: ndarray, n_train: int) -> ndarray:
    centred = courses - courses[:n_train].mean(axis=0)
    size = np.quantile(np.abs(centred[:n_train]), QUANTILE, axis=0)
    if (size == 0).any():
        raise DataError(
            f"Every region must vary, region {int(np.flatnonzero(size == 0)[0])} is constant; leave it out of the table."
        )
    return centred / size
