"""Differential entropy of every channel in frequency bands: the features of much work on emotion and vigilance in EEG.

A window of C channels becomes a table (channel, band): normalised, band-passed causally, h = 1/2 log2(2 pi e variance). What a trial's
entropy was at rest before can be subtracted, so that what remains is the change that the stimulus brought.

Bands and normalisation are those of RBTransformer's code: theta 4-8, alpha 8-14, beta 14-31 and gamma 31-49 Hz; one mean and one standard
deviation a window, which keeps the relations of the channels. A `delta` band from 1 Hz needs windows of two seconds.

Duan, Zhu & Lu (2013). Differential entropy feature for EEG-based emotion classification. 6th International IEEE/EMBS Conference on Neural
Engineering, 81-84.
Bhatnagar et al. (2025). A brain wave encodes a thousand tokens: modeling inter-cortical neural interactions for effective EEG-based emotion
recognition. arXiv:2511.13954.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float64, Real
from numpy import ndarray

from neuropil.decoding.preparation import sampling_rate
from neuropil.errors import DataError, UsageError
from neuropil.estimators import Transformer
from neuropil.signal.entropy import Bands, differential_entropy
from neuropil.signature import coordinate

BANDS: dict[str, tuple[float, float]] = {
    "theta": (4.0, 8.0),
    "alpha": (8.0, 14.0),
    "beta": (14.0, 31.0),
    "gamma": (31.0, 49.0),
}
FLOOR = 1e-12
NORMALIZATIONS = ("window", "channel", None)


def window_entropy(
    windows: Real[ndarray, "*batch channel time"],
    sfreq: float,
    bands: Bands = BANDS,
    *,
    order: int = 5,
    normalize: str | None = "window",
) -> Float64[ndarray, "*batch channel band"]:
    """Differential entropy of normalised windows.

    Parameters
    ----------
    windows : ndarray of shape (..., n_channels, n_times)
        Finite.
    sfreq : float
        Sampling rate in Hz.
    bands : mapping or sequence of (low, high)
        Edges in Hz.
    order : int, default 5
        Of the Butterworth filters.
    normalize : {"window", "channel", None}
        One mean and one standard deviation for the whole window; one for every channel; or none of the kind: every channel loses its
        mean and the entropies refer to the unit of the data.

    Returns
    -------
    ndarray of shape (..., n_channels, n_bands)
        In bits. The smallest variance is 1e-12 of the window's (of 1, where it is normalised), which is what a flat channel gets.
    """
    if normalize not in NORMALIZATIONS:
        raise UsageError(f"normalize must be 'window', 'channel' or None, got {normalize!r}.")
    windows = np.asarray(windows, dtype=np.float64)
    flat = np.ptp(windows, axis=-1, keepdims=True) == 0
    axes = (-2, -1) if normalize == "window" else (-1,)
    centred = windows - windows.mean(axis=axes, keepdims=True)
    scale = np.sqrt(np.mean(centred**2, axis=(-1,) if normalize == "channel" else (-2, -1), keepdims=True))
    scale = np.where(scale > 0, scale, 1.0)
    entropies = differential_entropy(np.where(flat, 0.0, centred / scale), sfreq, bands, order, floor=FLOOR)
    return entropies + np.log2(scale) if normalize is None else entropies


def baseline_entropy(
    baseline: Real[ndarray, "*batch channel time"],
    sfreq: float,
    bands: Bands = BANDS,
    *,
    order: int = 5,
    normalize: str | None = "window",
    piece: float = 1.0,
) -> Float64[ndarray, "*batch channel band"]:
    """Differential entropy of the rest before a trial: its pieces are averaged over one another, then taken as one window.

    Averaging n pieces divides the variance of whatever is not locked to them by n: without normalisation it shifts the entropies of ongoing
    activity by -1/2 log2(n) in every channel and band, and adds nothing else but a smaller spread; with normalisation the shift is gone.

    Parameters
    ----------
    baseline : ndarray of shape (..., n_channels, n_times)
        For example one a trial; a remainder shorter than a piece is left out at the end.
    sfreq : float
        Sampling rate in Hz.
    bands, order, normalize
        As in `window_entropy`, and the same as for the windows from which it is subtracted.
    piece : float, default 1.0
        Length of a piece in s: two periods of the lowest band edge or longer.

    Returns
    -------
    ndarray of shape (..., n_channels, n_bands)

    Raises
    ------
    DataError
        If the baseline is shorter than a piece, or a piece too short for the lowest band.

    Examples
    --------
    >>> import numpy as np
    >>> rest = np.random.default_rng(0).standard_normal((40, 32, 384))
    >>> baseline_entropy(rest, 128.0).shape
    (40, 32, 4)
    """
    n_piece, n_times = round(piece * sfreq), baseline.shape[-1]
    if not 1 <= n_piece <= n_times:
        raise DataError(
            f"A baseline must hold a piece of {piece:g} s, {n_piece} samples at {sfreq:g} Hz, got {n_times}; "
            "set piece to its length or less."
        )
    n_pieces = n_times // n_piece
    pieces = baseline[..., : n_pieces * n_piece].reshape(*baseline.shape[:-1], n_pieces, n_piece)
    return window_entropy(pieces.mean(axis=-2), sfreq, bands, order=order, normalize=normalize)


def with_baseline(
    windows: xr.DataArray, entropies: Real[ndarray, "window channel band"], bands: Bands = BANDS, name: str = "baseline"
) -> xr.DataArray:
    """Windows that carry the entropies of their baseline, as one coordinate (window, channel) a band: `baseline_theta` and so on.

    Parameters
    ----------
    windows : DataArray of dims (window, channel, time)
    entropies : ndarray of shape (n_windows, n_channels, n_bands)
        From `baseline_entropy`, indexed by the trial of every window.
    bands : mapping or sequence of (low, high)
        The same as for `baseline_entropy`.
    name : str, default "baseline"
        How the coordinates' names begin; the argument `baseline` of `BandDifferentialEntropy`.
    """
    names = _coordinate_names(bands, name)
    expected = (*windows.shape[:2], len(names))
    if entropies.shape != expected:
        raise DataError(_baseline_message(expected, entropies.shape))
    return windows.assign_coords({key: (windows.dims[:2], entropies[..., k]) for k, key in enumerate(names)})


def _coordinate_names(bands: Bands, name: str) -> list[str]:
    if isinstance(bands, Mapping):
        return [f"{name}_{band}" for band in bands]
    return [f"{name}_{low:g}-{high:g}" for low, high in bands]


def _baseline_message(expected: tuple[int, ...], got: tuple[int, ...]) -> str:
    return (
        f"Expected finite entropies of the baseline of shape {expected}, one for each window, channel and band, got shape {got}; "
        "index those of the trials by the trial of every window."
    )


class BandDifferentialEntropy(Transformer):
    """Windows (n_windows, n_channels, n_times) to differential entropies (n_windows, n_channels, n_bands).

    Nothing is learned but what the windows are. Samples outside a window have no influence on its entropies.

    Parameters
    ----------
    bands : mapping or sequence of (low, high), default theta, alpha, beta, gamma
        Edges in Hz.
    sfreq : float, optional
        Sampling rate in Hz, for windows that do not know theirs.
    order : int, default 5
        Of the causal Butterworth filters.
    normalize : {"window", "channel", None}
        As in `window_entropy`.
    baseline : str, optional
        Subtract what labelled windows carry under this name (see `with_baseline`): the entropies of the rest before their trial. They go
        with the windows through splits and pipelines.

    Attributes
    ----------
    sfreq_ : float
        The sampling rate in Hz.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((10, 14, 512))
    >>> BandDifferentialEntropy(sfreq=128.0).fit_transform(X).shape
    (10, 14, 4)
    """

    def __init__(
        self,
        bands: Bands = BANDS,
        sfreq: float | None = None,
        order: int = 5,
        normalize: str | None = "window",
        baseline: str | None = None,
    ) -> None:
        self.bands = bands
        self.sfreq = sfreq
        self.order = order
        self.normalize = normalize
        self.baseline = baseline

    def fit(self, X: Any, y: Any = None) -> BandDifferentialEntropy:
        """Remember what the windows are, and refuse those that do not fit the bands."""
        array = self._fit_data(X)[0]
        self.sfreq_ = sampling_rate(self.signature_, self.sfreq)
        self._entropy(array[:1])
        return self

    def transform(self, X: Any, baseline: Any = None) -> Float64[ndarray, "window channel band"]:
        """Entropies in bits.

        Parameters
        ----------
        X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
        baseline : array-like of shape (n_windows, n_channels, n_bands), optional
            Subtracted, from `baseline_entropy`; by default what the windows carry under the constructor's `baseline`, if any.

        Raises
        ------
        DataError
            If windows differ from those of `fit`, or the baseline does not fit them.
        """
        entropies = self._entropy(self._predict_data(X))
        if baseline is None and self.baseline is None:
            return entropies
        baseline = self._carried(X) if baseline is None else np.asarray(baseline, dtype=np.float64)
        if baseline.shape != entropies.shape or not np.isfinite(baseline).all():
            raise DataError(_baseline_message(entropies.shape, baseline.shape))
        return entropies - baseline

    def _carried(self, X: Any) -> ndarray:
        names = _coordinate_names(self.bands, str(self.baseline))
        found = [values for name in names if (values := coordinate(X, name)) is not None]
        if len(found) < len(names):
            raise DataError(
                f"These windows do not carry the entropies of a baseline under the name {self.baseline!r}; "
                "add them with with_baseline() or pass baseline to transform()."
            )
        return np.stack(found, axis=-1)

    def _entropy(self, array: ndarray) -> ndarray:
        return window_entropy(array, self.sfreq_, self.bands, order=self.order, normalize=self.normalize)
