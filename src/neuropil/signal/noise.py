"""Random signals with a designed spectrum: power-law (1/f) noise and narrow-band rhythms.

Both are stationary Gaussian processes made in the frequency domain: independent complex normal numbers, one a bin, times the wanted
amplitude spectrum, then the inverse real Fourier transform. The transform is longer than the signal, which is cut from it, so that the
end does not run on into the beginning.

Timmer & König (1995). On generating power law noise. Astronomy and Astrophysics 300, 707-710.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.random import Generator
from scipy import fft

from neuropil.errors import UsageError

EXTRA_LENGTH = 1 / 16
Numbers = float | Sequence[float] | ndarray


def _check(n_times: int, sfreq: float) -> None:
    if n_times < 2:
        raise UsageError(f"Noise needs at least two samples, got n_times={n_times}.")
    if not sfreq > 0:
        raise UsageError(f"The sampling rate must be a positive number in Hz, got {sfreq}.")


def _frequencies(n_times: int, sfreq: float) -> tuple[ndarray, int]:
    n_fft = fft.next_fast_len(n_times + int(n_times * EXTRA_LENGTH) + 1, real=True)
    return fft.rfftfreq(n_fft, 1 / sfreq), n_fft


def _shaped_noise(rng: Generator, amplitude: ndarray, n_times: int, n_fft: int) -> ndarray:
    """Gaussian noise with the amplitude spectrum `amplitude` (row, frequency), cut to `n_times` and scaled to unit SD a row."""
    n_rows = len(amplitude)
    support = np.flatnonzero(amplitude.any(axis=0))
    first, last = support[0], support[-1] + 1
    spectrum = np.zeros((n_rows, n_fft // 2 + 1), dtype=np.complex64)
    normal = rng.standard_normal((n_rows, last - first, 2), dtype=np.float32)
    spectrum[:, first:last] = normal.view(np.complex64)[..., 0] * amplitude[:, first:last].astype(np.float32)
    noise = fft.irfft(spectrum, n_fft, axis=1)[:, :n_times]
    noise -= noise.mean(axis=1, keepdims=True)
    noise /= noise.std(axis=1, keepdims=True)
    return noise


def power_law_noise(
    rng: Generator, exponents: Numbers, n_times: int, sfreq: float, *, low: float = 0.5, high: float | None = None
) -> Float32[ndarray, "row time"]:
    """Gaussian noise whose power falls off as 1 / f^exponent between two frequencies and is zero outside.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    exponents : float or array-like of shape (n_rows,)
        Exponent of the power spectrum of every row; 0 is white.
    n_times : int
        Samples of a row.
    sfreq : float
        Sampling rate in Hz.
    low, high : float
        Edges of the band in Hz; without `high`, up to half the sampling rate.

    Returns
    -------
    ndarray of shape (n_rows, n_times), float32
        Rows of zero mean and unit standard deviation.

    Raises
    ------
    UsageError
        If the band holds no frequency of the transform.

    Examples
    --------
    >>> noise = power_law_noise(np.random.default_rng(0), [1.0, 1.5], n_times=1000, sfreq=100.0)
    >>> noise.shape, noise.std(axis=1).round(3).tolist()
    ((2, 1000), [1.0, 1.0])
    """
    _check(n_times, sfreq)
    exponents = np.atleast_1d(np.asarray(exponents, dtype=float))
    frequencies, n_fft = _frequencies(n_times, sfreq)
    inside = (frequencies >= low) & (frequencies > 0)
    if high is not None:
        inside &= frequencies <= high
    if not inside.any():
        raise UsageError(
            f"The band from {low} to {high if high is not None else sfreq / 2} Hz holds no frequency of a signal of "
            f"{n_times / sfreq:g} s at {sfreq:g} Hz; use a wider band, a longer signal or a higher rate."
        )
    amplitude = np.zeros((len(exponents), len(frequencies)))
    amplitude[:, inside] = frequencies[inside] ** (-exponents[:, None] / 2)
    return _shaped_noise(rng, amplitude, n_times, n_fft)


def narrow_band_noise(
    rng: Generator, frequencies: Numbers, widths: Numbers, n_times: int, sfreq: float
) -> Float32[ndarray, "row time"]:
    """Rhythms: Gaussian noise with a Gaussian amplitude spectrum exp(-((f - f0) / (width / 2))^2 / 2).

    The envelope of such a rhythm waxes and wanes by itself, on a time scale of 1 / `width`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    frequencies : float or array-like of shape (n_rows,)
        Centre frequency of every row in Hz.
    widths : float or array-like
        Width in Hz, of every row or of all.
    n_times : int
        Samples of a row.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    ndarray of shape (n_rows, n_times), float32
        Rows of zero mean and unit standard deviation.

    Raises
    ------
    UsageError
        If a centre frequency is not between 0 and half the sampling rate.

    Examples
    --------
    >>> narrow_band_noise(np.random.default_rng(0), [10.0, 20.0], [2.0, 4.0], n_times=500, sfreq=125.0).shape
    (2, 500)
    """
    _check(n_times, sfreq)
    centres = np.atleast_1d(np.asarray(frequencies, dtype=float))
    widths = np.broadcast_to(np.asarray(widths, dtype=float), centres.shape)
    if not (widths > 0).all():
        raise UsageError(f"The width of a rhythm must be a positive number of Hz, got {widths.min()}.")
    outside = centres[~((centres > 0) & (centres < sfreq / 2))]
    if outside.size:
        raise UsageError(
            f"A rhythm must lie between 0 and half the sampling rate ({sfreq / 2:g} Hz), got {outside[0]:g} Hz; "
            "raise the sampling rate or leave that rhythm out."
        )
    bins, n_fft = _frequencies(n_times, sfreq)
    distance = (bins - centres[:, None]) / (widths[:, None] / 2)
    amplitude = np.where(np.abs(distance) < 6, np.exp(-(distance**2) / 2), 0.0)
    amplitude[:, 0] = 0.0
    nearest = np.abs(bins - centres[:, None]).argmin(axis=1)
    amplitude[np.arange(len(centres)), np.maximum(nearest, 1)] += 1e-12
    return _shaped_noise(rng, amplitude, n_times, n_fft)
