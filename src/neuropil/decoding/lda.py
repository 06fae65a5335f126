"""Slow-potential decoding by shrinkage discriminant analysis of binned voltages.

Each window is averaged in `n_bins` stretches of time per channel; a linear discriminant whose covariance is shrunk as Ledoit and Wolf
proposed separates the classes. It is the baseline that deep decoders have to beat on movement-related and slow cortical potentials.
`XdawnLDA` puts spatial filters in front that raise the evoked response of every class above the ongoing activity.

Blankertz, Lemm, Treder, Haufe & Müller (2011). Single-trial analysis and classification of ERP components. NeuroImage 56(2).
Rivet, Souloumiac, Attina & Gibert (2009). xDAWN algorithm to enhance evoked potentials. IEEE TBME 56(8).
Haufe et al. (2014). On the interpretation of weight vectors of linear models in multivariate neuroimaging. NeuroImage 87.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline

from neuropil.decoding.preparation import SignalSubspace
from neuropil.errors import DataError, UsageError
from neuropil.estimators import PipelineClassifier
from neuropil.signature import Signature


def bin_means(windows: Real[ndarray, "window channel time"], n_bins: int) -> Float[ndarray, "window feature"]:
    """Average every channel over `n_bins` equal stretches of time; a remainder shorter than a bin is left out at the end.

    Parameters
    ----------
    windows : ndarray of shape (n_windows, n_channels, n_times)
    n_bins : int
        From 1 to n_times.

    Returns
    -------
    ndarray of shape (n_windows, n_channels * n_bins)
        In the unit of the data, the bins of the first channel first.

    Examples
    --------
    >>> bin_means(np.arange(14.0).reshape(1, 2, 7), 3)
    array([[ 0.5,  2.5,  4.5,  7.5,  9.5, 11.5]])
    """
    n_windows, n_channels, n_times = windows.shape
    if not 1 <= n_bins <= n_times:
        raise UsageError(f"n_bins must lie between 1 and the {n_times} samples of a window, got {n_bins}.")
    width = n_times // n_bins
    return windows[..., : n_bins * width].reshape(n_windows, n_channels * n_bins, width).mean(axis=-1)


class ShrinkageLDA(LinearDiscriminantAnalysis):
    """scikit-learn's linear discriminant analysis with a shrunk covariance, defined for more features than windows.

    Parameters
    ----------
    shrinkage : "auto", float or None, default "auto"
        As Ledoit and Wolf proposed, a share between 0 and 1, or none.
    """

    def __init__(self, shrinkage: float | str | None = "auto") -> None:
        super().__init__(solver="lsqr", shrinkage=shrinkage)

    def fit(self, X: Any, y: Any) -> ShrinkageLDA:
        """Fit on features (n_windows, n_features) and labels; every class needs two windows for a covariance within it."""
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            rarest = classes[counts.argmin()].item()
            raise DataError(
                f"Discriminant analysis needs two windows of every class or more, class {rarest!r} has one; add windows."
            )
        return super().fit(X, y)


def discriminants(lda: LinearDiscriminantAnalysis) -> Float[ndarray, "discriminant feature"]:
    r"""Weights of the n_classes - 1 directions along which a fitted discriminant analysis separates the classes, best first.

    With class means :math:`\mu_k`, priors :math:`\pi_k` and covariance :math:`\Sigma` they are the eigenvectors of
    :math:`\Sigma^{-1} \sum_k \pi_k (\mu_k - \mu)(\mu_k - \mu)^\top`. The sign is such that the first direction grows towards the last
    class of two, and every direction of more towards the class farthest from the mean.
    """
    if len(lda.classes_) == 2:
        return np.asarray(lda.coef_, dtype=float)
    root = np.sqrt(lda.priors_)[:, None]
    weights, means = np.asarray(lda.coef_, dtype=float), lda.means_ - lda.priors_ @ lda.means_
    weights = weights - lda.priors_ @ weights
    between = (root * weights) @ (root * means).T
    _, vectors = np.linalg.eigh((between + between.T) / 2)
    rows = vectors[:, ::-1][:, : len(lda.classes_) - 1].T @ (root * weights)
    scores = means @ rows.T
    return rows * np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(len(rows))])[:, None]


def feature_patterns(
    weights: Float[ndarray, "discriminant feature"], features: Float[ndarray, "window feature"]
) -> Float[ndarray, "discriminant feature"]:
    r"""Activation patterns of discriminants: what one standard deviation of each adds to the features, in the unit of the features.

    With :math:`s = W x` scaled to unit variance it is :math:`\mathrm{cov}(x, s)\, \mathrm{cov}(s)^{-1}`, estimated from the scores
    themselves, so that no matrix of features times features is needed.
    """
    centred = features - features.mean(axis=0)
    scores = centred @ weights.T
    deviation = scores.std(axis=0)
    if not (deviation > 0).all():
        raise DataError(
            "A discriminant is the same for every window and has no pattern; the features hold no contrast."
        )
    scores /= deviation
    n_windows = len(scores)
    return np.linalg.pinv(scores.T @ scores / n_windows, hermitian=True) @ (scores.T @ centred / n_windows)


class BinMeans(TransformerMixin, BaseEstimator):
    """`bin_means` as a step of a pipeline."""

    def __init__(self, n_bins: int = 8) -> None:
        self.n_bins = n_bins

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> BinMeans:
        """Nothing to learn."""
        return self

    def transform(self, X: Any) -> ndarray:
        """Features of shape (n_windows, n_channels * n_bins)."""
        return bin_means(np.asarray(X, dtype=float), self.n_bins)


class BinnedLDA(PipelineClassifier):
    """Linear discriminant analysis of time-binned windows.

    Parameters
    ----------
    n_bins : int, default 8
        Stretches of time averaged per channel.
    shrinkage : "auto", float or None, default "auto"
        Of the covariance: as Ledoit and Wolf proposed, a share between 0 and 1, or none.

    Attributes
    ----------
    patterns_ : ndarray of shape (n_classes - 1, n_channels, n_bins)
        Activation patterns of the discriminants: what one standard deviation of the discriminant adds, in the unit of the data.
    pipeline_ : Pipeline

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["negative", "positive"], 20)
    >>> X = rng.normal(size=(40, 2, 50)) + (y == "positive")[:, None, None] * np.array([[0.5], [0.0]])
    >>> BinnedLDA(n_bins=5).fit(X, y).patterns_.shape
    (1, 2, 5)
    """

    def __init__(self, n_bins: int = 8, shrinkage: float | str | None = "auto") -> None:
        self.n_bins = n_bins
        self.shrinkage = shrinkage

    def _make(self, signature: Signature) -> Pipeline:
        return make_pipeline(BinMeans(self.n_bins), ShrinkageLDA(self.shrinkage))

    def fit(self, X: Any, y: Any = None) -> BinnedLDA:
        """Fit on windows of shape (n_windows, n_channels, n_times) and their labels."""
        super().fit(X, y)
        features = bin_means(np.asarray(X, dtype=float), self.n_bins)
        self.patterns_ = feature_patterns(discriminants(self.pipeline_[-1]), features).reshape(
            -1, self.signature_.n_channels, self.n_bins
        )
        return self


class XdawnLDA(PipelineClassifier):
    """Shrinkage discriminant analysis of windows behind xDAWN filters, for evoked responses.

    Parameters
    ----------
    n_filters : int, default 4
        Spatial filters a class; at most as many as the data have directions.
    n_bins : int, default 20
        Stretches of time averaged per filter.
    shrinkage : "auto", float or None, default "auto"
        As in `BinnedLDA`.

    Attributes
    ----------
    filters_, patterns_ : ndarray of shape (n_classes * n_filters, n_channels)
        Spatial filters, and how the sources that they extract show in the channels (in the unit of the data).
    """

    def __init__(self, n_filters: int = 4, n_bins: int = 20, shrinkage: float | str | None = "auto") -> None:
        self.n_filters = n_filters
        self.n_bins = n_bins
        self.shrinkage = shrinkage

    def _make(self, signature: Signature) -> Pipeline:
        from pyriemann.spatialfilters import Xdawn

        if self.n_filters < 1:
            raise UsageError(f"xDAWN needs one filter a class or more, got n_filters={self.n_filters}.")
        return make_pipeline(
            SignalSubspace(centred=False),
            Xdawn(nfilter=self.n_filters, estimator="oas"),
            BinMeans(self.n_bins),
            ShrinkageLDA(self.shrinkage),
        )

    def fit(self, X: Any, y: Any = None) -> XdawnLDA:
        """Fit on windows of shape (n_windows, n_channels, n_times) and their labels."""
        super().fit(X, y)
        subspace, xdawn = self.pipeline_[0], self.pipeline_[1]
        self.filters_ = xdawn.filters_ @ subspace.basis_.T / subspace.scale_
        self.patterns_ = xdawn.patterns_ @ subspace.basis_.T * subspace.scale_
        return self
