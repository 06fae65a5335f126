"""What the linear decoders do to windows before they look at covariances: the band, the signal's own subspace, flat windows.

The steps are scikit-learn transformers of windows (n_windows, n_channels, n_times), so that they can be put into any pipeline.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from sklearn.base import BaseEstimator, TransformerMixin

from neuropil.errors import DataError, UsageError
from neuropil.signal.covariance import RTOL, covariances, ledoit_wolf, oas
from neuropil.signal.filters import butterworth, settling_length, zero_phase_filter
from neuropil.signature import Signature


def sampling_rate(signature: Signature, sfreq: float | None) -> float:
    """Sampling rate in Hz: that of the windows, or the constructor's for windows that do not know theirs.

    Raises
    ------
    UsageError
        If neither is known, or they differ.
    """
    if signature.sfreq and sfreq and signature.sfreq != sfreq:
        raise UsageError(
            f"The windows have {signature.sfreq:g} Hz, but sfreq={sfreq:g} was given; leave sfreq out or resample."
        )
    rate = signature.sfreq or sfreq
    if not rate:
        raise UsageError("These windows do not know their sampling rate; pass sfreq (in Hz) to the constructor.")
    return float(rate)


def filter_windows(
    windows: Float[ndarray, "window channel time"], band: tuple[float, float], sfreq: float, order: int = 4
) -> Float[ndarray, "window channel time"]:
    """Band-pass every window by itself, forwards and backwards, continued beyond its edges by point reflection.

    Nothing outside a window is used, so that a decision at the end of a window can be taken live; the edges are less exact than those
    of a recording that was filtered before it was cut.

    Raises
    ------
    DataError
        If the window is too short for the reflection.
    """
    sos = butterworth(band[0], band[1], sfreq, order=order)
    needed, n_times = 3 * (2 * len(sos) + 1), windows.shape[-1]
    if n_times <= needed:
        raise DataError(
            f"Filtering {band[0]:g}-{band[1]:g} Hz within a window needs more than {needed} samples, got {n_times}; "
            "filter the recording before cutting it and set band=None."
        )
    reach = min(n_times - 1, settling_length(sos))
    extended = np.pad(windows, ((0, 0), (0, 0), (reach, reach)), mode="reflect", reflect_type="odd")
    return zero_phase_filter(extended, sos)[..., reach : reach + n_times]


class BandPass(TransformerMixin, BaseEstimator):
    """`filter_windows` as a step of a pipeline.

    Parameters
    ----------
    band : (float, float)
        Edges in Hz.
    sfreq : float
        Sampling rate in Hz.
    """

    def __init__(self, band: tuple[float, float], sfreq: float) -> None:
        self.band = band
        self.sfreq = sfreq

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> BandPass:
        """Nothing to learn."""
        return self

    def transform(self, X: Any) -> ndarray:
        """Windows in the band."""
        return filter_windows(np.asarray(X, dtype=float), (self.band[0], self.band[1]), float(self.sfreq))


COVARIANCES = ("oas", "lwf", "scm")


class WindowCovariances(TransformerMixin, BaseEstimator):
    """Covariance of every window, shrunk: (n_windows, n_channels, n_times) -> (n_windows, n_channels, n_channels).

    The same estimates as pyRiemann's `Covariances`, for all windows at once, and also where a window is white already (the first of
    an online alignment), for which the usual formula of the shrinkage divides zero by zero.

    Parameters
    ----------
    estimator : {"oas", "lwf", "scm"}
        Oracle approximating shrinkage, Ledoit and Wolf's, or none.
    """

    def __init__(self, estimator: str = "oas") -> None:
        self.estimator = estimator

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> WindowCovariances:
        """Nothing to learn."""
        return self

    def transform(self, X: Any) -> ndarray:
        """Covariances of windows."""
        windows = np.asarray(X, dtype=float)
        if self.estimator == "scm":
            return covariances(windows)
        return (oas if self.estimator == "oas" else ledoit_wolf)(windows).covariances


class SignalSubspace(TransformerMixin, BaseEstimator):
    """Windows on the directions in which the training windows vary, in their own standard deviation.

    Data of full rank keep their channels and are only divided by one number. An average reference, removed components or interpolated
    channels leave fewer directions than channels; covariances of such windows cannot be inverted, so their windows are written in an
    orthonormal basis of the directions that are left, with a warning that names the rank.

    Parameters
    ----------
    centred : bool, default True
        Subtract every channel's mean over the window.
    max_rank : int, optional
        Keep at most so many directions, those of the largest variance.

    Attributes
    ----------
    basis_ : ndarray of shape (n_channels, n_directions)
        Orthonormal columns; the identity for data of full rank.
    scale_ : float
        Standard deviation over all channels, in the unit of the data.
    """

    def __init__(self, centred: bool = True, max_rank: int | None = None) -> None:
        self.centred = centred
        self.max_rank = max_rank

    def fit(self, X: Any, y: Any = None) -> SignalSubspace:
        """Find the directions from windows (n_windows, n_channels, n_times)."""
        windows = np.asarray(X, dtype=float)
        n_channels, n_times = windows.shape[1:]
        if n_times < 2:
            raise DataError(
                f"Covariances over time need two samples a window or more, got {n_times}; cut longer windows."
            )
        check_not_flat(windows)
        mean = covariances(windows).mean(axis=0)
        self.scale_ = float(np.sqrt(np.trace(mean) / n_channels))
        values, vectors = np.linalg.eigh(mean / self.scale_**2)
        values, vectors = values[::-1], vectors[:, ::-1]
        rank = int(np.sum(values > RTOL * values[0]))
        if rank < n_channels:
            warnings.warn(
                f"The windows have rank {rank} in {n_channels} channels (an average reference, removed components or too few samples?); "
                f"decoding goes on in the {rank} directions that carry signal.",
                stacklevel=2,
            )
        kept = min(rank, self.max_rank or rank)
        self.basis_ = np.eye(n_channels) if kept == n_channels else np.ascontiguousarray(vectors[:, :kept])
        return self

    def transform(self, X: Any) -> ndarray:
        """Windows of shape (n_windows, n_directions, n_times), without unit."""
        windows = np.asarray(X, dtype=float)
        check_not_flat(windows)
        if self.centred:
            windows = windows - windows.mean(axis=-1, keepdims=True)
        if self.basis_.shape[1] == len(self.basis_):
            return windows / self.scale_
        return (self.basis_.T / self.scale_) @ windows


def check_not_flat(windows: ndarray) -> None:
    """Refuse windows in which no channel varies: they have no covariance.

    Raises
    ------
    DataError
        With the first of them.
    """
    flat = np.flatnonzero(np.ptp(windows, axis=-1).max(axis=1) == 0)
    if len(flat):
        raise DataError(
            f"Every window must vary over time, all channels are flat in {len(flat)} of {len(windows)} windows (first: window {flat[0]}); "
            "leave them out."
        )
