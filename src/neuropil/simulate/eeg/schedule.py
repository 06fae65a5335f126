"""When trials happen, and how their effects set in and fade."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray
from numpy.random import Generator
from scipy.special import expit

RAMP = 0.08
RAMP_SPAN = 18 * RAMP


def draw_schedule(
    rng: Generator, n_trials: int, n_classes: int, trial_s: float, breaks: tuple[float, float], sfreq: float
) -> tuple[Float64[ndarray, " trial"], ndarray, int]:
    """Onsets (s, on samples), classes (balanced, shuffled) and number of samples; a break before every trial and after the last."""
    pauses = rng.uniform(*breaks, n_trials + 1)
    onsets = np.round((np.cumsum(pauses[:-1]) + trial_s * np.arange(n_trials)) * sfreq) / sfreq
    n_times = int(np.ceil((onsets[-1] + trial_s + pauses[-1]) * sfreq))
    return onsets, rng.permutation(np.arange(n_trials) % n_classes), n_times


def sum_of_windows(
    weights: ndarray, starts: ndarray, stops: ndarray, n_times: int, sfreq: float
) -> Float32[ndarray, "time source"]:
    """Sum of smooth windows, each with a weight a source.

    A window is the product of a rising logistic ramp at its start and a falling one at its stop, with a time constant of 80 ms.

    Parameters
    ----------
    weights : ndarray of shape (n_windows, n_sources)
        Height of every window in every source.
    starts, stops : ndarray of shape (n_windows,)
        Midpoints of the ramps in s.
    n_times : int
        Samples.
    sfreq : float
        Sampling rate in Hz.
    """
    total = np.zeros((n_times, weights.shape[1]), dtype=np.float32)
    for weight, start, stop in zip(weights, starts, stops, strict=True):
        first = max(0, int((start - RAMP_SPAN) * sfreq))
        last = min(n_times, int((stop + RAMP_SPAN) * sfreq) + 1)
        time = np.arange(first, last) / sfreq
        window = expit((time - start) / RAMP) * expit((stop - time) / RAMP)
        total[first:last] += window[:, None].astype(np.float32) * weight.astype(np.float32)
    return total
