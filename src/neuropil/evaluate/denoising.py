"""How close a cleaned signal is to the true one: in time, in its spectrum, in its shape.

All scores are computed for every row (segment) along the last axis; report their mean with its interval over segments.

Zhang, Zhao, Wei, Mantini, Li & Liu (2021). EEGdenoiseNet: a benchmark dataset for deep learning solutions of EEG denoising. Journal of
Neural Engineering 18(5), 056057 (the first three).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.signal.mixing import rms
from neuropil.signal.spectra import power_spectrum
from neuropil.stats.correlation import row_correlation


def _check(cleaned: ndarray, truth: ndarray) -> None:
    if cleaned.shape != truth.shape:
        raise DataError(
            f"A cleaned signal is compared with a true one of its own shape, got {cleaned.shape} and {truth.shape}."
        )
    if not (np.isfinite(cleaned).all() and np.isfinite(truth).all()):
        raise DataError("Signals to compare must be finite, got NaN or infinity; leave out such segments.")


def correlation_with_truth(
    cleaned: Real[ndarray, "*batch time"], truth: Real[ndarray, "*others samples"]
) -> Float64[ndarray, "*batch"]:
    """Pearson correlation of every cleaned row with the true one (CC); 0 where a row is constant.

    Examples
    --------
    >>> correlation_with_truth(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 4.0]])).round(4)
    array([0.982])
    """
    _check(cleaned, truth)
    return row_correlation(cleaned, truth)


def relative_rmse(
    cleaned: Real[ndarray, "*batch time"], truth: Real[ndarray, "*others samples"]
) -> Float64[ndarray, "*batch"]:
    """Root mean square of the error divided by that of the truth (RRMSE in time); 0 is perfect, 1 is what silence scores.

    Examples
    --------
    >>> relative_rmse(np.array([[0.0, 0.0], [2.0, 2.0]]), np.array([[1.0, -1.0], [2.0, 1.0]])).round(4)
    array([1.    , 0.4472])
    """
    _check(cleaned, truth)
    level = rms(truth)
    if not (level > 0).all():
        raise DataError(f"{int((level == 0).sum())} true segments are zero throughout; leave them out.")
    return np.asarray(rms(cleaned - truth) / level)


def relative_rmse_spectrum(
    cleaned: Real[ndarray, "*batch time"],
    truth: Real[ndarray, "*others samples"],
    sfreq: float,
    *,
    segment: float = 1.0,
) -> Float64[ndarray, "*batch"]:
    """The same on power spectral densities (RRMSE in the spectrum), by Welch's method with segments of `segment` s.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((2, 512))
    >>> relative_rmse_spectrum(2 * x, x, 256.0)
    array([3., 3.])
    """
    _check(cleaned, truth)
    return relative_rmse(*(power_spectrum(x, sfreq, segment=segment)[1] for x in (cleaned, truth)))


def log_spectral_distance(
    cleaned: Real[ndarray, "*batch time"],
    truth: Real[ndarray, "*others samples"],
    sfreq: float,
    band: tuple[float, float],
    *,
    segment: float = 1.0,
) -> Float64[ndarray, "*batch"]:
    """Mean over a band of |log10 density of the cleaned signal - log10 density of the truth|; 1 means wrong by a factor of ten.

    Denoisers trained on the squared error alone lose power where they are unsure: this tells how much, and where.

    Parameters
    ----------
    cleaned, truth : ndarray of shape (..., n_times)
        Rows that vary.
    sfreq : float
        Sampling rate in Hz.
    band : (low, high)
        In Hz, both included.
    segment : float, default 1.0
        Length of Welch's segments in s.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((2, 512))
    >>> log_spectral_distance(np.sqrt(0.1) * x, x, 256.0, (20.0, 45.0)).round(6)
    array([1., 1.])
    """
    _check(cleaned, truth)
    frequencies, density = power_spectrum(cleaned, sfreq, segment=segment)
    wanted = power_spectrum(truth, sfreq, segment=segment)[1]
    inside = (frequencies >= band[0]) & (frequencies <= band[1])
    if not inside.any():
        raise DataError(
            f"No frequency falls into the band {band[0]:g}-{band[1]:g} Hz at a resolution of {frequencies[1]:g} Hz; use longer segments."
        )
    # what has no power at all counts as 200 dB below the largest, so that a silent band is a large distance and not an infinite one
    floor = 1e-20 * np.maximum(density.max(axis=-1, keepdims=True), wanted.max(axis=-1, keepdims=True))
    if not (floor > 0).all():
        raise DataError("Spectra of signals that are zero throughout cannot be compared; leave out these segments.")
    ratio = np.log10(np.maximum(density, floor)) - np.log10(np.maximum(wanted, floor))
    return np.asarray(np.abs(ratio[..., inside]).mean(axis=-1))
