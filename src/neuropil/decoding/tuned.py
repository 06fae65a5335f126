"""Linear decoders whose settings are chosen by inner cross-validation: the baselines that a claim about a network has to face.

A network that beats an untuned linear model shows little. `tuned_linear_baselines` gives the usual linear decoders with the settings
that matter (bins and shrinkage, number of spatial patterns, penalty) chosen on the training windows alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from neuropil.decoding.csp import CSPLDA
from neuropil.decoding.folds import inner_folds, spans
from neuropil.decoding.lda import BinnedLDA
from neuropil.decoding.riemann import TangentSpaceLR
from neuropil.errors import UsageError
from neuropil.estimators import Classifier


class Tuned(Classifier):
    """A decoder with the settings that classify best in inner cross-validation, which keeps groups whole and time in order.

    Parameters
    ----------
    estimator : classifier
        Cloned; never fitted itself.
    grid : mapping of str to sequence
        Values to try for every setting. A combination that these windows do not allow (a `UsageError`, such as more bins than
        samples) is left out.
    n_folds : int, default 5
        See `inner_folds`.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on all windows with `best_params_`.
    best_params_ : dict
    accuracies_ : list of (dict, float)
        Every combination that could be fitted and its accuracy; the first of the best is chosen.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 20)
    >>> X = rng.normal(size=(40, 2, 30)) + y[:, None, None]
    >>> Tuned(BinnedLDA(), {"n_bins": [1, 3, 100]}).fit(X, y).best_params_
    {'n_bins': 1}
    """

    def __init__(self, estimator: Any, grid: Mapping[str, Sequence[Any]], n_folds: int = 5) -> None:
        self.estimator = estimator
        self.grid = grid
        self.n_folds = n_folds

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Tuned:
        """Choose and fit on windows of shape (n_windows, n_channels, n_times), labels and, where given, groups."""
        array, labels, groups = self._fit_data(X, y, groups)
        folds = inner_folds(labels, groups, self.n_folds, spans(X))
        candidates = list(ParameterGrid({name: list(values) for name, values in self.grid.items()}))
        source = X if hasattr(X, "isel") else array
        self.accuracies_, refused = [], None
        for settings in candidates:
            try:
                self.accuracies_.append((settings, self._accuracy(settings, source, labels, folds)))
            except UsageError as error:
                refused = error
        if not self.accuracies_:
            raise UsageError(f"None of the {len(candidates)} combinations of settings could be fitted: {refused}")
        best = int(np.argmax([accuracy for _, accuracy in self.accuracies_]))
        self.best_params_ = self.accuracies_[best][0]
        self.estimator_ = clone(self.estimator).set_params(**self.best_params_).fit(source, labels)
        return self

    def _accuracy(self, settings: dict[str, Any], X: Any, y: ndarray, folds: Any) -> float:
        right = total = 0
        for train, test in folds:
            fitted = clone(self.estimator).set_params(**settings).fit(X[train], y[train])
            right += int(np.sum(fitted.predict(X[test]) == y[test]))
            total += len(test)
        return right / total

    def predict(self, X: Any) -> ndarray:
        """Class of every window, shape (n_windows,)."""
        self._predict_data(X)
        return self.estimator_.predict(X)

    def predict_proba(self, X: Any) -> ndarray:
        """Probability of every class, shape (n_windows, n_classes)."""
        self._predict_data(X)
        return self.estimator_.predict_proba(X)


def tuned_linear_baselines(
    band: tuple[float, float] | None = None, sfreq: float | None = None, n_folds: int = 5
) -> dict[str, Classifier]:
    """Linear decoders with the settings that matter chosen by inner cross-validation.

    Parameters
    ----------
    band : (float, float) or None, default None
        Of the decoders of oscillations, in Hz; None for data that were filtered before.
    sfreq : float, optional
        Sampling rate in Hz, needed with `band` for windows that do not know theirs.
    n_folds : int, default 5
        Of the inner cross-validation.

    Returns
    -------
    dict of str to classifier
        "binned_lda" (bins and shrinkage), "csp_lda" (number of components), "tangent_space" (penalty); not fitted.

    Raises
    ------
    UsageError
        If there are fewer than two folds.

    Examples
    --------
    >>> sorted(tuned_linear_baselines())
    ['binned_lda', 'csp_lda', 'tangent_space']
    """
    if n_folds < 2:
        raise UsageError(f"Cross-validation needs two folds or more, got {n_folds}.")
    bins: dict[str, list[Any]] = {"n_bins": [5, 10, 20], "shrinkage": ["auto", 0.02, 0.1, 0.3]}
    return {
        "binned_lda": Tuned(BinnedLDA(), bins, n_folds),
        "csp_lda": Tuned(CSPLDA(band=band, sfreq=sfreq), {"n_components": [2, 4, 6, 8]}, n_folds),
        "tangent_space": TangentSpaceLR(band=band, sfreq=sfreq, n_folds=n_folds),
    }
