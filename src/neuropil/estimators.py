"""The base classes: scikit-learn's contract for windows of activity.

`Estimator` validates data once, in one place, and remembers what it was fitted on (its `Signature`). A window array is either labelled
(`DataArray` from `neuropil.windowing`) or a plain ndarray of shape (n_windows, n_channels, n_times). Networks: `neuropil.networks`.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import xarray as xr
from numpy import ndarray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neuropil.errors import DataError
from neuropil.persistence import Saved
from neuropil.signature import Signature, check_labels, check_windows, coordinate


class Estimator(Saved, BaseEstimator):
    """Base of all estimators: validation, signature, saving.

    Attributes
    ----------
    signature_ : Signature
        What the estimator was fitted on.
    """

    _table = False  # True for the few that take 2-D tables (n_samples, n_features) instead of windows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self._table
        tags.input_tags.three_d_array = not self._table
        return tags

    def _read(self, X: Any, *, fitting: bool) -> ndarray:
        if self._table:
            from sklearn.utils.validation import validate_data

            return validate_data(self, X, reset=fitting, dtype=[np.float64, np.float32])
        if isinstance(X, list | tuple):
            if X and isinstance(X[0], xr.DataArray):
                raise DataError(
                    f"{type(self).__name__} takes windows of one channel set, got a list of {len(X)}; use common channels."
                )
            X = np.asarray(X)
        if not hasattr(X, "shape") or len(X.shape) != 3:
            shape = getattr(X, "shape", type(X).__name__)
            raise DataError(
                f"Expected windows of shape (n_windows, n_channels, n_times), got {shape}; cut them with neuropil.windows()."
            )
        if 0 in X.shape:
            raise DataError(f"Expected at least one window, channel and sample, got shape {tuple(X.shape)}.")
        if not fitting:
            check_is_fitted(self)
            self.signature_.check(X)
        return np.asarray(X)

    def _fit_data(self, X: Any, y: Any = None, groups: Any = None) -> tuple[ndarray, Any, ndarray | None]:
        """Validated windows, labels and groups; sets `signature_` (and `classes_` for a classifier).

        Parameters
        ----------
        X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
        y : array-like of shape (n_windows,), optional
            By default the coordinate `label` of labelled windows.
        groups : array-like of shape (n_windows,), optional
            By default the coordinate `subject`.
        """
        array = self._read(X, fitting=True)
        is_classifier = isinstance(self, ClassifierMixin)
        y = coordinate(X, "label") if y is None else y
        if y is None and (is_classifier or isinstance(self, RegressorMixin)):
            if self._table:
                raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
            raise DataError("Expected labels, got none; pass y or windows with a coordinate 'label'.")
        names = Signature.of(X).ch_names if isinstance(X, xr.DataArray) else None
        if not self._table:
            check_windows(array, fitting=True, names=names)
        classes = None
        if is_classifier:
            y = check_labels(y, len(array))
            self.classes_ = np.unique(y)
            classes = tuple(self.classes_.tolist())
        elif isinstance(self, RegressorMixin):
            y = np.asarray(y, dtype=float)
            if len(y) != len(array) or not np.isfinite(y).all():
                raise DataError(
                    f"Expected one finite target for each of the {len(array)} windows, got targets of shape {y.shape}."
                )
        self.signature_ = Signature.of(X if isinstance(X, xr.DataArray) else array, classes)
        return array, y, self._groups(X, groups)

    def _groups(self, X: Any, groups: Any) -> ndarray | None:
        groups = coordinate(X, "subject") if groups is None else np.asarray(groups)
        if groups is not None and len(groups) != X.shape[0]:
            raise DataError(f"Expected one group for each of the {X.shape[0]} windows, got {len(groups)} groups.")
        return groups

    def _predict_data(self, X: Any) -> ndarray:
        """Validated windows that match `signature_`."""
        check_is_fitted(self)
        array = self._read(X, fitting=False)
        if not self._table:
            check_windows(array, fitting=False, names=self.signature_.ch_names)
        return array


class Classifier(ClassifierMixin, Estimator):
    """An estimator that predicts one class a window."""

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Share of windows whose class is predicted; labels by default from the coordinate `label`."""
        y = coordinate(X, "label") if y is None else y
        if y is None:
            raise DataError("Expected labels, got none; pass y or windows with a coordinate 'label'.")
        return super().score(X, y, sample_weight)


class PipelineClassifier(Classifier):
    """A classifier made of a scikit-learn pipeline on windows: `_make` builds it, fit and predict go through to it.

    Attributes
    ----------
    pipeline_ : Pipeline
        The fitted pipeline.
    """

    def _make(self, signature: Signature) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define the abstract _make(signature).")

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit on windows of shape (n_windows, n_channels, n_times) and their labels."""
        array, labels, _ = self._fit_data(X, y)
        self.pipeline_ = self._make(self.signature_).fit(np.asarray(array, dtype=float), labels)
        return self

    def predict(self, X: Any) -> ndarray:
        """Class of every window, shape (n_windows,)."""
        return self.pipeline_.predict(np.asarray(self._predict_data(X), dtype=float))

    def predict_proba(self, X: Any) -> ndarray:
        """Probability of every class, shape (n_windows, n_classes)."""
        return self.pipeline_.predict_proba(np.asarray(self._predict_data(X), dtype=float))


class Regressor(RegressorMixin, Estimator):
    """An estimator that predicts numbers for every window."""


class Transformer(TransformerMixin, Estimator):
    """An estimator that turns windows into something else."""
