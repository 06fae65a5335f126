"""Descriptions of windows that need no labels and no sampling rate: slow time courses, power by octave, covariances by octave.

Octaves are counted down from half the sampling rate, whatever it is: octave 0 is its upper half, octave 1 the half below, and so on.
Channels in windows are taken in one common unit, so that all features are comparable between windows.

Barachant, Bonnet, Congedo & Jutten (2013). Classification of covariance matrices using a Riemannian-based kernel for BCI applications.
Neurocomputing 112: the tangent space, here at the arithmetic mean.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neuropil.decoding.lda import bin_means

SEGMENT = 256
FLOOR = 1e-12
SHRINKAGE = 0.1


def trends(windows: Float[ndarray, "window channel time"], n_terms: int) -> Float[ndarray, "window feature"]:
    """The slowest `n_terms` cosines of every channel: its mean over the window, one half wave, one wave ... (orthonormal DCT-II)."""
    from scipy.fft import dct

    return dct(windows, norm="ortho", axis=-1)[..., :n_terms].reshape(len(windows), -1)


def octave_edges(n_octaves: int) -> list[tuple[float, float]]:
    """Lower and upper edge of the octaves below half the sampling rate, in cycles a sample.

    Examples
    --------
    >>> octave_edges(2)
    [(0.25, 0.5), (0.125, 0.25)]
    """
    return [(0.5 / 2 ** (k + 1), 0.5 / 2**k) for k in range(n_octaves)]


def octave_powers(
    windows: Float[ndarray, "window channel time"], octaves: list[int]
) -> Float[ndarray, "window feature"] | None:
    """Mean over frequency of the logarithm of Welch's spectral density, by channel and octave.

    The mean of logarithms, not the logarithm of the mean: a line of the mains then counts as one frequency among many. None where the
    windows are too short to tell any of these octaves.
    """
    from scipy.signal import welch

    n_times = windows.shape[-1]
    frequencies, density = welch(windows, nperseg=min(n_times, SEGMENT), detrend="constant")
    logarithm = np.log(np.maximum(density, FLOOR))
    parts = []
    for low, high in [octave_edges(max(octaves) + 1)[k] for k in octaves]:
        inside = (frequencies > low) & (frequencies <= high)
        if inside.any():
            parts.append(logarithm[..., inside].mean(axis=-1))
    return np.concatenate(parts, axis=1) if parts else None


def log_covariances(
    covariances: Float[ndarray, "window channel channel"], whitening: Float[ndarray, "channel channel"]
) -> Float[ndarray, "window feature"]:
    r"""Tangent vectors of covariances: logarithms of :math:`W C W` with the upper triangle as a vector.

    With W the inverse square root of the mean covariance, the distance of two vectors hardly changes under any mixing of the channels.
    Every whitened covariance is first drawn by a tenth towards its mean variance, so that short windows have a logarithm.
    """
    n_channels = covariances.shape[1]
    whitened = whitening @ covariances @ whitening
    mean_variance = np.trace(whitened, axis1=1, axis2=2) / n_channels
    identity = np.eye(n_channels) * np.maximum(mean_variance, FLOOR)[:, None, None]
    values, vectors = np.linalg.eigh((1 - SHRINKAGE) * whitened + SHRINKAGE * identity)
    logarithm = (vectors * np.log(values)[:, None]) @ vectors.transpose(0, 2, 1)
    rows, columns = np.triu_indices(n_channels)
    return logarithm[:, rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0))


def octave_covariances(
    windows: Float[ndarray, "window channel time"], octaves: list[int]
) -> Float[ndarray, "octave window channel channel"] | None:
    """Covariance of the channels in every octave, from the tapered Fourier transform of the window.

    Octaves in which the windows are too short to hold two frequencies are left out; None if that leaves none.
    """
    n_times = windows.shape[-1]
    spectrum = np.fft.rfft((windows - windows.mean(axis=-1, keepdims=True)) * np.hanning(n_times))
    frequencies = np.fft.rfftfreq(n_times)
    parts = []
    for low, high in [octave_edges(max(octaves) + 1)[k] for k in octaves]:
        inside = (frequencies > low) & (frequencies <= high)
        if inside.sum() >= 2:
            part = spectrum[..., inside]
            parts.append((part @ part.conj().transpose(0, 2, 1)).real / inside.sum())
    return np.stack(parts) if parts else None


def potentials(windows: Float[ndarray, "window channel time"]) -> dict[str, ndarray]:
    """Slow time courses at several resolutions: bin means and cosines."""
    n_times = windows.shape[-1]
    sizes = [n for n in (5, 10, 25) if n <= n_times] or [n_times]
    found = {f"{n} bins": bin_means(windows, n) for n in sizes}
    slowest = trends(windows, 16).reshape(*windows.shape[:2], -1)
    return found | {f"{n} cosines": slowest[..., :n].reshape(len(windows), -1) for n in (4, 8, 16) if n < n_times}


def rhythms(
    windows: Float[ndarray, "window channel time"], directions: Float[ndarray, "window direction time"]
) -> dict[str, ndarray]:
    """Power of the channels, and covariances of the directions (octave, window, direction, direction), by octaves and over all of them."""
    centred = directions - directions.mean(axis=-1, keepdims=True)
    found = {
        "power, octaves 0-2": octave_powers(windows, [0, 1, 2]),
        "power, octaves 3-5": octave_powers(windows, [3, 4, 5]),
        "covariance": (centred @ centred.transpose(0, 2, 1) / windows.shape[-1])[None],
        "covariances, octaves 0-2": octave_covariances(directions, [0, 1, 2]),
        "covariances, octaves 1-4": octave_covariances(directions, [1, 2, 3, 4]),
    }
    return {name: values for name, values in found.items() if values is not None}
