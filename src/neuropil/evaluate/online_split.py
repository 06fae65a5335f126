"""Splits of a continuous recording into training and test time, and what they mean for single trials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.purge import TOLERANCE, Seconds, WindowTable, codes_of, near_test
from neuropil.evaluate.splits import AcrossSessions, LaterSessions, LeaveOneSubjectOut, SubjectGroups
from neuropil.evaluate.splitting import DEFAULT_GUARD, Candidates, Fold, WindowSplit

OnlineMode = Literal["chronological", "run", "session", "later-sessions", "subject", "subject-groups"]
WHOLE: dict[str, type[WindowSplit]] = {
    "session": AcrossSessions,
    "later-sessions": LaterSessions,
    "subject": LeaveOneSubjectOut,
    "subject-groups": SubjectGroups,
}


class PseudoOnlineSplit(WindowSplit):
    """Train on one stretch of time, test on all windows of another, as a decoder would be used.

    Windows that share a sample with a test window, or lie within the memory of the filter, leave training; so does what remains of a
    trial of which a part is tested. No test window is ever left out.

    Parameters
    ----------
    mode : {"chronological", "run", "session", "later-sessions", "subject", "subject-groups"}
        Train on the first part of a session and test on the rest; leave out one run of a session (the coordinate `run`; without it
        every recording is a run), one session of a subject, one subject, or a group of subjects; or train on a subject's first session.
    test_size : float
        Share of the windows of a session that is tested, with "chronological".
    purge : float, optional
        Smallest distance in s between the onsets of a training and a test window of a recording; window length + 1 s without.
    spans
        As in `WindowSplit`.

    References
    ----------
    Carrara & Papadopoulo (2024). Pseudo-online framework for BCI evaluation. J. Neural Eng. 21(1):016003.
    """

    def __init__(
        self,
        mode: str = "chronological",
        test_size: float = 0.4,
        purge: Seconds | None = None,
        *,
        spans: Any = None,
    ) -> None:
        if mode not in get_args(OnlineMode):
            raise UsageError(f"A pseudo-online split is one of {', '.join(get_args(OnlineMode))}, got {mode!r}.")
        if not 0 < test_size < 1:
            raise UsageError(f"The test share must lie between 0 and 1, got test_size={test_size}.")
        super().__init__(spans=spans)
        self.mode = mode
        self.test_size = test_size
        self.purge = purge

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        table.times()
        if self.mode in WHOLE:
            yield from WHOLE[self.mode]()._candidates(table, groups)
        else:
            sessions = codes_of(table.subject, table.session, groups, n_rows=table.n_windows)
            for code in np.unique(sessions):
                mine = np.flatnonzero(sessions == code)
                yield from self._runs(table, mine) if self.mode == "run" else self._last_part(table, mine)

    def _last_part(self, table: WindowTable, mine: ndarray) -> Iterator[Candidates]:
        start, _ = table.times()
        mine = mine[np.lexsort((start[mine], table.recording[mine]))]
        n_test = max(1, round(self.test_size * len(mine)))
        if n_test >= len(mine):
            raise DataError(
                f"Expected windows to train and to test on, {table.session_name(mine[0])} has only {len(mine)}; cut shorter windows."
            )
        yield Candidates(f"{table.session_name(mine[0])}, last {self.test_size:.0%}", mine[:-n_test], mine[-n_test:])

    def _runs(self, table: WindowTable, mine: ndarray) -> Iterator[Candidates]:
        runs = np.unique(table.run[mine])
        if len(runs) < 2:
            raise DataError(
                f"Leaving out a run needs two runs or more, {table.session_name(mine[0])} has one; use the split 'chronological'."
            )
        for number, run in enumerate(runs.tolist()):
            held = table.run[mine] == run
            yield Candidates(f"{table.session_name(mine[0])}, run {number + 1}", mine[~held], mine[held])

    def _near(self, table: WindowTable, train: ndarray, test: ndarray) -> ndarray:
        start, stop = table.times()
        length = float((stop - start).max())
        guard = DEFAULT_GUARD if self.purge is None else self.purge - length
        if guard < -TOLERANCE:
            raise UsageError(
                f"The purge must be at least the window length of {length:g} s, or windows share samples, got {self.purge} s."
            )
        near = near_test(table.recording, start, stop, train, test, max(0.0, guard))
        tested = np.unique(table.unit[test[table.in_trial[test]]])
        return near | (table.in_trial[train] & np.isin(table.unit[train], tested))

    def describe(self) -> str:
        within = {
            "chronological": f"the first {1 - self.test_size:.0%} of every session for training, the rest for testing",
            "run": "one run of a session for testing, its other runs for training, in turn",
        }
        what = WHOLE[self.mode]().describe() if self.mode in WHOLE else within[self.mode]
        purge = f"window length + {DEFAULT_GUARD:g} s" if self.purge is None else f"{self.purge:g} s"
        return f"{what}; training windows whose onset lies within {purge} of that of a test window are left out"


def same_times(fold: Fold, X: xr.DataArray, epochs: xr.DataArray) -> Fold:
    """The fold of single-trial epochs that covers the times of a fold of sliding windows.

    An epoch is tested if it lies inside the tested stretch of its recording, and trained on if its recording is trained on and it keeps
    the distance of `DEFAULT_GUARD` s to the tested stretch.

    Parameters
    ----------
    fold : Fold
        Of the sliding windows.
    X, epochs : Windows
        Sliding windows and epochs of the same recordings.
    """
    table, other = WindowTable.of(X), WindowTable.of(epochs)
    start, stop = table.times()
    first, last = other.times()
    recording, source = X["recording"].values, epochs["recording"].values
    tested = np.zeros(other.n_windows, dtype=bool)
    trained = np.zeros(other.n_windows, dtype=bool)
    known = np.concatenate([fold.train, fold.purged])
    for k in np.unique(source):
        mine, test, train = source == k, fold.test[recording[fold.test] == k], known[recording[known] == k]
        if len(test):
            inside = (first >= start[test].min() - TOLERANCE) & (last <= stop[test].max() + TOLERANCE)
            tested |= mine & inside
        if len(train):
            trained |= mine & (first >= start[train].min() - TOLERANCE) & (last <= stop[train].max() + TOLERANCE)
    candidates = np.flatnonzero(trained & ~tested)
    near = near_test(
        np.concatenate([source, recording]),
        np.concatenate([first, start]),
        np.concatenate([last, stop]),
        candidates,
        other.n_windows + fold.test,
        DEFAULT_GUARD,
    )
    return Fold(fold.name, candidates[~near], np.flatnonzero(tested), candidates[near])


class LeakyFolds:
    """Random folds over overlapping windows, as they must not be used: for showing by how much they flatter.

    Parameters
    ----------
    n_splits : int
        Folds a session.
    random_state : int
        Seed of the shuffling.
    """

    def __init__(self, n_splits: int = 5, random_state: int = 0) -> None:
        self.n_splits = n_splits
        self.random_state = random_state

    def folds(self, X: xr.DataArray) -> Iterator[Fold]:
        """Folds with equal class shares and no purge."""
        from sklearn.model_selection import StratifiedKFold

        table = WindowTable.of(X)
        sessions = codes_of(table.subject, table.session, n_rows=table.n_windows)
        label = X["label"].values.astype(str)
        folds = StratifiedKFold(self.n_splits, shuffle=True, random_state=self.random_state)
        for code in np.unique(sessions):
            mine = np.flatnonzero(sessions == code)
            for k, (train, test) in enumerate(folds.split(mine, label[mine])):
                name = f"{table.session_name(mine[0])}, random fold {k + 1}"
                yield Fold(name, mine[train], mine[test], np.zeros(0, dtype=int))
