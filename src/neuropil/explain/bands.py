"""Windows taken apart into frequency bands, exactly: the parts add up to the window.

The discrete cosine transform (DCT-II) is the Fourier transform of a window that is continued by its mirror image, so that the ends meet
without a jump and a slow drift does not leak into all frequencies, as it does in the plain Fourier transform. Its basis is orthonormal:
inner products over time and over frequencies are the same (Parseval), and the parts of a window in bands that cover all frequencies add
up to it.

Ahmed, Natarajan & Rao (1974). Discrete cosine transform. IEEE Transactions on Computers C-23(1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float64, Real
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.signal.spectra import EEG_BANDS

Bands = Mapping[str, tuple[float, float]]


def covering_bands(sfreq: float) -> dict[str, tuple[float, float]]:
    """The bands of EEG from 0 Hz to half the sampling rate, without gaps: below 1 Hz is "slow", above 45 Hz "high".

    Examples
    --------
    >>> covering_bands(100.0)["gamma"], covering_bands(100.0)["high"], list(covering_bands(40.0))
    ((30.0, 45.0), (45.0, 50.0), ['slow', 'delta', 'theta', 'alpha', 'beta'])
    """
    nyquist = sfreq / 2
    bands = {"slow": (0.0, 1.0), **EEG_BANDS, "high": (45.0, np.inf)}
    return {name: (low, float(min(high, nyquist))) for name, (low, high) in bands.items() if low < nyquist}


def band_members(n_times: int, sfreq: float, bands: Bands) -> Bool[ndarray, "band frequency"]:
    """Which frequencies of the cosine transform, k sfreq / (2 n_times), lie in every band, low <= f < high.

    Raises
    ------
    UsageError
        If a band has no width, lies above half the sampling rate or holds no frequency of windows that short.
    """
    if not bands:
        raise UsageError("Frequency bands are needed to explain the spectrum, got none.")
    frequencies = np.arange(n_times) * sfreq / (2 * n_times)
    out = np.zeros((len(bands), n_times), dtype=bool)
    for k, (name, (low, high)) in enumerate(bands.items()):
        if not 0 <= low < high <= sfreq / 2 + 1e-9:
            raise UsageError(
                f"The band {name} ({low:g}-{high:g} Hz) must have 0 <= low < high <= {sfreq / 2:g} Hz, half the sampling rate."
            )
        out[k] = (frequencies >= low - 1e-9) & (frequencies < high - 1e-9)
        if not out[k].any():
            raise UsageError(
                f"Windows of {n_times / sfreq:g} s resolve {sfreq / 2 / n_times:g} Hz and hold nothing of the band {name} "
                f"({low:g}-{high:g} Hz); use longer windows or wider bands."
            )
    return out


def resolved_bands(n_times: int, sfreq: float, bands: Bands | None = None) -> dict[str, tuple[float, float]]:
    """The covering bands of which windows that short hold something; bands that are given are checked, not thinned out.

    A band that is too narrow is joined to the next one below, so that nothing is left out.

    Examples
    --------
    >>> list(resolved_bands(10, 100.0))[:3]
    ['slow', 'delta-theta', 'alpha']
    """
    if bands is not None:
        band_members(n_times, sfreq, bands)
        return dict(bands)
    frequencies = np.arange(n_times) * sfreq / (2 * n_times)
    found: dict[str, tuple[float, float]] = {}
    waiting: list[str] = []
    start = 0.0
    for name, (_, high) in covering_bands(sfreq).items():
        waiting.append(name)
        if ((frequencies >= start - 1e-9) & (frequencies < high - 1e-9)).any():
            found["-".join(dict.fromkeys((waiting[0], waiting[-1])))] = (start, high)
            waiting, start = [], high
    if waiting:  # the last bands hold nothing of their own
        name, (low, _) = found.popitem()
        found[name] = (low, sfreq / 2)
    return found


def cosine_transform(windows: Real[ndarray, "*batch time"]) -> Float64[ndarray, "*batch frequency"]:
    """Orthonormal cosine transform along the last axis."""
    from scipy.fft import dct

    return dct(np.asarray(windows, dtype=np.float64), type=2, norm="ortho", axis=-1)


def band_part(
    windows: Real[ndarray, "*batch time"], members: Bool[ndarray, " frequency"]
) -> Float64[ndarray, "*batch time"]:
    """The part of windows that lies in some of the frequencies.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(2, 50))
    >>> members = band_members(50, 100.0, covering_bands(100.0))
    >>> bool(np.allclose(sum(band_part(x, row) for row in members), x))
    True
    """
    from scipy.fft import idct

    return idct(cosine_transform(windows) * members, type=2, norm="ortho", axis=-1)


def band_power(
    windows: Real[ndarray, "*batch time"], members: Bool[ndarray, "band frequency"]
) -> Float64[ndarray, "*batch band"]:
    """Mean square of the part in every band, in squared units; over bands that cover everything, the mean square of the window."""
    power = cosine_transform(windows) ** 2 / windows.shape[-1]
    return power @ members.T.astype(np.float64)
