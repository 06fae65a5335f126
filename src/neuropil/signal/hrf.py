"""Haemodynamic response functions: how blood oxygenation follows neural activity."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.stats import gamma

from neuropil.errors import UsageError


def double_gamma_hrf(
    sfreq: float, peak: float = 5.0, *, undershoot_peak: float = 13.0, undershoot: float = 0.17, length: float = 32.0
) -> Float64[ndarray, " time"]:
    """Response to an impulse: a gamma density that peaks after `peak` seconds minus a later, smaller one.

    Parameters
    ----------
    sfreq : float
        Sampling rate in Hz.
    peak, undershoot_peak : float
        Times of the maxima of the two gamma densities in s (both of scale 1 s).
    undershoot : float
        Weight of the second one.
    length : float
        Length in s.

    Returns
    -------
    ndarray of shape (n_times,)
        Response from 0 s on, of unit sum.

    References
    ----------
    Glover (1999). Deconvolution of impulse response in event-related BOLD fMRI. NeuroImage 9(4), 416-429.

    Examples
    --------
    >>> response = double_gamma_hrf(10.0, peak=5.0)
    >>> float(response.argmax() / 10)
    5.0
    """
    if not (peak > 0 and undershoot_peak > 0 and length > 0 and sfreq > 0):
        raise UsageError(
            f"peak, undershoot_peak, length and sfreq must be positive, got {peak}, {undershoot_peak}, {length} and {sfreq}."
        )
    time = np.arange(round(length * sfreq)) / sfreq
    response = gamma.pdf(time, peak + 1) - undershoot * gamma.pdf(time, undershoot_peak + 1)
    return response / response.sum()
