"""Common spatial patterns: oscillations decoded by spatial filters whose power differs most between classes.

The filters diagonalise the covariances of two classes together; the logarithm of the power behind a few of them goes into a linear
discriminant. More than two classes are taken one against the rest, since the joint diagonalisation of many covariances falls to chance
when a class such as idle has no pattern of its own. `FilterBankCSP` does so in nine bands and keeps the features that tell most.

Blankertz, Tomioka, Lemm, Kawanabe & Müller (2008). Optimizing spatial filters for robust EEG single-trial analysis. IEEE SPM 25(1).
Ang, Chin, Zhang & Guan (2008). Filter bank common spatial pattern (FBCSP) in brain-computer interface. IJCNN, 2390-2397.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline

from neuropil.decoding.lda import ShrinkageLDA
from neuropil.decoding.preparation import BandPass, SignalSubspace, filter_windows, sampling_rate
from neuropil.errors import DataError, UsageError
from neuropil.estimators import PipelineClassifier
from neuropil.signature import Signature

FILTER_BANK = tuple((float(low), float(low + 4)) for low in range(4, 40, 4))


def common_spatial_patterns(
    windows: Float[ndarray, "window channel time"], y: Shaped[ndarray, " window"], n_components: int
) -> tuple[Float[ndarray, "filter channel"], Float[ndarray, "filter channel"]]:
    """Filters and patterns by MNE-Python's `CSP` with Ledoit-Wolf covariances; one class against the rest for more than two.

    Parameters
    ----------
    windows : ndarray of shape (n_windows, n_channels, n_times)
        Of full rank, without offset.
    y : ndarray of shape (n_windows,)
        Labels.
    n_components : int
        Filters for two classes, or for every class against the rest; those whose power tells the classes apart most, best first.

    Returns
    -------
    filters, patterns : ndarray of shape (n_filters, n_channels)
    """
    from mne.decoding import CSP
    from mne.utils import use_log_level

    classes = np.unique(y)
    wanted = classes[1:] if len(classes) == 2 else classes
    filters, patterns = [], []
    for label in wanted:
        csp = CSP(n_components, reg="ledoit_wolf", rank="full", cov_est="concat")
        with use_log_level("ERROR"):
            csp.fit(windows, (y == label).astype(int))
        filters.append(csp.filters_[:n_components])
        patterns.append(csp.patterns_[:n_components])
    return np.concatenate(filters), np.concatenate(patterns)


class SpatialPatterns(TransformerMixin, BaseEstimator):
    """Log power behind common spatial patterns, as a step of a pipeline.

    Parameters
    ----------
    n_components : int, default 6
        As in `common_spatial_patterns`; at most the number of channels.

    Attributes
    ----------
    filters_, patterns_ : ndarray of shape (n_filters, n_channels)
    """

    def __init__(self, n_components: int = 6) -> None:
        self.n_components = n_components

    def fit(self, X: Any, y: Any) -> SpatialPatterns:
        """Find the filters from windows (n_windows, n_channels, n_times) and labels."""
        if self.n_components < 1:
            raise UsageError(f"CSP needs one component or more, got n_components={self.n_components}.")
        n_components = min(int(self.n_components), X.shape[1])
        self.filters_, self.patterns_ = common_spatial_patterns(np.asarray(X, dtype=float), np.asarray(y), n_components)
        return self

    def transform(self, X: Any) -> ndarray:
        """Features of shape (n_windows, n_filters): the logarithm of the mean square of the filtered windows."""
        return log_power(self.filters_ @ np.asarray(X, dtype=float))


def log_power(sources: Float[ndarray, "window source time"]) -> Float[ndarray, "window source"]:
    """Logarithm of the mean square over time; exact silence counts as 1e-30."""
    return np.log(np.maximum(np.mean(sources**2, axis=-1), 1e-30))


class CSPLDA(PipelineClassifier):
    """Common spatial patterns and shrinkage discriminant analysis, for oscillations.

    Parameters
    ----------
    n_components : int, default 6
        Filters for two classes, or for every class against the rest.
    band : (float, float) or None, default None
        Band in Hz in which every window is filtered by itself (zero-phase, see `filter_windows`); None for a recording that was
        filtered before it was cut, which keeps the edges of the windows exact and is to be preferred.
    sfreq : float, optional
        Sampling rate in Hz, needed with `band` for windows that do not know theirs.

    Attributes
    ----------
    filters_ : ndarray of shape (n_filters, n_channels)
        Spatial filters, one over the unit of the data.
    patterns_ : ndarray of shape (n_filters, n_channels)
        How the source behind every filter shows in the channels, in the unit of the data.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 30)
    >>> X = rng.normal(size=(60, 4, 100))
    >>> X[y == "right", 2] *= 3
    >>> CSPLDA(n_components=2).fit(X, y).score(X, y)
    1.0
    """

    def __init__(
        self, n_components: int = 6, band: tuple[float, float] | None = None, sfreq: float | None = None
    ) -> None:
        self.n_components = n_components
        self.band = band
        self.sfreq = sfreq

    def _make(self, signature: Signature) -> Pipeline:
        steps: list[Any] = [SignalSubspace(), SpatialPatterns(self.n_components), ShrinkageLDA()]
        if self.band is not None:
            steps.insert(0, BandPass((self.band[0], self.band[1]), sampling_rate(signature, self.sfreq)))
        return make_pipeline(*steps)

    def fit(self, X: Any, y: Any = None) -> CSPLDA:
        """Fit on windows of shape (n_windows, n_channels, n_times) and their labels."""
        super().fit(X, y)
        subspace, csp = self.pipeline_[-3], self.pipeline_[-2]
        self.filters_ = csp.filters_ @ subspace.basis_.T / subspace.scale_
        self.patterns_ = csp.patterns_ @ subspace.basis_.T * subspace.scale_
        return self


class FilterBankPatterns(TransformerMixin, BaseEstimator):
    """Log power behind common spatial patterns in several bands, the most informative of them.

    For every class (one of two) features are ranked by their mutual information with it; the best `n_features` are kept together with
    their counterparts from the other end of the same band's spectrum.

    Parameters
    ----------
    bands : sequence of (float, float)
        In Hz.
    sfreq : float
        Sampling rate in Hz.
    n_pairs : int, default 2
        Filters of either end of the spectrum in every band.
    n_features : int, default 4
        Features chosen a class before their counterparts are added.
    random_state : int, default 0
        Of the nearest-neighbour estimate of mutual information, which breaks ties by noise.

    Attributes
    ----------
    filters_ : ndarray of shape (n_bands, n_filters, n_channels)
    information_ : ndarray of shape (n_bands, n_filters)
        Mutual information of every feature with its class, in nats.
    chosen_ : ndarray of shape (n_chosen, 2)
        Band and filter of every feature that is kept.
    """

    def __init__(self, bands: Any, sfreq: float, n_pairs: int = 2, n_features: int = 4, random_state: int = 0) -> None:
        self.bands = bands
        self.sfreq = sfreq
        self.n_pairs = n_pairs
        self.n_features = n_features
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> FilterBankPatterns:
        """Find filters and features from windows (n_windows, n_channels, n_times) and labels."""
        from sklearn.feature_selection import mutual_info_classif

        X, y = np.asarray(X, dtype=float), np.asarray(y)
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            rarest = classes[counts.argmin()].item()
            raise DataError(
                f"Choosing features needs two windows of every class or more, class {rarest!r} has one; add windows."
            )
        wanted = classes[1:] if len(classes) == 2 else classes
        filters, features = [], []
        for band in self.bands:
            windows = filter_windows(X, tuple(band), self.sfreq)
            filters.append(np.concatenate([_both_ends(windows, y == label, self.n_pairs) for label in wanted]))
            features.append(log_power(filters[-1] @ windows))
        self.filters_ = np.stack(filters)
        n_filters = self.filters_.shape[1] // len(wanted)
        table = np.stack(features, axis=1).reshape(len(X), len(self.bands), len(wanted), n_filters)
        self.information_ = np.empty(self.filters_.shape[:2])
        chosen: set[tuple[int, int]] = set()
        for k, label in enumerate(wanted):
            information = mutual_info_classif(
                table[:, :, k].reshape(len(X), -1),
                y == label,
                n_neighbors=int(min(3, counts.min() - 1)),
                random_state=self.random_state,
            )
            self.information_[:, k * n_filters : (k + 1) * n_filters] = information.reshape(-1, n_filters)
            for best in np.argsort(-information, kind="stable")[: self.n_features]:
                band, place = divmod(int(best), n_filters)
                chosen |= {(band, k * n_filters + place), (band, (k + 1) * n_filters - 1 - place)}
        self.chosen_ = np.array(sorted(chosen))
        return self

    def transform(self, X: Any) -> ndarray:
        """Features of shape (n_windows, n_chosen)."""
        X = np.asarray(X, dtype=float)
        out = np.empty((len(X), len(self.chosen_)))
        for band in np.unique(self.chosen_[:, 0]):
            columns = np.flatnonzero(self.chosen_[:, 0] == band)
            windows = filter_windows(X, tuple(self.bands[band]), self.sfreq)
            out[:, columns] = log_power(self.filters_[band][self.chosen_[columns, 1]] @ windows)
        return out


def _both_ends(windows: ndarray, is_class: ndarray, n_pairs: int) -> ndarray:
    """Filters from both ends of the spectrum, in order of the class's share of their power."""
    n_channels = windows.shape[1]
    filters, _ = common_spatial_patterns(windows, is_class, n_channels)
    powers = [np.mean((filters @ windows[side]) ** 2, axis=(0, 2)) for side in (is_class, ~is_class)]
    filters = filters[np.argsort(powers[0] / (powers[0] + powers[1]), kind="stable")]
    n_pairs = min(n_pairs, max(1, n_channels // 2))
    return np.concatenate([filters[:n_pairs], filters[max(n_pairs, n_channels - n_pairs) :]])


class FilterBankCSP(PipelineClassifier):
    """Common spatial patterns in a bank of bands, features chosen by mutual information, shrinkage discriminant analysis.

    For broad-band windows of at least one second. The paper's classifier after the selection is a naive Bayes one; discriminant
    analysis takes its place here.

    Parameters
    ----------
    bands : sequence of (float, float) or None, default None
        In Hz; None takes 4-8, 8-12 ... 36-40 Hz as far as they lie below half the sampling rate.
    n_pairs : int, default 2
        Filters of either end of the spectrum in every band.
    n_features : int, default 4
        Features chosen a class, before their counterparts are added.
    sfreq : float, optional
        Sampling rate in Hz, for windows that do not know theirs.
    random_state : int, default 0
        Of the estimate of mutual information.

    Attributes
    ----------
    bands_ : tuple of (float, float)
        The bands that were used.
    chosen_ : ndarray of shape (n_chosen, 2)
        Band and filter of every feature.

    References
    ----------
    Ang, Chin, Zhang & Guan (2008). IJCNN, 2390-2397. Ang et al. (2012). Frontiers in Neuroscience 6:39 (more than two classes).
    """

    def __init__(
        self,
        bands: Any = None,
        n_pairs: int = 2,
        n_features: int = 4,
        sfreq: float | None = None,
        random_state: int = 0,
    ) -> None:
        self.bands = bands
        self.n_pairs = n_pairs
        self.n_features = n_features
        self.sfreq = sfreq
        self.random_state = random_state

    def _make(self, signature: Signature) -> Pipeline:
        if self.n_pairs < 1 or self.n_features < 1:
            raise UsageError(
                f"A filter bank needs n_pairs and n_features of 1 or more, got {self.n_pairs} and {self.n_features}."
            )
        sfreq = sampling_rate(signature, self.sfreq)
        bands = [band for band in FILTER_BANK if band[1] < sfreq / 2] if self.bands is None else list(self.bands)
        if not bands:
            raise UsageError(
                f"No band of 4 Hz from 4 Hz on lies below {sfreq / 2:g} Hz, half the sampling rate; pass bands."
            )
        self.bands_ = tuple((float(low), float(high)) for low, high in bands)
        patterns = FilterBankPatterns(self.bands_, sfreq, self.n_pairs, self.n_features, self.random_state)
        return make_pipeline(SignalSubspace(), patterns, ShrinkageLDA())

    def fit(self, X: Any, y: Any = None) -> FilterBankCSP:
        """Fit on windows of shape (n_windows, n_channels, n_times) and their labels."""
        super().fit(X, y)
        self.chosen_ = self.pipeline_[1].chosen_
        return self
