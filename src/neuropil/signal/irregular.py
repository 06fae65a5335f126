"""Slow signals with uneven time stamps: onto an even grid, smoothed and standardised from the past.

Calcium imaging gives a few volumes a second at times that jitter. Smoothing and standardising here look at the past only, so that a
forecaster may use them; the change to a grid looks half a grid step ahead at most.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError

BLOCK = 6
EDGE = 1e-9


def even_grid(times: Real[ndarray, " time"], step: float) -> Float64[ndarray, " grid"]:
    """Times in even steps from the first to the last of `times`, none beyond: ``times[0] + k * step``.

    Examples
    --------
    >>> even_grid(np.array([0.0, 0.6, 1.1]), 0.5)
    array([0. , 0.5, 1. ])
    """
    if not (np.isfinite(step) and step > 0):
        raise UsageError(f"The step of the grid must be a positive number of seconds, got {step}.")
    if len(times) < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise DataError("An even grid needs two finite times or more that increase; sort the samples first.")
    n_steps = int(np.floor((times[-1] - times[0]) / step + EDGE))
    return times[0] + step * np.arange(n_steps + 1, dtype=np.float64)


def to_even_grid(
    x: Real[ndarray, "time channel"],
    times: Real[ndarray, " time"],
    step: float,
    interpolation: str = "linear",
) -> tuple[Float64[ndarray, "grid channel"], Bool[ndarray, "grid channel"]]:
    """Signals at even steps, and where they rest on samples that are there.

    A step shorter than the median of the old ones is interpolated. A longer one would alias what is faster than it: there six
    points around each grid point, a sixth of a step apart and together one step wide, are interpolated and averaged.

    Parameters
    ----------
    x : ndarray of shape (n_times, n_channels)
        NaN where a sample is missing: the neighbours are joined across it.
    times : ndarray of shape (n_times,)
        Seconds, increasing.
    step : float
        Seconds.
    interpolation : {"linear", "pchip"}
        Straight lines, or monotone cubics, which do not overshoot.

    Returns
    -------
    values, valid : ndarray of shape (n_grid, n_channels)
        `valid` is False where a missing sample lies beside the point; a channel without two samples is 0 and not valid.

    Examples
    --------
    >>> values, valid = to_even_grid(np.array([[0.0], [2.0], [4.0]]), np.array([0.0, 1.0, 2.0]), 0.5)
    >>> values[:, 0]
    array([0., 1., 2., 3., 4.])
    """
    if interpolation not in ("linear", "pchip"):
        raise UsageError(f"The interpolation is linear or pchip, got {interpolation!r}.")
    grid = even_grid(times, step)
    averaged = step >= np.median(np.diff(times))
    offsets = (np.arange(BLOCK) - (BLOCK - 1) / 2) / BLOCK * step if averaged else np.zeros(1)
    points = np.clip((grid[:, None] + offsets).ravel(), times[0], times[-1])
    values = np.zeros((len(grid), x.shape[1]))
    valid = np.zeros(values.shape, dtype=bool)
    for k in range(x.shape[1]):
        there = np.isfinite(x[:, k])
        if there.sum() < 2:
            continue
        column = _interpolate(points, times[there], x[there, k], interpolation)
        values[:, k] = column.reshape(len(grid), -1).mean(axis=1)
        covered = np.interp(points, times, there.astype(np.float64)) > 1 - EDGE
        valid[:, k] = covered.reshape(len(grid), -1).all(axis=1)
    return values, valid


def _interpolate(points: ndarray, times: ndarray, values: ndarray, interpolation: str) -> ndarray:
    if interpolation == "linear":
        return np.interp(points, times, values)
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(times, values)(np.clip(points, times[0], times[-1]))


def moving_average(x: Float[ndarray, "time channel"], width: int = 15) -> Float64[ndarray, "time channel"]:
    """Mean of the last ``width // 2 + 1`` samples, of those there are at the start; an even width counts as the next odd one.

    Examples
    --------
    >>> moving_average(np.array([[0.0], [2.0], [4.0]]), 3)[:, 0]
    array([0., 1., 3.])
    """
    if width < 1:
        raise UsageError(f"A moving average needs a width of 1 sample or more, got {width}.")
    return _weighted_past(x, np.ones((width + (width % 2 == 0)) // 2 + 1))


def gaussian_past(x: Float[ndarray, "time channel"], sigma: float = 5.0) -> Float64[ndarray, "time channel"]:
    """Mean of past and present weighted by ``exp(-k**2 / (2 sigma**2))`` at k samples before, up to four `sigma`."""
    if not sigma > 0:
        raise UsageError(f"The width of a Gaussian must be a positive number of samples, got {sigma}.")
    return _weighted_past(x, np.exp(-0.5 * (np.arange(int(np.ceil(4 * sigma)) + 1) / sigma) ** 2))


def exponential_past(x: Float[ndarray, "time channel"], alpha: float = 0.5) -> Float64[ndarray, "time channel"]:
    """Exponential smoothing, ``s[t] = alpha * x[t] + (1 - alpha) * s[t - 1]`` from ``s[0] = x[0]``."""
    from scipy.signal import lfilter

    if not 0 < alpha <= 1:
        raise UsageError(f"Exponential smoothing needs alpha above 0 and at most 1, got {alpha}.")
    smoothed, _ = lfilter([alpha], [1.0, alpha - 1.0], x, axis=0, zi=(1 - alpha) * x[:1])
    return smoothed


def _weighted_past(x: ndarray, weights: ndarray) -> ndarray:
    from scipy.signal import lfilter

    total = np.cumsum(np.r_[weights, np.zeros(max(0, len(x) - len(weights)))])[: len(x)]
    return lfilter(weights, [1.0], np.asarray(x, dtype=np.float64), axis=0) / total[:, None]


def standardize_past(x: Real[ndarray, "time channel"]) -> Float64[ndarray, "time channel"]:
    """Subtract the mean and divide by the SD (n - 1) of the samples up to now; 0 at the first sample and while nothing varies.

    Missing samples (NaN) are skipped and stay NaN.

    Examples
    --------
    >>> standardize_past(np.array([[1.0], [3.0], [2.0]]))[:, 0].round(3)
    array([0.   , 0.707, 0.   ])
    """
    there = np.isfinite(x)
    first = np.take_along_axis(x, there.argmax(axis=0)[None], axis=0)
    shifted = np.where(there, x - first, 0.0)
    n_seen = np.cumsum(there, axis=0)
    mean = np.cumsum(shifted, axis=0) / np.maximum(n_seen, 1)
    scatter = np.maximum(np.cumsum(shifted**2, axis=0) - n_seen * mean**2, 0.0)
    sd = np.sqrt(scatter / np.maximum(n_seen - 1, 1))
    varies = sd > 1e-7 * np.maximum.accumulate(np.abs(shifted), axis=0)
    scores = np.divide(shifted - mean, sd, out=np.zeros(x.shape), where=varies & (n_seen > 1))
    return np.where(there, scores, np.nan)
