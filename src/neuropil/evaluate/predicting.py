"""One way to ask any decoder for its predictions, at once or window by window.

A decoder is anything with scikit-learn's `fit` and `predict`. Decoders of neuropil, and pipelines that begin with a step of
neuropil, get labelled windows; all others get the bare array.

**Decoders with a memory.** Most decoders judge every window by itself. One that adapts to the windows it has seen (Euclidean alignment
with a running mean) must say so by a method `streaming()`, which returns an object with `push(window)` for one window of shape
(n_channels, n_times) at a time: a transformer returns the transformed window, a classifier the probabilities of its `classes_`. Pushing
the windows of a session in order has to give what `predict_proba` (or `transform`) gives for all of them at once; nothing may depend on
later windows. Scikit-learn pipelines and searches around such steps are taken apart here, so that they need nothing of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import xarray as xr
from jaxtyping import Real, Shaped
from numpy import ndarray
from sklearn.pipeline import Pipeline

from neuropil.errors import UsageError
from neuropil.estimators import Estimator, PipelineClassifier


class StreamingStep(Protocol):
    """What `streaming()` returns: the state of one live session."""

    def push(self, window: ndarray) -> ndarray:
        """Take one window, (n_channels, n_times); return it transformed, or the probabilities of the classes."""


def takes_windows(estimator: Any) -> bool:
    """Whether the estimator reads the coordinates of labelled windows; others get bare arrays."""
    if isinstance(estimator, Pipeline):
        return bool(estimator.steps) and takes_windows(estimator.steps[0][1])
    if isinstance(estimator, Estimator):
        return True
    inner = getattr(estimator, "estimator", None)
    return hasattr(inner, "fit") and takes_windows(inner)


def input_for(estimator: Any, X: Any) -> Any:
    """Windows as the estimator takes them: labelled, or a bare array of shape (n_windows, n_channels, n_times)."""
    return X.values if isinstance(X, xr.DataArray) and not takes_windows(estimator) else X


def outputs(estimator: Any, X: Any) -> Shaped[ndarray, "window ..."]:
    """The most detailed prediction that the estimator offers: probabilities, else decision values, else labels."""
    X = input_for(estimator, X)
    for method in ("predict_proba", "decision_function"):
        if hasattr(estimator, method):
            return np.asarray(getattr(estimator, method)(X))
    return np.asarray(estimator.predict(X))


class LivePredictor:
    """A fitted decoder that is asked window by window, with the memory of one session.

    Parameters
    ----------
    estimator : classifier
        Fitted; with `streaming()` if it adapts to what it sees.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,) or None
        Classes in the order of the probabilities.
    adapts : bool
        Whether some step keeps a memory.
    """

    def __init__(self, estimator: Any) -> None:
        steps = _steps(estimator)
        self.adapts = any(hasattr(step, "streaming") for step in steps)
        if not self.adapts:
            steps = [estimator]
        self._transforms = [_transform(step) for step in steps[:-1]]
        self._decoder = steps[-1]
        self._memory: StreamingStep | None = self._decoder.streaming() if hasattr(self._decoder, "streaming") else None
        self.classes: ndarray | None = getattr(self._decoder, "classes_", None)
        if not hasattr(self._decoder, "predict"):
            raise UsageError(
                f"Expected a fitted decoder with predict(), got {type(self._decoder).__name__}; end the pipeline with a classifier."
            )

    def push(self, window: Real[ndarray, "channel time"]) -> tuple[Any, ndarray | None]:
        """Label and, if the decoder gives them, probabilities (n_classes,) of the next window."""
        X: Any = window[None]
        for transform in self._transforms:
            X = transform(X)
        if self._memory is not None:
            proba = np.asarray(self._memory.push(X[0]))
            return self._decoder.classes_[int(proba.argmax())], proba
        label = self._decoder.predict(X)[0]
        return label, (self._decoder.predict_proba(X)[0] if hasattr(self._decoder, "predict_proba") else None)


def _steps(estimator: Any) -> list[Any]:
    """Transformers and, last, the decoder, through pipelines and searches."""
    if hasattr(estimator, "best_estimator_"):
        return _steps(estimator.best_estimator_)
    if isinstance(estimator, PipelineClassifier):
        return _steps(estimator.pipeline_)
    if isinstance(estimator, Pipeline):
        *first, (_, last) = estimator.steps
        return [step for _, step in first if step not in (None, "passthrough")] + _steps(last)
    return [estimator]


def _transform(step: Any) -> Callable[[Any], Any]:
    if not hasattr(step, "streaming"):
        return step.transform
    memory = step.streaming()
    return lambda X: memory.push(X[0])[None]
