r"""Affinities of pairs of neurons, moment by moment.

Neurons that rise or fall together at one moment belong together at that moment. With d the derivative of a trace, smoothed by a Gaussian
and divided by its root mean square over time,

.. math:: a_{ij}(t) = [d_i d_j > 0]\, \sqrt{|d_i d_j|}\, \exp\!\big(-(d_i - d_j)^2 / 2 h^2\big),

which is large only where both change much, in the same direction, and alike. Slow changes that all neurons share, bleaching or drift, have
small derivatives and hardly count. The baseline is the correlation within a sliding window, negative ones set to 0.

Values of NaN mark moments at which a neuron was not measured; they stay out of the filters, and affinities that they touch are missing.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numba import njit
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, uniform_filter1d

from neuropil.errors import UsageError

SIGNS = ("both", "rising")
WINDOW = 15


def pairs_of(n_neurons: int) -> tuple[Int[ndarray, " pair"], Int[ndarray, " pair"]]:
    """First and second neuron of every pair, in the order in which pairs are numbered everywhere.

    Examples
    --------
    >>> [row.tolist() for row in pairs_of(3)]
    [[0, 0, 1], [1, 2, 2]]
    """
    first, second = np.triu_indices(n_neurons, 1)
    return first, second


def to_matrix(values: Float[ndarray, " pair"], n_neurons: int) -> Float[ndarray, "neuron neuron"]:
    """One value a pair as a symmetric matrix with 0 on the diagonal."""
    matrix = np.zeros((n_neurons, n_neurons))
    matrix[pairs_of(n_neurons)] = values
    return matrix + matrix.T


def normalised_derivative(
    traces: Float[ndarray, "animal time neuron"], sigma: float = 3.0
) -> Float[ndarray, "animal time neuron"]:
    """Derivative smoothed by a Gaussian of `sigma` frames, in units of its root mean square over time; NaN where missing.

    A stretch that is missing is bridged by a straight line before filtering and taken out again with 3 `sigma` frames on either side. The
    derivative of a constant trace is 0.
    """
    if not sigma > 0:
        raise UsageError(f"sigma must be a positive number of frames, got {sigma}.")
    missing = ~np.isfinite(traces)
    slopes = gaussian_filter1d(_bridged(traces, missing), sigma, axis=1, order=1, mode="nearest")
    never = missing.all(axis=1, keepdims=True)
    out = maximum_filter1d(missing & ~never, 2 * round(3 * sigma) + 1, axis=1, mode="nearest") | never
    slopes = np.where(out, np.nan, slopes)
    counts = np.maximum((~out).sum(axis=1, keepdims=True), 1)
    scale = np.sqrt(np.nansum(slopes**2, axis=1, keepdims=True) / counts)
    flat = scale <= 1e-10 * np.nanmax(np.abs(np.where(missing, 0.0, traces)), axis=1, keepdims=True, initial=0.0)
    return np.where(flat & ~out, 0.0, slopes / np.where(flat, 1.0, scale))


def differential_affinity(
    traces: Float[ndarray, "animal time neuron"], *, sigma: float = 3.0, bandwidth: float = 1.0, sign: str = "both"
) -> Float32[ndarray, "time animal pair"]:
    """Affinity of the derivatives of all pairs; 0 where a neuron is missing.

    Parameters
    ----------
    traces : ndarray of shape (n_animals, n_times, n_neurons)
        NaN where a neuron was not measured.
    sigma : float, default 3.0
        Of the derivative's Gaussian, in frames.
    bandwidth : float, default 1.0
        h, how far two derivatives may be apart, in root mean squares.
    sign : {"both", "rising"}
        Whether falling together counts.

    Examples
    --------
    >>> time = np.linspace(0, 6, 100)
    >>> traces = np.stack([np.sin(time), np.sin(time), np.cos(time)], axis=1)[None]
    >>> [f"{mean:.1f}" for mean in differential_affinity(traces).mean(axis=(0, 1))]
    ['0.9', '0.3', '0.3']
    """
    derivative = normalised_derivative(traces, sigma)
    first, second = pairs_of(derivative.shape[2])
    return affinity_of_pairs(derivative, first, second, bandwidth=bandwidth, sign=sign)


def affinity_of_pairs(
    derivative: Float[ndarray, "animal time neuron"],
    first: Int[ndarray, " pair"],
    second: Int[ndarray, " pair"],
    *,
    bandwidth: float = 1.0,
    sign: str = "both",
) -> Float32[ndarray, "time animal pair"]:
    """Affinity of some pairs, from `normalised_derivative`; see `differential_affinity`."""
    if not bandwidth > 0:
        raise UsageError(f"bandwidth must be positive, got {bandwidth}.")
    if sign not in SIGNS:
        raise UsageError(f"sign must be one of {', '.join(SIGNS)}; got {sign!r}.")
    n_animals, n_times, _ = derivative.shape
    out = np.empty((n_times, n_animals, len(first)), dtype=np.float32)
    moved = np.ascontiguousarray(derivative.transpose(1, 0, 2), dtype=np.float32)
    _affinities(moved, first, second, np.float32(1 / (2 * bandwidth**2)), sign == "rising", out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _affinities(derivative, first, second, width, rising, out):
    for t in range(out.shape[0]):
        for w in range(out.shape[1]):
            for p in range(out.shape[2]):
                a, b = derivative[t, w, first[p]], derivative[t, w, second[p]]
                product = a * b
                # NaN compares as false
                if product > 0 and not (rising and a < 0):
                    out[t, w, p] = np.sqrt(product) * np.exp(-(a - b) * (a - b) * width)
                else:
                    out[t, w, p] = 0


def windowed_correlation(
    traces: Float[ndarray, "animal time neuron"], *, window: int = WINDOW
) -> Float32[ndarray, "time animal pair"]:
    """Correlation of all pairs in a window of so many frames around every moment, negative ones set to 0; 0 where one is missing."""
    if not 3 <= window <= traces.shape[1]:
        raise UsageError(f"window must lie between 3 and the {traces.shape[1]} frames of a trace, got {window}.")
    missing = ~np.isfinite(traces)
    filled = _bridged(traces, missing)
    filled = filled - filled.mean(axis=1, keepdims=True)
    first, second = pairs_of(traces.shape[2])

    def local(x: ndarray) -> ndarray:
        return uniform_filter1d(x, window, axis=1, mode="nearest")

    means = local(filled)
    variances = local(filled**2) - means**2
    # what is left of a variance that cancels is rounding
    scale = np.sqrt(np.maximum(variances, 1e-12 * np.maximum(filled.var(axis=1, keepdims=True), np.finfo(float).tiny)))
    out = np.empty((traces.shape[1], traces.shape[0], len(first)), dtype=np.float32)
    gone = maximum_filter1d(missing, window, axis=1, mode="nearest")
    for neuron in range(traces.shape[2] - 1):
        here = first == neuron
        others = second[here]
        both = local(filled[..., [neuron]] * filled[..., others]) - means[..., [neuron]] * means[..., others]
        found = np.clip(both / (scale[..., [neuron]] * scale[..., others]), 0.0, 1.0)
        found[gone[..., [neuron]] | gone[..., others]] = 0.0
        out[..., here] = found.transpose(1, 0, 2)
    return out


def observed_pairs(measured: Bool[ndarray, "animal time neuron"]) -> Bool[ndarray, "time_or_1 animal pair"]:
    """Moments at which both neurons of a pair were measured; of length 1 in time where that never changes."""
    steady = measured[:, :1] if (measured == measured[:, :1]).all() else measured
    first, second = pairs_of(measured.shape[2])
    return (steady[..., first] & steady[..., second]).transpose(1, 0, 2)


def _bridged(traces: Any, missing: ndarray) -> ndarray:
    filled = np.array(traces, dtype=np.float64)
    times = np.arange(filled.shape[1])
    for animal, neuron in np.argwhere(missing.any(axis=1)):
        gone = missing[animal, :, neuron]
        trace = filled[animal, :, neuron]
        trace[gone] = np.interp(times[gone], times[~gone], trace[~gone]) if not gone.all() else 0.0
    return filled
