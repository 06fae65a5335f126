"""The linear baseline of EEG to fMRI translation: ridge regression on log spectra at several delays.

The seconds before a volume are divided into lags; in every lag the magnitudes of short-time spectra are averaged, at several resolutions,
and their logarithms are the features. The weights of the lags are a haemodynamic response that is learned, separately for every frequency,
electrode and region. What a network gains over it is what is not linear in log amplitudes.

de Munck, Gonçalves, Mammoliti, Heethaar & Lopes da Silva (2009). Interactions between different EEG frequency bands and their effect on
alpha-fMRI correlations. NeuroImage 47(1), 69-76.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray

from neuropil.decoding.volumes import in_microvolts, scan_correlations, scans_of, targets_of
from neuropil.errors import DataError, UsageError
from neuropil.estimators import Regressor
from neuropil.nn.spectrogram import stft_magnitudes

SCALINGS = ("scan", "training")
MAX_FOLDS = 5


def lagged_log_spectra(
    X: Float32[ndarray, "window channel time"], lag: int, sizes: Sequence[int]
) -> Float32[ndarray, "window feature"]:
    """log(1 + magnitude) of short-time spectra, averaged within lags of `lag` samples, for all channels, lags and window sizes.

    Parameters
    ----------
    X : ndarray of shape (n_windows, n_channels, n_times)
        In µV; the mean of every channel is removed first.
    lag : int
        Samples of a lag; a multiple of all `sizes`, a divisor of n_times.
    sizes : sequence of int
        Samples of the spectral windows.

    Examples
    --------
    >>> lagged_log_spectra(np.zeros((5, 2, 64), dtype=np.float32), 32, [8, 16]).shape
    (5, 56)
    """
    n_times = X.shape[2]
    if n_times % lag or any(lag % size for size in sizes):
        raise UsageError(
            f"A window of {n_times} samples must hold whole lags of {lag}, and a lag whole spectral windows of "
            f"{', '.join(map(str, sizes))} samples."
        )
    centred = torch.as_tensor(X - X.mean(axis=-1, keepdims=True))
    features = []
    for size in sizes:
        magnitudes = stft_magnitudes(centred, size).unflatten(2, (n_times // lag, lag // size)).mean(dim=3)
        features.append(magnitudes.log1p().flatten(1))
    return torch.cat(features, dim=1).numpy()


def ridge_by_cross_validation(
    features: Float[ndarray, "volume feature"],
    targets: Float[ndarray, "volume region"],
    alphas: Float[ndarray, " alpha"],
    folds: Sequence[ndarray],
) -> tuple[Float[ndarray, "feature region"], Float[ndarray, " region"]]:
    r"""Weights of a ridge regression without intercept, with a penalty of its own for every target.

    Works on the matrix of inner products, so that the cost of a fold does not depend on the number of features. Minimises
    :math:`\|Y - X B\|^2 + \alpha \|B\|^2`; :math:`\alpha` has the smallest squared error over the held-out `folds` (arrays of rows).

    Returns
    -------
    weights : ndarray of shape (n_features, n_regions)
    alphas : ndarray of shape (n_regions,)
    """
    products = (features @ features.T).astype(np.float64)
    error = np.zeros((len(alphas), targets.shape[1]))
    rows = np.arange(len(features))
    for held in folds:
        kept = np.setdiff1d(rows, held)
        values, vectors = np.linalg.eigh(products[np.ix_(kept, kept)])
        onto, loadings = products[np.ix_(held, kept)] @ vectors, vectors.T @ targets[kept]
        for k, alpha in enumerate(alphas):
            predicted = onto @ (loadings / (np.maximum(values, 0) + alpha)[:, None])
            error[k] += ((targets[held] - predicted) ** 2).sum(axis=0)
    chosen = alphas[error.argmin(axis=0)]
    values, vectors = np.linalg.eigh(products)
    dual = vectors @ ((vectors.T @ targets) / (np.maximum(values, 0)[:, None] + chosen))
    return features.T @ dual.astype(features.dtype), chosen


class BoldRidge(Regressor):
    """Ridge regression of fMRI regions on log spectra of the EEG at several delays.

    Parameters
    ----------
    lag : float, default 4.0
        Length of a lag in s; a window of 16 s has four of them.
    base_scale : float, default 0.5
        Shortest spectral window in s; every further scale is twice as long.
    n_scales : int, default 4
        Scales; the longest window is at most a lag.
    alphas : sequence of float, optional
        Penalties to choose from, for every region by itself; 10^2 to 10^7 in half decades without.
    scaling : {"scan", "training"}
        Standardise features over all windows of their scan in the call (transductive: it looks at the whole scan, without targets), or by
        mean and standard deviation of the training windows.
    sfreq : float, default 200.0
        Sampling rate in Hz of windows given as plain arrays; labelled windows know theirs.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features, n_regions)
    alphas_ : ndarray of shape (n_regions,)
        Chosen penalties.
    n_targets_ : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(40, 2, 256)), rng.normal(size=(40, 3))
    >>> BoldRidge(lag=1.0, n_scales=2, sfreq=64.0).fit(X, y).predict(X).shape
    (40, 3)
    """

    def __init__(
        self,
        *,
        lag: float = 4.0,
        base_scale: float = 0.5,
        n_scales: int = 4,
        alphas: Sequence[float] | None = None,
        scaling: str = "scan",
        sfreq: float = 200.0,
    ) -> None:
        self.lag = lag
        self.base_scale = base_scale
        self.n_scales = n_scales
        self.alphas = alphas
        self.scaling = scaling
        self.sfreq = sfreq

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> BoldRidge:
        """Fit on windows and region values; penalties are chosen over held-out scans, or stretches of a single scan.

        Parameters
        ----------
        X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
        y : array-like of shape (n_windows,) or (n_windows, n_regions), optional
            By default those that the windows carry.
        groups : array-like of shape (n_windows,), optional
            Scans; by default subject, session and recording of labelled windows.
        """
        if self.scaling not in SCALINGS:
            raise UsageError(f"scaling must be one of {', '.join(map(repr, SCALINGS))}, got {self.scaling!r}.")
        y = targets_of(X, y)
        array, targets, _ = self._fit_data(X, y)
        scans = scans_of(X, groups)
        if scans is not None and len(scans) != len(array):
            raise DataError(f"Expected one scan for each of the {len(array)} windows, got {len(scans)}.")
        self.single_target_ = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        self.n_targets_ = targets.shape[1]
        features = self._features(array, X)
        self.mean_, self.scale_ = features.mean(axis=0), _spread(features)
        self.intercept_ = targets.mean(axis=0)
        alphas = np.logspace(2, 7, 11) if self.alphas is None else np.asarray(self.alphas, dtype=float)
        self.coef_, self.alphas_ = ridge_by_cross_validation(
            self._scaled(features, scans), targets - self.intercept_, alphas, list(_folds(len(array), scans))
        )
        return self

    def predict(self, X: Any, groups: Any = None) -> ndarray:
        """Regions of every volume, shape (n_windows, n_regions) or, if fitted so, (n_windows,)."""
        features = self._features(self._predict_data(X), X)
        values = self._scaled(features, scans_of(X, groups)) @ self.coef_ + self.intercept_
        return values[:, 0] if self.single_target_ else values

    def score(self, X: Any, y: Any = None, groups: Any = None) -> float:
        """Pearson r of every region over every whole scan, averaged."""
        return float(scan_correlations(targets_of(X, y), self.predict(X, groups), scans_of(X, groups)).mean())

    def _features(self, array: ndarray, X: Any) -> ndarray:
        sfreq = self.signature_.sfreq or self.sfreq
        sizes = [round(self.base_scale * sfreq) * 2**scale for scale in range(self.n_scales)]
        return lagged_log_spectra(in_microvolts(array, X), round(self.lag * sfreq), sizes)

    def _scaled(self, features: ndarray, scans: ndarray | None) -> ndarray:
        if self.scaling == "training":
            return (features - self.mean_) / self.scale_
        scaled = np.empty_like(features)
        names = np.zeros(len(features), dtype=int) if scans is None else scans
        for name in np.unique(names):
            mine = features[names == name]
            scaled[names == name] = (mine - mine.mean(axis=0)) / _spread(mine)
        return scaled


def _spread(features: ndarray) -> ndarray:
    """Standard deviation of every feature; 1 where it is constant."""
    spread = features.std(axis=0)
    return np.where(spread > 1e-6, spread, 1).astype(features.dtype)


def _folds(n_windows: int, scans: ndarray | None) -> Iterator[ndarray]:
    """Rows to hold out: whole scans where there are three or more, otherwise five stretches of time."""
    names = np.unique(scans) if scans is not None else np.zeros(1)
    if scans is not None and len(names) >= 3:
        for part in np.array_split(names, min(MAX_FOLDS, len(names))):
            yield np.flatnonzero(np.isin(scans, part))
    else:
        yield from np.array_split(np.arange(n_windows), MAX_FOLDS)
