"""Power spectra and band power of windows, batched.

Welch's method: a window is cut into overlapping segments, each loses its mean and is tapered (Hann), and the squared magnitudes of their
Fourier transforms are averaged. Densities are one-sided, in the squared unit of the data per Hz: their sum times the width of a frequency
bin is the variance of the tapered segments, on average that of a stationary signal.

Welch (1967). The use of fast Fourier transform for the estimation of power spectra. IEEE Transactions on Audio and Electroacoustics 15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float64, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError

BLOCK_BYTES = 2**21

EEG_BANDS: dict[str, tuple[float, float]] = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}


def power_spectrum(
    windows: Real[ndarray, "*batch time"], sfreq: float, *, segment: float = 1.0, overlap: float = 0.5
) -> tuple[Float64[ndarray, " frequency"], Float64[ndarray, "*batch frequency"]]:
    """Power spectral density along the last axis by Welch's method.

    Parameters
    ----------
    windows : ndarray of shape (..., n_times)
        Finite, for example (n_windows, n_channels, n_times).
    sfreq : float
        Sampling rate in Hz.
    segment : float, default 1.0
        Length of a segment in s; the resolution is 1/segment Hz.
    overlap : float, default 0.5
        Share of a segment that the next one repeats, from 0 to below 1.

    Returns
    -------
    frequencies : ndarray of shape (n_frequencies,)
        In Hz, from 0 to at most sfreq/2 in steps of the resolution.
    density : ndarray of shape (..., n_frequencies)
        In squared units per Hz.

    Raises
    ------
    DataError
        If the windows are shorter than a segment or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(500) / 250.0
    >>> frequencies, density = power_spectrum(np.sin(2 * np.pi * 10 * t), 250.0)
    >>> float(frequencies[density.argmax()])
    10.0
    """
    from scipy.signal import welch

    if not (sfreq > 0 and np.isfinite(sfreq)):
        raise UsageError(f"The sampling rate must be a positive number in Hz, got {sfreq}.")
    if not 0 <= overlap < 1:
        raise UsageError(f"The overlap of segments is a share from 0 to below 1, got {overlap}.")
    n_segment, n_times = round(segment * sfreq), windows.shape[-1]
    if n_segment < 2:
        raise UsageError(f"A segment needs two samples or more, got {segment:g} s at {sfreq:g} Hz; make it longer.")
    if n_segment > n_times:
        raise DataError(
            f"A segment of {segment:g} s needs {n_segment} samples, a window has {n_times}; pass segment={n_times / sfreq:g} or less."
        )
    rows = windows.reshape(-1, n_times)
    frequencies = np.fft.rfftfreq(n_segment, 1 / sfreq)
    density = np.empty((len(rows), len(frequencies)))
    per_block = max(1, BLOCK_BYTES // (8 * n_times))
    for start in range(0, len(rows), per_block):
        block = rows[start : start + per_block].astype(np.float64, copy=False)
        if not np.isfinite(block).all():
            raise DataError("A spectrum needs finite data, got NaN or infinity; interpolate or leave out such windows.")
        density[start : start + per_block] = welch(
            block, sfreq, nperseg=n_segment, noverlap=min(int(overlap * n_segment), n_segment - 1)
        )[1]
    return frequencies, density.reshape(*windows.shape[:-1], -1)


def band_power(
    windows: Real[ndarray, "*batch time"],
    sfreq: float,
    bands: Mapping[str, tuple[float, float]] | Sequence[tuple[float, float]] = EEG_BANDS,
    *,
    segment: float = 1.0,
    overlap: float = 0.5,
) -> Float64[ndarray, "*batch band"]:
    """Power in frequency bands: the density of `power_spectrum` summed over low <= f < high, times the resolution.

    Bands that meet share no frequency, and bands that cover all frequencies add up to the variance of the tapered segments.

    Parameters
    ----------
    windows : ndarray of shape (..., n_times)
        Finite, for example (n_windows, n_channels, n_times).
    sfreq : float
        Sampling rate in Hz.
    bands : mapping or sequence of (low, high), default EEG_BANDS
        In Hz, 0 <= low < high <= sfreq/2. The Nyquist frequency itself belongs to a band that ends there.
    segment, overlap : float
        As in `power_spectrum`.

    Returns
    -------
    ndarray of shape (..., n_bands)
        In squared units, in the order of `bands`.

    Raises
    ------
    UsageError
        If a band reaches beyond the Nyquist frequency or holds no frequency at this resolution.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(500) / 250.0
    >>> band_power(np.sin(2 * np.pi * 10 * t), 250.0, [(4.0, 8.0), (8.0, 13.0)]).round(3)
    array([0. , 0.5])
    """
    edges = list(bands.values() if isinstance(bands, Mapping) else bands)
    if not edges:
        raise UsageError("Band power needs one band or more, got none.")
    for low, high in edges:
        if not 0 <= low < high <= sfreq / 2:
            raise UsageError(
                f"The band {low:g}-{high:g} Hz must have 0 <= low < high <= {sfreq / 2:g} Hz, half the sampling rate of {sfreq:g} Hz."
            )
    frequencies, density = power_spectrum(windows, sfreq, segment=segment, overlap=overlap)
    resolution = float(frequencies[1])
    rounding = 1e-9 * resolution
    members = np.zeros((len(frequencies), len(edges)))
    for k, (low, high) in enumerate(edges):
        top = np.inf if high == sfreq / 2 else high - rounding
        members[:, k] = (frequencies >= low - rounding) & (frequencies < top)
        if not members[:, k].any():
            raise UsageError(
                f"No frequency falls into the band {low:g}-{high:g} Hz at a resolution of {resolution:g} Hz; use longer segments."
            )
    return density @ members * resolution


def decibel(
    power: Real[ndarray, "*shape"], reference: float | Real[ndarray, "*reference"] = 1.0
) -> Float[ndarray, "*shape"]:
    """Power relative to a reference in decibels, 10 log10(power / reference).

    Parameters
    ----------
    power : ndarray
        Positive.
    reference : float or ndarray, default 1.0
        Positive, in the same unit: a number, or an array that broadcasts to the shape of `power`, such as the power of a baseline.

    Raises
    ------
    DataError
        If a power is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> decibel(np.array([1.0, 10.0, 0.5]), 1.0).round(2)
    array([ 0.  , 10.  , -3.01])
    """
    for name, values in (("power", power), ("reference", np.asarray(reference))):
        if not (values > 0).all():
            raise DataError(
                f"Decibels need a positive {name}, got {np.sum(~(values > 0))} of {values.size} that are not; leave out flat channels."
            )
    return 10 * np.log10(power / reference)
