"""Orthogonal wavelet transform and shrinkage of its coefficients.

Daubechies' filters with a given number of vanishing moments, periodic at the ends: an orthogonal change of basis, so that energy is kept
and the reconstruction is exact. Shrinkage sets small coefficients to zero and moves the others towards it by the universal threshold
sigma sqrt(2 log n), where sigma, the level of white noise, is estimated from the finest coefficients.

Daubechies (1988). Orthonormal bases of compactly supported wavelets. Communications on Pure and Applied Mathematics 41.
Donoho & Johnstone (1994). Ideal spatial adaptation by wavelet shrinkage. Biometrika 81(3), 425-455.
"""

from __future__ import annotations

from functools import cache
from math import comb

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from neuropil.errors import UsageError

MAX_MOMENTS = 10
MAD_OF_NORMAL = 0.6744897501960817


@cache
def daubechies(moments: int = 4) -> Float64[ndarray, " tap"]:
    """Low-pass filter of Daubechies' wavelet with so many vanishing moments, of minimal phase and unit norm.

    Parameters
    ----------
    moments : int, default 4
        From 1 (Haar) to 10; the filter has twice as many taps.

    Raises
    ------
    UsageError
        If the number of moments is another.

    Examples
    --------
    >>> daubechies(1).round(4), daubechies(2).round(4)
    (array([0.7071, 0.7071]), array([ 0.483 ,  0.8365,  0.2241, -0.1294]))
    """
    if not 1 <= moments <= MAX_MOMENTS:
        raise UsageError(f"Daubechies' wavelets have 1 to {MAX_MOMENTS} vanishing moments here, got {moments}.")
    # |H|^2 = cos^2p P(sin^2), with P(y) = sum_k C(p - 1 + k, k) y^k; every root y belongs to a pair z, 1/z on y = (2 - z - 1/z) / 4
    roots = np.roots([comb(moments - 1 + k, k) for k in reversed(range(moments))])
    inside = []
    for y in roots:
        pair = np.roots([1.0, 4 * y - 2, 1.0])
        inside.append(pair[np.argmin(np.abs(pair))])
    taps = np.array([1.0])
    for _ in range(moments):
        taps = np.convolve(taps, [1.0, 1.0])
    for z in inside:
        taps = np.convolve(taps, [1.0, -z])
    real = np.real(taps)
    return real * np.sqrt(2) / real.sum()


def _filters(moments: int) -> tuple[ndarray, ndarray]:
    low = daubechies(moments)
    return low, low[::-1] * (-1.0) ** np.arange(len(low))


def _check(n_times: int, levels: int) -> None:
    if levels < 1 or n_times % 2**levels:
        raise UsageError(
            f"A transform of {levels} levels needs a length that is a multiple of {2 ** max(levels, 0)}, got {n_times} samples; "
            "cut or pad the segments, or use fewer levels."
        )


def dwt(
    data: Real[ndarray, "*batch time"], levels: int, moments: int = 4
) -> tuple[Float64[ndarray, "*batch coarse"], list[Float64[ndarray, "*batch _"]]]:
    """Periodic orthogonal wavelet transform along the last axis.

    Parameters
    ----------
    data : ndarray of shape (..., n_times)
        `n_times` is a multiple of 2^levels.
    levels : int
    moments : int, default 4

    Returns
    -------
    approximation : ndarray of shape (..., n_times / 2^levels)
    details : list of ndarray
        From the finest (half of the samples, the upper half of the frequencies) to the coarsest level.

    Examples
    --------
    >>> approximation, details = dwt(np.ones(8), 2)
    >>> approximation.round(3), [d.shape for d in details]
    (array([2., 2.]), [(4,), (2,)])
    """
    _check(data.shape[-1], levels)
    low, high = _filters(moments)
    approximation, details = np.asarray(data, dtype=np.float64), []
    for _ in range(levels):
        n_times = approximation.shape[-1]
        taps = (2 * np.arange(n_times // 2)[:, None] + np.arange(len(low))) % n_times
        stretches = approximation[..., taps]
        details.append(stretches @ high)
        approximation = stretches @ low
    return approximation, details


def inverse_dwt(
    approximation: Float64[ndarray, "*batch coarse"], details: list[Float64[ndarray, "*batch _"]], moments: int = 4
) -> Float64[ndarray, "*batch time"]:
    """What `dwt` was given, from what it returned.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((3, 64))
    >>> np.allclose(inverse_dwt(*dwt(x, 4)), x)
    True
    """
    low, high = _filters(moments)
    for detail in reversed(details):
        n_times = 2 * detail.shape[-1]
        out = np.zeros((*detail.shape[:-1], n_times))
        for k in range(len(low)):
            # tap k reaches every other sample: each of them once
            places = (2 * np.arange(n_times // 2) + k) % n_times
            out[..., places] += low[k] * approximation + high[k] * detail
        approximation = out
    return approximation


def soft_threshold(
    coefficients: Real[ndarray, "*batch n"], threshold: float | Real[ndarray, "*levels"]
) -> Float64[ndarray, "*batch n"]:
    """Coefficients moved towards zero by `threshold`, and zero where they are smaller.

    Examples
    --------
    >>> soft_threshold(np.array([-3.0, 0.5, 2.0]), 1.0)
    array([-2.,  0.,  1.])
    """
    return np.sign(coefficients) * np.maximum(np.abs(coefficients) - threshold, 0.0)


def wavelet_shrinkage(
    data: Real[ndarray, "*batch time"], levels: int = 3, moments: int = 4, factor: float = 1.0
) -> Float64[ndarray, "*batch time"]:
    """Remove white noise from every row by soft universal thresholding of its details.

    The level of the noise is the median absolute finest coefficient divided by 0.6745; rows whose length is no multiple of 2^levels
    are continued by their mirror image for the transform.

    Parameters
    ----------
    data : ndarray of shape (..., n_times)
    levels : int, default 3
    moments : int, default 4
    factor : float, default 1.0
        Of the universal threshold.

    Returns
    -------
    ndarray of shape (..., n_times), float64

    Examples
    --------
    >>> wave = 5 * np.sin(2 * np.pi * 3 * np.arange(512) / 256)
    >>> noise = np.random.default_rng(0).standard_normal(512)
    >>> bool(np.std(wavelet_shrinkage(wave + noise, levels=4) - wave) < 0.6 * np.std(noise))
    True
    """
    n_times = data.shape[-1]
    missing = -n_times % 2**levels
    padded = np.pad(data, [(0, 0)] * (data.ndim - 1) + [(0, missing)], mode="symmetric")
    approximation, details = dwt(padded, levels, moments)
    sigma = np.median(np.abs(details[0]), axis=-1, keepdims=True) / MAD_OF_NORMAL
    threshold = factor * sigma * np.sqrt(2 * np.log(padded.shape[-1]))
    shrunk = [soft_threshold(detail, threshold) for detail in details]
    return inverse_dwt(approximation, shrunk, moments)[..., :n_times]
