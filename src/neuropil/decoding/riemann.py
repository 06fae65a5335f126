"""Decoding by the geometry of covariance matrices.

The covariance of a window is a point on a curved space whose distance does not change under any mixing of the channels. Windows are
classified by the nearest class mean (`RiemannMDM`), or projected onto the tangent space at the mean of all training windows, where a
regularised logistic regression separates them (`TangentSpaceLR`). For evoked responses the windows are stacked on the average response
of every class before the covariance is taken, so that it holds when something happened and not only how strongly (`XdawnTangentSpace`).

Barachant, Bonnet, Congedo & Jutten (2012). Multiclass brain-computer interface classification by Riemannian geometry. IEEE TBME 59(4).
Barachant, Bonnet, Congedo & Jutten (2013). Classification of covariance matrices using a Riemannian-based kernel. Neurocomputing 112.
Congedo, Barachant & Bhatia (2017). Riemannian geometry for EEG-based brain-computer interfaces. Brain-Computer Interfaces 4(3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline

from neuropil.decoding.folds import Folds, inner_folds, spans
from neuropil.decoding.preparation import COVARIANCES, BandPass, SignalSubspace, WindowCovariances, sampling_rate
from neuropil.errors import UsageError
from neuropil.estimators import PipelineClassifier
from neuropil.signature import Signature

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)


def _covariance_steps(
    signature: Signature, estimator: str, band: tuple[float, float] | None, sfreq: float | None
) -> list[Any]:
    if estimator not in COVARIANCES:
        raise UsageError(f"The covariance estimator must be one of {', '.join(COVARIANCES)}, got {estimator!r}.")
    steps: list[Any] = [SignalSubspace(), WindowCovariances(estimator)]
    if band is not None:
        steps.insert(0, BandPass((band[0], band[1]), sampling_rate(signature, sfreq)))
    return steps


def _logistic(C: float) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=5000, tol=1e-6)


def choose_penalty(features: Any, X: ndarray, y: ndarray, penalties: Sequence[float], folds: Folds) -> float:
    """The inverse penalty of logistic regression with the least cross-entropy over the folds.

    Parameters
    ----------
    features : transformer
        Cloned and fitted on the training side of every fold.
    X, y : ndarray
        What `features` takes, and labels.
    penalties : sequence of float
        Candidates for C; the smallest wins a tie.
    folds : list of (train, test)
    """
    if not penalties or min(penalties) <= 0:
        raise UsageError(f"The penalties must be positive numbers, got {tuple(penalties)}.")
    candidates = sorted(float(C) for C in penalties)
    classes = np.unique(y)
    loss = np.zeros(len(candidates))
    for train, test in folds:
        step = clone(features).fit(X[train], y[train])
        inside, outside = step.transform(X[train]), step.transform(X[test])
        for k, C in enumerate(candidates):
            predicted = _logistic(C).fit(inside, y[train]).predict_proba(outside)
            loss[k] += log_loss(y[test], predicted, labels=classes) * len(test)
    return candidates[int(loss.argmin())]


class _TangentClassifier(PipelineClassifier):
    """Fitted preparation, then a transformer that learns in every fold, then logistic regression with C chosen or given.

    A subclass has the parameters C, penalties, n_folds and defines `_preparation` and `_features`.
    """

    C: float | None
    penalties: Sequence[float]
    n_folds: int

    def _preparation(self, signature: Signature) -> Pipeline:
        raise NotImplementedError  # pragma: no cover - abstract

    def _features(self) -> Any:
        raise NotImplementedError  # pragma: no cover - abstract

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> _TangentClassifier:
        """Fit on windows of shape (n_windows, n_channels, n_times), labels and, where given, groups (for the inner folds)."""
        array, labels, groups = self._fit_data(X, y, groups)
        preparation = self._preparation(self.signature_).fit(np.asarray(array, dtype=float), labels)
        prepared = preparation.transform(np.asarray(array, dtype=float))
        if self.C is None:
            folds = inner_folds(labels, groups, self.n_folds, spans(X))
            self.C_ = choose_penalty(self._features(), prepared, labels, self.penalties, folds)
        elif not self.C > 0:
            raise UsageError(f"C must be a positive number or None, got {self.C}.")
        else:
            self.C_ = float(self.C)
        learned = make_pipeline(self._features(), _logistic(self.C_)).fit(prepared, labels)
        self.pipeline_ = Pipeline([*preparation.steps, *learned.steps])
        return self


class TangentSpaceLR(_TangentClassifier):
    """Logistic regression in the tangent space of covariances, for oscillations.

    Parameters
    ----------
    estimator : {"oas", "lwf", "scm"}, default "oas"
        Covariance of a window: oracle approximating shrinkage, Ledoit-Wolf, or the sample covariance (which needs many samples).
    band : (float, float) or None, default None
        Band in Hz in which every window is filtered by itself; None for data that were filtered before.
    sfreq : float, optional
        Sampling rate in Hz, needed with `band` for windows that do not know theirs.
    C : float or None, default None
        Inverse penalty of the logistic regression; None chooses it by inner cross-validation.
    penalties : sequence of float
        Candidates for C.
    n_folds : int, default 5
        Of the inner cross-validation, see `inner_folds`.

    Attributes
    ----------
    C_ : float
        The inverse penalty that was used.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 30)
    >>> X = rng.normal(size=(60, 4, 100))
    >>> X[y == "right", 2] *= 3
    >>> TangentSpaceLR().fit(X, y).score(X, y)
    1.0
    """

    def __init__(
        self,
        estimator: str = "oas",
        band: tuple[float, float] | None = None,
        sfreq: float | None = None,
        C: float | None = None,
        penalties: Sequence[float] = PENALTIES,
        n_folds: int = 5,
    ) -> None:
        self.estimator = estimator
        self.band = band
        self.sfreq = sfreq
        self.C = C
        self.penalties = penalties
        self.n_folds = n_folds

    def _preparation(self, signature: Signature) -> Pipeline:
        return make_pipeline(*_covariance_steps(signature, self.estimator, self.band, self.sfreq))

    def _features(self) -> Any:
        from pyriemann.tangentspace import TangentSpace

        return TangentSpace(metric="riemann")


class XdawnTangentSpace(_TangentClassifier):
    """Logistic regression in the tangent space of covariances of windows stacked on xDAWN-filtered class averages, for evoked responses.

    Parameters
    ----------
    n_filters : int, default 4
        xDAWN filters a class.
    estimator : {"oas", "lwf", "scm"}, default "oas"
        Of both covariances, the filters' and the stacked windows'.
    C, penalties, n_folds
        As in `TangentSpaceLR`; filters and averages are learned anew in every inner fold.

    Attributes
    ----------
    C_ : float
        The inverse penalty that was used.

    References
    ----------
    Barachant & Congedo (2014). A plug & play P300 BCI using information geometry. arXiv:1409.0107.
    """

    def __init__(
        self,
        n_filters: int = 4,
        estimator: str = "oas",
        C: float | None = None,
        penalties: Sequence[float] = PENALTIES,
        n_folds: int = 5,
    ) -> None:
        self.n_filters = n_filters
        self.estimator = estimator
        self.C = C
        self.penalties = penalties
        self.n_folds = n_folds

    def _preparation(self, signature: Signature) -> Pipeline:
        if self.n_filters < 1:
            raise UsageError(f"xDAWN needs one filter a class or more, got n_filters={self.n_filters}.")
        if self.estimator not in COVARIANCES:
            raise UsageError(
                f"The covariance estimator must be one of {', '.join(COVARIANCES)}, got {self.estimator!r}."
            )
        return make_pipeline(SignalSubspace(centred=False))

    def _features(self) -> Any:
        from pyriemann.estimation import XdawnCovariances
        from pyriemann.tangentspace import TangentSpace

        covariances = XdawnCovariances(nfilter=self.n_filters, estimator=self.estimator, xdawn_estimator=self.estimator)
        return make_pipeline(covariances, TangentSpace(metric="riemann"))


class RiemannMDM(PipelineClassifier):
    """Minimum distance to the Riemannian mean of every class.

    Parameters
    ----------
    estimator : {"oas", "lwf", "scm"}, default "oas"
    band, sfreq
        As in `TangentSpaceLR`.

    Attributes
    ----------
    means_ : ndarray of shape (n_classes, n_directions, n_directions)
        Mean covariance of every class, in units of the training windows' variance; n_directions is the rank of the data.
    """

    def __init__(
        self, estimator: str = "oas", band: tuple[float, float] | None = None, sfreq: float | None = None
    ) -> None:
        self.estimator = estimator
        self.band = band
        self.sfreq = sfreq

    def _make(self, signature: Signature) -> Pipeline:
        from pyriemann.classification import MDM

        return make_pipeline(*_covariance_steps(signature, self.estimator, self.band, self.sfreq), MDM())

    def fit(self, X: Any, y: Any = None) -> RiemannMDM:
        """Fit on windows of shape (n_windows, n_channels, n_times) and their labels."""
        super().fit(X, y)
        self.means_ = self.pipeline_[-1].covmeans_
        return self
