"""Alignment in front of any decoder: every session of every subject is whitened by its own mean covariance before decoding.

The networks of neuropil align by themselves (`AlignedClassifier`); everything else, decoders of other libraries included, becomes a
pipeline whose first step does it. Training windows are whitened by the mean over their session, windows to predict by the running
mean over their session up to and including themselves (see `neuropil.alignment`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline

from neuropil.alignment import EuclideanAlignment, RiemannianAlignment, RunningReference
from neuropil.decoding.aligned import AlignedClassifier, check_name
from neuropil.estimators import Estimator, Transformer
from neuropil.signature import coordinate

METHODS = {"euclidean": EuclideanAlignment, "riemannian": RiemannianAlignment}


class SessionAlignment(Transformer):
    """Align every session of every subject by itself, as the coordinates `subject` and `session` of labelled windows have it.

    Windows without these coordinates are one session; `groups` says otherwise.

    Parameters
    ----------
    method : {"euclidean", "riemannian"}
        By the arithmetic or the geometric mean of covariances.

    Attributes
    ----------
    alignment_ : EuclideanAlignment
        With the mean covariance of every training session in `reference_`.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(40, 2, 100)) * [[1.0], [3.0]]
    >>> SessionAlignment().fit_transform(X).std(axis=(0, 2)).round(1).tolist()
    [1.0, 1.0]
    """

    def __init__(self, method: str = "euclidean") -> None:
        self.method = method

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> SessionAlignment:
        """Keep the mean covariance of every session of windows (n_windows, n_channels, n_times)."""
        self.fit_transform(X, y, groups)
        return self

    def fit_transform(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        """Training windows, whitened by the mean covariance of their session."""
        check_name("method", self.method, tuple(METHODS))
        self.alignment_ = METHODS[self.method]()
        aligned = self.alignment_.fit_transform(X, groups=_sessions(X) if groups is None else groups)
        self.signature_ = self.alignment_.signature_
        return aligned

    def transform(self, X: Any, groups: Any = None) -> Any:
        """New windows, each whitened by what was seen of its session so far."""
        self._predict_data(X)
        return self.alignment_.transform(X, groups=_sessions(X) if groups is None else groups)

    def streaming(self) -> RunningReference:
        """A running reference that aligns the windows of one session one after the other."""
        return self.alignment_.streaming()


class BareWindows(TransformerMixin, BaseEstimator):
    """Labelled windows as a plain array, for steps of other libraries."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> BareWindows:
        """Nothing to learn."""
        return self

    def transform(self, X: Any) -> ndarray:
        """The array of shape (n_windows, n_channels, n_times)."""
        return np.asarray(X)


def _sessions(X: Any) -> ndarray | None:
    """Subject and session of every window as one name; None where neither is known."""
    known = [column.astype(str) for name in ("subject", "session") if (column := coordinate(X, name)) is not None]
    if not known:
        return None
    return np.array([", ".join(names) for names in zip(*known, strict=True)])


def with_alignment(decoder: Any, method: str = "euclidean") -> Any:
    """The decoder behind an alignment; one that aligns by itself is told which.

    Parameters
    ----------
    decoder : classifier
        Unfitted. Of a network with `alignment='euclidean'` or `'riemannian'` only this argument changes: it aligns by subject. One that
        begins with an alignment stays as it is.
    method : {"euclidean", "riemannian"}

    Returns
    -------
    classifier
        A new one, not fitted.

    Raises
    ------
    UsageError
        If there is no such method.

    Examples
    --------
    >>> from neuropil import decoding
    >>> [name for name, _ in with_alignment(decoding.make("mdm")).steps]
    ['sessionalignment', 'riemannmdm']
    >>> with_alignment(decoding.make("eegnet"), "riemannian").alignment
    'riemannian'
    """
    check_name("align", method, tuple(METHODS))
    decoder = clone(decoder)
    if isinstance(decoder, AlignedClassifier) and decoder.alignment != "none":
        return decoder.set_params(alignment=method) if decoder.alignment in METHODS else decoder
    first = decoder.steps[0][1] if isinstance(decoder, Pipeline) and decoder.steps else decoder
    if isinstance(first, EuclideanAlignment | SessionAlignment):
        return decoder
    if isinstance(first, Estimator):
        return make_pipeline(SessionAlignment(method), decoder)
    return make_pipeline(SessionAlignment(method), BareWindows(), decoder)
