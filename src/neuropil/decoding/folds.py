"""Inner cross-validation: how a decoder chooses its own settings on training windows without fooling itself.

Folds are whole groups (subjects) where there are three or more, and contiguous stretches of time otherwise, never shuffled windows:
neighbours in time resemble each other. Where windows know their place in the recording, training windows that share a sample with
a validation window are left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.signature import coordinate

Folds = list[tuple[ndarray, ndarray]]


class Spans(NamedTuple):
    """Where windows lie.

    Attributes
    ----------
    recording : ndarray of int, shape (n_windows,)
    start : ndarray of float, shape (n_windows,)
        First sample, in s.
    length : float
        Duration of a window, in s.
    """

    recording: ndarray
    start: ndarray
    length: float


def spans(X: Any) -> Spans | None:
    """The place of labelled windows in their recordings, or None if they do not know it."""
    onset, recording, sfreq = coordinate(X, "onset"), coordinate(X, "recording"), getattr(X, "attrs", {}).get("sfreq")
    if not isinstance(X, xr.DataArray) or onset is None or recording is None or not sfreq or "time" not in X.coords:
        return None
    names = [coordinate(X, name) for name in ("dataset", "subject", "session")]
    keys = ["|".join(map(str, key)) for key in zip(recording, *[n for n in names if n is not None], strict=True)]
    _, code = np.unique(keys, return_inverse=True)
    start = np.asarray(onset, dtype=float) + float(X["time"].values[0])
    return Spans(code, start, X.shape[2] / float(sfreq))


def inner_folds(y: ndarray, groups: ndarray | None = None, n_folds: int = 5, where: Spans | None = None) -> Folds:
    """Indices of training and validation windows, fold by fold.

    Parameters
    ----------
    y : ndarray of shape (n_windows,)
        Class labels.
    groups : ndarray of shape (n_windows,), optional
        With three groups or more every fold holds out whole groups.
    n_folds : int, default 5
        At most; there are fewer where there are fewer groups, or fewer windows of the rarest class.
    where : Spans, optional
        Place of the windows: they are put in order of time, and those that overlap a validation window leave the training side.

    Raises
    ------
    DataError
        If no fold has windows of every class to train on.

    Examples
    --------
    >>> [held.tolist() for _, held in inner_folds(np.array([0, 0, 0, 0, 1, 1, 1, 1]), n_folds=2)]
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    if n_folds < 2:
        raise UsageError(f"Cross-validation needs two folds or more, got {n_folds}.")
    classes, counts = np.unique(y, return_counts=True)
    order = np.arange(len(y)) if where is None else np.lexsort((where.start, where.recording))
    held = np.empty(len(y), dtype=int)
    if groups is not None and len(np.unique(groups)) >= 3:
        _, code, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        n_folds = min(n_folds, len(sizes))
        load, fold_of = np.zeros(n_folds), np.empty(len(sizes), dtype=int)
        for group in np.argsort(-sizes, kind="stable"):
            fold_of[group] = int(load.argmin())
            load[fold_of[group]] += sizes[group]
        held = fold_of[code]
    else:
        n_folds = min(n_folds, int(counts.min()))
        for label in classes:
            for k, part in enumerate(np.array_split(order[y[order] == label], n_folds)):
                held[part] = k
    folds = []
    for k in range(n_folds):
        inside, outside = np.flatnonzero(held == k), np.flatnonzero(held != k)
        if where is not None:
            outside = outside[~_overlaps(outside, inside, where)]
        if len(inside) and np.isin(classes, y[outside]).all():
            folds.append((outside, inside))
    if not folds:
        rarest = classes[counts.argmin()]
        raise DataError(
            f"Inner cross-validation needs every class in every training fold, class {rarest.item()!r} has {counts.min()} of "
            f"{len(y)} windows; add windows or groups, or fix the settings that it would choose."
        )
    return folds


def _overlaps(candidates: ndarray, held: ndarray, where: Spans) -> ndarray:
    """Whether candidates share a sample with a held-out window."""
    out = np.zeros(len(candidates), dtype=bool)
    tolerance = 1e-9 * max(1.0, where.length)
    for recording in np.unique(where.recording[held]):
        mine = np.flatnonzero(where.recording[candidates] == recording)
        starts = np.sort(where.start[held[where.recording[held] == recording]])
        at = np.searchsorted(starts, where.start[candidates[mine]])
        before = where.start[candidates[mine]] - starts[np.maximum(at - 1, 0)]
        after = starts[np.minimum(at, len(starts) - 1)] - where.start[candidates[mine]]
        out[mine] = np.minimum(np.abs(before), np.abs(after)) < where.length - tolerance
    return out
