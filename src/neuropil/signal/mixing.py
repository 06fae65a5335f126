r"""Mixing a clean signal with noise at a given signal-to-noise ratio, under either of the two conventions in use.

For a ratio of `s` dB, a noise segment is scaled so that

- ``"amplitude10"``: the ratio of root mean squares is :math:`10^{s/10}` (EEGdenoiseNet and what follows it; "-7 dB" is an amplitude
  ratio of 0.2, "2 dB" of 1.58);
- ``"power"``: the ratio of powers is :math:`10^{s/10}`, the textbook's definition, so that the ratio of amplitudes is
  :math:`10^{s/20}`.

The same number means twice as many decibels of power under the first convention: figures of the two must never stand in one table.

Zhang, Zhao, Wei, Mantini, Li & Liu (2021). EEGdenoiseNet: a benchmark dataset for deep learning solutions of EEG denoising. Journal of
Neural Engineering 18(5), 056057.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError

SNR_CONVENTIONS = {"amplitude10": 10.0, "power": 20.0}


def rms(values: Real[ndarray, "*batch time"]) -> Float64[ndarray, "*batch"]:
    """Root mean square along the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> rms(np.array([[3.0, -3.0], [0.0, 2.0]])).round(3)
    array([3.   , 1.414])
    """
    return np.asarray(np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=-1)))


def amplitude_ratio(
    snr_db: float | Real[ndarray, "*batch"], convention: str = "amplitude10"
) -> Float64[ndarray, "*batch"]:
    """Ratio of the root mean squares of signal and noise at `snr_db`.

    Raises
    ------
    UsageError
        If the convention is unknown.

    Examples
    --------
    >>> float(amplitude_ratio(-7.0).round(3)), float(amplitude_ratio(-7.0, "power").round(3))
    (0.2, 0.447)
    """
    if convention not in SNR_CONVENTIONS:
        raise UsageError(f"The SNR convention is one of {', '.join(SNR_CONVENTIONS)}, got {convention!r}.")
    return np.asarray(10.0 ** (np.asarray(snr_db, dtype=np.float64) / SNR_CONVENTIONS[convention]))


def mix(
    clean: Real[ndarray, "*batch time"],
    noise: Real[ndarray, "*others samples"],
    snr_db: float | Real[ndarray, "*snr"],
    convention: str = "amplitude10",
) -> Float64[ndarray, "*batch time"]:
    """clean + lambda noise, with lambda = rms(clean) / (rms(noise) ratio) for every row.

    Parameters
    ----------
    clean, noise : ndarray of shape (..., n_times)
        Rows of equal length that vary.
    snr_db : float or ndarray of shape (...)
        Signal-to-noise ratio of all rows, or of every row.
    convention : {"amplitude10", "power"}
        What a decibel means; see the module.

    Returns
    -------
    ndarray of shape (..., n_times), float64
        In the unit of `clean`.

    Raises
    ------
    DataError
        If a row of either array is zero throughout, so that no ratio can be set.

    Examples
    --------
    >>> import numpy as np
    >>> mix(np.array([[1.0, -1.0]]), np.array([[5.0, 5.0]]), 0.0)
    array([[2., 0.]])
    """
    if clean.shape != noise.shape:
        raise DataError(
            f"Clean and noise segments are mixed row by row, got the shapes {clean.shape} and {noise.shape}."
        )
    level, noise_level = rms(clean), rms(noise)
    silent = int((level == 0).sum()), int((noise_level == 0).sum())
    if any(silent):
        raise DataError(
            f"Segments to mix must not be zero throughout, got {silent[0]} such clean and {silent[1]} such noise segments; leave them out."
        )
    scale = level / (noise_level * amplitude_ratio(snr_db, convention))
    return clean + scale[..., None] * noise


def noisy_correlation(
    snr_db: float | Real[ndarray, "*batch"], convention: str = "amplitude10"
) -> Float64[ndarray, "*batch"]:
    r"""Correlation of a mix with its clean part that is expected where signal and noise are uncorrelated: :math:`1/\sqrt{1 + r^{-2}}`.

    Parameters
    ----------
    snr_db : float or ndarray
        Signal-to-noise ratio; r is its amplitude ratio.
    convention : {"amplitude10", "power"}

    Examples
    --------
    >>> import numpy as np
    >>> noisy_correlation(np.array([-7.0, 0.0, 2.0])).round(3)
    array([0.196, 0.707, 0.846])
    """
    return np.asarray(1 / np.sqrt(1 + amplitude_ratio(snr_db, convention) ** -2.0))
