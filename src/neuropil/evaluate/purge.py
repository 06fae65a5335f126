"""When windows were recorded, and which training windows come too close to a test window.

Two windows of one recording that share a sample, or that a filter's memory connects, are no independent observations. Every split of
neuropil therefore leaves out the training windows whose span comes within a guard interval of the span of any test window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from neuropil.errors import DataError

Seconds = float | int

# Onsets are decimal seconds: spans that touch may overlap by rounding, but never by as much as a sample
TOLERANCE = 1e-6


@dataclass(frozen=True)
class WindowTable:
    """What a split has to know about windows; one entry a window.

    Attributes
    ----------
    n_windows : int
    label : ndarray of shape (n_windows,) or None
        Class of every window; None for regression and for windows without labels.
    subject, session : ndarray of shape (n_windows,) or None
        As in the coordinates.
    recording : ndarray of int, shape (n_windows,)
        Windows with the same number lie on one time axis.
    start, stop : ndarray of float, shape (n_windows,), or None
        Span in its recording, in s.
    unit : ndarray of int, shape (n_windows,)
        Windows of one trial share a number, and so do those of one break; they are never separated.
    in_trial : ndarray of bool, shape (n_windows,)
        Whether the window belongs to a trial.
    run : ndarray of int, shape (n_windows,)
        The coordinate `run` within its session, else the recording.
    split : ndarray of shape (n_windows,) or None
        The data set's own split, "train" or "test".
    video : ndarray of shape (n_windows,) or None
        What was watched.
    """

    n_windows: int
    label: ndarray | None
    subject: ndarray | None
    session: ndarray | None
    recording: ndarray
    start: ndarray | None
    stop: ndarray | None
    unit: ndarray
    in_trial: ndarray
    run: ndarray
    split: ndarray | None
    video: ndarray | None = None

    @classmethod
    def of(cls, X: Any, y: Any = None, spans: Any = None) -> WindowTable:
        """Read the coordinates of windows; of a plain ndarray, only `y` and `spans` (n_windows, 2) in s are known.

        Raises
        ------
        DataError
            If there is no window, or labels or spans do not match the windows.
        """
        if not hasattr(X, "shape") or not len(X.shape):
            raise DataError(f"Expected windows to split, as an array with one row a window, got {type(X).__name__}.")
        n = int(X.shape[0])
        if n == 0:
            raise DataError("There is no window to split; cut windows first.")
        label = _coordinate(X, "label") if y is None else np.asarray(y)
        if label is not None and len(label) != n:
            raise DataError(f"Expected one label for each of the {n} windows, got {len(label)} labels.")
        if label is not None and label.dtype.kind == "f" and (label != np.round(label)).any():
            label = None
        if label is not None and label.dtype == object:
            label = np.asarray(label.tolist())
        recording = codes_of(*(_coordinate(X, name) for name in ("subject", "session", "recording")), n_rows=n)
        start, stop = _spans(X, spans, n)
        trial, run = _coordinate(X, "trial"), _coordinate(X, "run")
        in_trial = trial >= 0 if trial is not None and trial.dtype.kind in "if" else np.full(n, trial is not None)
        return cls(
            n,
            label,
            _coordinate(X, "subject"),
            _coordinate(X, "session"),
            recording,
            start,
            stop,
            np.arange(n) if trial is None else _units(recording, trial, in_trial, start),
            in_trial,
            recording if run is None else codes_of(_coordinate(X, "subject"), _coordinate(X, "session"), run, n_rows=n),
            _coordinate(X, "split"),
            _coordinate(X, "video"),
        )

    def times(self) -> tuple[ndarray, ndarray]:
        """Start and end of every window in s.

        Raises
        ------
        DataError
            If they are not known.
        """
        if self.start is None or self.stop is None:
            raise DataError(
                "The windows have no coordinate 'onset', so nobody knows which of them overlap in time; cut them with "
                "neuropil.windows() or pass spans=(start, stop) in seconds to the split."
            )
        return self.start, self.stop

    def session_name(self, window: Any) -> str:
        """Subject and session of a window in words, as far as they are known."""
        known = [("subject", self.subject), ("session", self.session)]
        parts = [f"{what} {column[window]}" for what, column in known if column is not None and str(column[window])]
        return ", ".join(parts) or "session"


def near_test(
    recording: Int[ndarray, " window"],
    start: Float[ndarray, " window"],
    stop: Float[ndarray, " window"],
    train: Int[ndarray, " train"],
    test: Int[ndarray, " test"],
    guard: Seconds,
) -> Bool[ndarray, " train"]:
    """Which training windows overlap a test window of the same recording, or come closer to it than `guard` seconds.

    Windows may have any length and order. Cost: one sort of the test windows, one search a training window.

    Parameters
    ----------
    recording : ndarray of int, shape (n_windows,)
        Number of the time axis that a window lies on.
    start, stop : ndarray of shape (n_windows,)
        Spans [start, stop) in s.
    train, test : ndarray of int
        Indices of windows.
    guard : float
        Smallest gap allowed between a training and a test window in s; with 0 they may touch.

    Examples
    --------
    >>> start = np.arange(6) * 1.0
    >>> near_test(np.zeros(6, dtype=int), start, start + 2.0, np.array([0, 1, 2, 3]), np.array([4, 5]), guard=0.0)
    array([False, False, False,  True])
    """
    near = np.zeros(len(train), dtype=bool)
    for which in np.intersect1d(recording[train], recording[test]):
        of_test = test[recording[test] == which]
        of_test = of_test[np.argsort(start[of_test], kind="stable")]
        latest_stop = np.maximum.accumulate(stop[of_test])
        mine = np.flatnonzero(recording[train] == which)
        begin, end = start[train[mine]] - guard + TOLERANCE, stop[train[mine]] + guard - TOLERANCE
        # of the test windows that start before this one ends, the one that ends last decides
        before = np.searchsorted(start[of_test], end, side="left") - 1
        near[mine] = (before >= 0) & (latest_stop[np.maximum(before, 0)] > begin)
    return near


def codes_of(*columns: ndarray | None, n_rows: int) -> Int[ndarray, " row"]:
    """Number every distinct row of several columns; columns that are None do not count."""
    codes = np.zeros(n_rows, dtype=np.int64)
    for column in columns:
        if column is not None:
            _, inverse = np.unique(column.astype(str) if column.dtype == object else column, return_inverse=True)
            _, codes = np.unique(codes * (int(inverse.max()) + 1) + inverse, return_inverse=True)
    return codes.astype(np.int64)


def _coordinate(X: Any, name: str) -> ndarray | None:
    return np.asarray(X[name].values) if isinstance(X, xr.DataArray) and name in X.coords else None


def _spans(X: Any, spans: Any, n: int) -> tuple[ndarray | None, ndarray | None]:
    if spans is not None:
        spans = np.asarray(spans, dtype=float)
        if spans.shape != (n, 2) or not np.isfinite(spans).all() or (spans[:, 1] <= spans[:, 0]).any():
            raise DataError(
                f"Spans must hold start and end in s of each of the {n} windows, shape ({n}, 2), end after start; got shape {spans.shape}."
            )
        return spans[:, 0], spans[:, 1]
    onset, time = _coordinate(X, "onset"), _coordinate(X, "time")
    if onset is None or time is None or "sfreq" not in X.attrs:
        return None, None
    onset = onset.astype(float)
    if not np.isfinite(onset).all():
        raise DataError(
            f"Every window needs a finite onset in s, {int((~np.isfinite(onset)).sum())} have none; leave these windows out."
        )
    return onset + float(time[0]), onset + float(time[-1]) + 1 / float(X.attrs["sfreq"])


def _units(recording: ndarray, trial: ndarray, in_trial: ndarray, start: ndarray | None) -> ndarray:
    """One number a trial of a recording; the windows of a break (a negative trial, up to the next trial) share one as well."""
    units = codes_of(recording, trial, n_rows=len(trial))
    between = ~in_trial
    if start is None:
        units[between] = units.max() + 1 + np.arange(int(between.sum()))
        return np.unique(units, return_inverse=True)[1]
    order = np.lexsort((start, recording))
    ordered = units[order]
    stretch = np.empty(len(units), dtype=np.int64)
    stretch[order] = np.cumsum(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    units[between] = units.max() + stretch[between]
    return np.unique(units, return_inverse=True)[1]
