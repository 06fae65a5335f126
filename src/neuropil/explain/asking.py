"""How the explanations ask a decoder: its probabilities, its log-odds, the labels of its windows, their names and places.

One measure is used everywhere, the log-odds of a class, ln p - ln(1 - p): it does not saturate where a decoder is sure, it is linear in
the windows for a linear discriminant, and for a network it follows from the logits alone.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.predicting import input_for
from neuropil.signature import Signature, coordinate

SMALLEST = 1e-12
"""Probabilities below count as this: a decoder that says 0 is not infinitely sure."""


def check_decoder(estimator: Any, X: Any) -> None:
    """Refuse, in one sentence, what cannot be explained: no classifier, not fitted, windows of another kind.

    Raises
    ------
    UsageError
        If the estimator is no fitted classifier.
    DataError
        If the windows are not what it was fitted on.
    """
    name = type(estimator).__name__
    if isinstance(estimator, type) or not hasattr(estimator, "predict"):
        raise UsageError(f"Explanations are of a fitted classifier of windows, got {name}; pass what fit() returned.")
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise UsageError(f"This {name} is not fitted, so there is nothing to explain; call fit(X, y) first.") from error
    if not hasattr(estimator, "classes_"):
        raise UsageError(f"Explanations are of classifiers, and {name} has no classes_; explain a classifier instead.")
    if not hasattr(X, "shape") or len(X.shape) != 3:
        shape = getattr(X, "shape", type(X).__name__)
        raise DataError(
            f"Expected windows of shape (n_windows, n_channels, n_times), got {shape}; cut them with neuropil.windows()."
        )
    if 0 in X.shape:
        raise DataError(f"Expected at least one window, channel and sample, got shape {tuple(X.shape)}.")
    signature = signature_of(estimator)
    if signature is not None:
        signature.check(X)


def signature_of(estimator: Any) -> Signature | None:
    """What the first step that knows it was fitted on, through pipelines and searches; None of foreign estimators."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline):
        return signature_of(estimator.steps[0][1]) if estimator.steps else None
    return getattr(estimator, "signature_", None)


def probabilities(estimator: Any, X: Any, groups: Any = None) -> Float[ndarray, "window class"]:
    """Probability of every class; 1 and 0 where the decoder gives labels only.

    Parameters
    ----------
    estimator : classifier
        Fitted.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
    groups : array-like of shape (n_windows,), optional
        Handed to decoders whose methods take groups; the others find them in the windows, if at all.
    """
    method = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict
    options = {}
    if groups is not None and "groups" in inspect.signature(method).parameters:
        options["groups"] = np.asarray(groups)
    said = np.asarray(method(input_for(estimator, X), **options))
    if hasattr(estimator, "predict_proba"):
        return said.astype(np.float64)
    return (said[:, None] == np.asarray(estimator.classes_)).astype(np.float64)


def log_odds(proba: Float[ndarray, "*batch class"]) -> Float[ndarray, "*batch class"]:
    """Logarithm of the odds of every class against the others together, in nats.

    Examples
    --------
    >>> log_odds(np.array([[0.5, 0.5], [0.9, 0.1]])).round(2).tolist()
    [[0.0, 0.0], [2.2, -2.2]]
    """
    floor = np.maximum(proba, SMALLEST)
    others = floor.sum(axis=-1, keepdims=True) - floor
    if proba.shape[-1] == 2:
        others = floor[..., ::-1]  # exact where the difference above has lost its digits
    return np.log(floor) - np.log(np.maximum(others, SMALLEST))


def codes_of(estimator: Any, X: Any, y: Any = None, groups: Any = None) -> Int[ndarray, " window"]:
    """The class for which every window is explained: its label, else the class that the decoder predicts.

    Parameters
    ----------
    y : array-like of shape (n_windows,), optional
        Labels; the coordinate `label` of labelled windows without. Where these are no classes of the decoder (a recording with
        other events), the predictions are taken.

    Raises
    ------
    DataError
        If labels are given that the decoder does not know.
    """
    classes = np.asarray(estimator.classes_)
    label = coordinate(X, "label") if y is None else np.asarray(y)
    if label is not None:
        if len(label) != len(X):
            raise DataError(f"Expected one label for each of the {len(X)} windows, got {len(label)}.")
        match = np.asarray(label).astype(str)[:, None] == classes.astype(str)
        if match.any(axis=1).all():
            return match.argmax(axis=1)
        if y is not None:
            unknown = np.asarray(label)[~match.any(axis=1)][0]
            raise DataError(
                f"The decoder knows the classes {', '.join(map(str, classes))}, got the label {str(unknown)!r}; "
                "leave out such windows, or leave out y to explain what is predicted."
            )
    return probabilities(estimator, X, groups).argmax(axis=1)


def replaced(X: Any, values: ndarray) -> Any:
    """Windows with the same coordinates and other samples."""
    return X.copy(data=values) if isinstance(X, xr.DataArray) else values


def channel_names(estimator: Any, X: Any) -> list[str]:
    """Names of the channels: the windows', else those of the fit, else their numbers."""
    if isinstance(X, xr.DataArray) and "channel" in X.coords:
        return [str(name) for name in X["channel"].values]
    signature = signature_of(estimator)
    return list(signature.ch_names) if signature and signature.ch_names else [str(k) for k in range(X.shape[1])]


def sampling_rate(estimator: Any, X: Any) -> float | None:
    """Sampling rate in Hz: of the windows, of the fit, or the estimator's own argument; None if nobody knows."""
    signature = signature_of(estimator)
    known = (getattr(X, "attrs", {}).get("sfreq"), signature.sfreq if signature else None)
    rate = next((value for value in known if value), None) or getattr(estimator, "sfreq", None)
    return None if rate is None else float(rate)


def sample_times(X: Any, sfreq: float | None) -> Float[ndarray, " time"]:
    """Time of every sample: as the windows have it, else from 0 on in s; without a rate in samples."""
    if isinstance(X, xr.DataArray) and "time" in X.coords:
        return X["time"].values.astype(np.float64)
    return np.arange(X.shape[2]) / (sfreq or 1.0)


def class_coordinate(estimator: Any) -> ndarray:
    """Classes as strings, for labelled results."""
    return np.asarray([str(c) for c in np.asarray(estimator.classes_).tolist()], dtype=object)


def mean_by_class(
    values: Float[ndarray, "window ..."], codes: Int[ndarray, " window"], n_classes: int
) -> Float[ndarray, "class ..."]:
    """Mean over the windows of every class; NaN of a class without windows."""
    out = np.full((n_classes, *values.shape[1:]), np.nan)
    for code in np.unique(codes):
        out[code] = values[codes == code].mean(axis=0)
    return out


def partners(n_windows: int, groups: ndarray | None, rng: np.random.Generator) -> Int[ndarray, " window"]:
    """Another window of the same group for every window, each used once; a window that is alone in its group keeps itself.

    Examples
    --------
    >>> found = partners(6, np.array([0, 0, 0, 1, 1, 2]), np.random.default_rng(0))
    >>> bool((found[:5] != np.arange(5)).all()), int(found[5])
    (True, 5)
    """
    out = np.arange(n_windows)
    for group in [None] if groups is None else np.unique(groups).tolist():
        members = np.arange(n_windows) if groups is None else np.flatnonzero(groups == group)
        ring = rng.permutation(members)
        out[ring] = np.roll(ring, 1)
    return out
