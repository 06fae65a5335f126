"""Alignment: whiten every subject's windows by that subject's mean covariance.

Subjects and sessions differ in the covariance of their signals more than in what matters to a decoder. Alignment makes the mean
covariance of every group the identity: X <- R^(-1/2) X, with R the mean of the group's window covariances: the arithmetic mean in
Euclidean alignment, the geometric (Karcher) mean in Riemannian alignment, which one loud window moves less. For training windows R
is the mean over all of them (no labels are used); for new windows it is the running mean up to and including the present one, so that no
window of the future is looked at. `transductive=True` uses all new windows at once and says so by its name.

He & Wu (2020). Transfer learning for brain-computer interfaces: a Euclidean space data alignment approach. IEEE TBME 67(2).
Zanini, Congedo, Jutten, Said & Berthoumieu (2018). Transfer learning: a Riemannian geometry framework with applications to
brain-computer interfaces. IEEE TBME 65(5).
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
from neuropil.signal.covariance import covariances, inv_sqrtm, oas, rank


def sample_covariances(X: Real[ndarray, "window channel time"]) -> Float[ndarray, "window channel channel"]:
    """Unbiased covariance of every window (divided by the number of samples minus one), as the paper has it."""
    return covariances(X) * (X.shape[2] / max(X.shape[2] - 1, 1))


def shrunk_covariances(X: Real[ndarray, "window channel time"]) -> Float[ndarray, "window channel channel"]:
    """Covariance of every window, shrunk towards a multiple of the identity by the oracle approximating estimate."""
    return oas(X).covariances


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
        covariance = self._covariance(window)
        self.n_windows += 1
        self.reference = covariance if self.reference is None else self._moved(self.reference, covariance)
        return inv_sqrtm(self.reference) @ window

    def _covariance(self, window: ndarray) -> ndarray:
        return sample_covariances(window[None])[0]

    def _moved(self, reference: ndarray, covariance: ndarray) -> ndarray:
        return reference + (covariance - reference) / self.n_windows


class RunningKarcherReference(RunningReference):
    """The same with the geometric mean: every window moves it by 1/n of the way along the geodesic to its covariance."""

    def _covariance(self, window: ndarray) -> ndarray:
        return shrunk_covariances(window[None])[0]

    def _moved(self, reference: ndarray, covariance: ndarray) -> ndarray:
        from pyriemann.geometry.geodesic import geodesic_riemann

        return geodesic_riemann(reference, covariance, 1 / self.n_windows)


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


def align_riemannian(
    X: Float[ndarray, "window channel time"],
) -> tuple[Float[ndarray, "window channel time"], Float[ndarray, "channel channel"]]:
    """Windows of one group whitened by the geometric mean of their covariances (each shrunk as by OAS), and that mean.

    Examples
    --------
    >>> aligned, reference = align_riemannian(np.random.default_rng(0).normal(size=(50, 3, 200)) * [[1.0], [2.0], [3.0]])
    >>> reference.round(0).astype(int).tolist()
    [[1, 0, 0], [0, 4, 0], [0, 0, 9]]
    """
    from pyriemann.geometry.mean import mean_riemann

    reference = mean_riemann(shrunk_covariances(X))
    return np.einsum("ij,wjt->wit", inv_sqrtm(reference), X, optimize=True), reference


def align_riemannian_online(X: Float[ndarray, "window channel time"]) -> Float[ndarray, "window channel time"]:
    """Windows of one group in order of time, each whitened by the running geometric mean up to and including itself."""
    running = RunningKarcherReference()
    return np.stack([running.push(window) for window in X])


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

    _align = staticmethod(align)
    _align_online = staticmethod(align_online)
    _running: type[RunningReference] = RunningReference

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
            group = np.asarray(array[mine], dtype=float)
            found = int(rank(sample_covariances(group).mean(axis=0)))
            self._check_rank(name, found, n_channels)
            out[mine], self.reference_[name] = self._align(group)
        return _like(X, out)

    def transform(self, X: Any, groups: Any = None) -> Any:
        """New windows, each whitened by what was seen of its group so far (or by all, if transductive)."""
        array = np.asarray(self._predict_data(X), dtype=float)
        out = np.empty(array.shape)
        for _, mine in _members(self._groups(X, groups), len(array)):
            out[mine] = self._align(array[mine])[0] if self.transductive else self._align_online(array[mine])
        return _like(X, out)

    def streaming(self) -> RunningReference:
        """A running reference that aligns one window after the other as `transform` does."""
        if self.transductive:
            raise DataError(
                "A transductive alignment needs all windows at once and cannot run live; set transductive=False."
            )
        return self._running()

    def _check_rank(self, group: Any, found: int, n_channels: int) -> None:
        if found < n_channels:
            warnings.warn(
                f"The windows of group {group!r} have rank {found} in {n_channels} channels (an average reference or removed "
                "components?); the missing directions stay zero.",
                stacklevel=3,
            )


class RiemannianAlignment(EuclideanAlignment):
    """Align every group (subject) to the identity by the geometric mean of its covariances; goes in front of any decoder.

    As `EuclideanAlignment`, with another mean: that of the affine-invariant distance between covariance matrices, in which a window
    with an artefact counts for less. Window covariances are shrunk towards the identity by OAS, so that they can be inverted. New
    windows move the running mean along geodesics.

    Parameters
    ----------
    transductive : bool, default False
        Let `transform` use all new windows of a group at once, the future included. Not for claims about live use.

    Attributes
    ----------
    reference_ : dict
        Geometric mean covariance of every training group, each of shape (n_channels, n_channels).

    References
    ----------
    Zanini, Congedo, Jutten, Said & Berthoumieu (2018). IEEE Transactions on Biomedical Engineering 65(5):1107-1116.
    Rodrigues, Jutten & Congedo (2019). Riemannian Procrustes analysis. IEEE TBME 66(8) (the re-centring step).

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(20, 3, 200)) * [[1.0], [2.0], [3.0]]
    >>> aligned = RiemannianAlignment().fit_transform(X)
    >>> bool(np.allclose(aligned.std(axis=(0, 2)), 1, atol=0.1))
    True
    """

    _align = staticmethod(align_riemannian)
    _align_online = staticmethod(align_riemannian_online)
    _running = RunningKarcherReference

    def _check_rank(self, group: Any, found: int, n_channels: int) -> None:
        if found < n_channels:
            raise DataError(
                f"A geometric mean needs covariances of full rank, the windows of group {group!r} have rank {found} in {n_channels} "
                "channels (an average reference or removed components?); leave out a channel or use EuclideanAlignment."
            )


def _members(groups: ndarray | None, n_windows: int) -> list[tuple[Any, ndarray]]:
    if groups is None:
        return [("", np.arange(n_windows))]
    return [(name, np.flatnonzero(groups == name)) for name in np.unique(groups).tolist()]


def _like(X: Any, values: ndarray) -> Any:
    return X.copy(data=values) if isinstance(X, xr.DataArray) else values
