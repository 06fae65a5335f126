"""Euclidean alignment: whiten every subject's windows by that subject's mean covariance.

Subjects and sessions differ in the covariance of their signals more than in what matters to a decoder. Euclidean alignment makes
the mean covariance of every group the identity: X <- R^(-1/2) X, with R the mean of the group's window covariances. For training
windows R is the mean over all of them (no labels are used); for new windows it is the running mean up to and including the present
one, so that no window of the future is looked at. `transductive=True` uses all new windows at once and says so by its name.

He & Wu (2020). Transfer learning for brain-computer interfaces: a Euclidean space data alignment approach. IEEE TBME 67(2).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Real
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.estimators import Transformer
from neuropil.signal.covariance import covariances, inv_sqrtm, rank


def sample_covariances(X: Real[ndarray, "window channel time"]) -> Float[ndarray, "window channel channel"]:
    """Unbiased covariance of every window (divided by the number of samples minus one), as the paper has it."""
    return covariances(X) * (X.shape[2] / max(X.shape[2] - 1, 1))


class RunningReference:
    """The mean covariance so far, and the whitening that follows from it; one window at a time.

    Attributes
    ----------
    reference : ndarray of shape (n_channels, n_channels) or None
        Mean covariance of the windows seen.
    n_windows : int
        How many these were.
    """

    def __init__(self) -> None:
        self.reference: ndarray | None = None
        self.n_windows = 0

    def push(self, window: Float[ndarray, "channel time"]) -> Float[ndarray, "channel time"]:
        """Take a window into the mean and return it whitened."""
        covariance = sample_covariances(window[None])[0]
        self.n_windows += 1
        if self.reference is None:
            self.reference = covariance
        else:
            self.reference = self.reference + (covariance - self.reference) / self.n_windows
        return inv_sqrtm(self.reference) @ window


def align(
    X: Float[ndarray, "window channel time"],
) -> tuple[Float[ndarray, "window channel time"], Float[ndarray, "channel channel"]]:
    """Windows of one group whitened by their mean covariance, and that mean.

    Examples
    --------
    >>> aligned, reference = align(np.random.default_rng(0).normal(size=(50, 3, 200)) * [[1.0], [2.0], [3.0]])
    >>> bool(np.allclose(sample_covariances(aligned).mean(axis=0), np.eye(3)))
    True
    """
    reference = sample_covariances(X).mean(axis=0)
    return np.einsum("ij,wjt->wit", inv_sqrtm(reference), X, optimize=True), reference


def align_online(X: Float[ndarray, "window channel time"]) -> Float[ndarray, "window channel time"]:
    """Windows of one group in order of time, each whitened by the mean covariance up to and including itself."""
    counts = np.arange(1, len(X) + 1)[:, None, None]
    running = np.cumsum(sample_covariances(X), axis=0) / counts
    return np.einsum("wij,wjt->wit", inv_sqrtm(running), X, optimize=True)


class EuclideanAlignment(Transformer):
    """Align every group (subject) to the identity; goes in front of any decoder.

    Labelled windows stay labelled; in front of a step of another library put `FunctionTransformer(np.asarray)`.

    In a pipeline, `fit_transform` aligns training windows per group over all of them, and `transform` aligns new windows online:
    each by the windows of its group up to itself, in the order given.

    Parameters
    ----------
    transductive : bool, default False
        Let `transform` use all new windows of a group at once, the future included. Not for claims about live use.

    Attributes
    ----------
    reference_ : dict
        Mean covariance of every training group, each of shape (n_channels, n_channels).

    References
    ----------
    He & Wu (2020). IEEE Transactions on Biomedical Engineering 67(2):399-410.
    """

    def __init__(self, transductive: bool = False) -> None:
        self.transductive = transductive

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> EuclideanAlignment:
        """Keep the mean covariance of every group of windows (n_windows, n_channels, n_times)."""
        self.fit_transform(X, y, groups=groups)
        return self

    def fit_transform(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        """Training windows, whitened by the mean covariance of their group."""
        array, _, groups = self._fit_data(X, y, groups)
        n_channels = array.shape[1]
        out, self.reference_ = np.empty(array.shape), {}
        for name, mine in _members(groups, len(array)):
            out[mine], self.reference_[name] = align(np.asarray(array[mine], dtype=float))
            found = rank(self.reference_[name])
            if found < n_channels:
                warnings.warn(
                    f"The windows of group {name!r} have rank {found} in {n_channels} channels (an average reference or removed "
                    "components?); the missing directions stay zero.",
                    stacklevel=2,
                )
        return _like(X, out)

    def transform(self, X: Any, groups: Any = None) -> Any:
        """New windows, each whitened by what was seen of its group so far (or by all, if transductive)."""
        array = np.asarray(self._predict_data(X), dtype=float)
        out = np.empty(array.shape)
        for _, mine in _members(self._groups(X, groups), len(array)):
            out[mine] = align(array[mine])[0] if self.transductive else align_online(array[mine])
        return _like(X, out)

    def streaming(self) -> RunningReference:
        """A running reference that aligns one window after the other as `transform` does."""
        if self.transductive:
            raise DataError(
                "A transductive alignment needs all windows at once and cannot run live; set transductive=False."
            )
        return RunningReference()


def _members(groups: ndarray | None, n_windows: int) -> list[tuple[Any, ndarray]]:
    if groups is None:
        return [("", np.arange(n_windows))]
    return [(name, np.flatnonzero(groups == name)) for name in np.unique(groups).tolist()]


def _like(X: Any, values: ndarray) -> Any:
    return X.copy(data=values) if isinstance(X, xr.DataArray) else values
