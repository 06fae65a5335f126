"""What all splits share: the purge, the checks, and scikit-learn's interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.purge import Seconds, WindowTable, near_test

DEFAULT_GUARD = 1.0


class Fold(NamedTuple):
    """One division of the windows.

    Attributes
    ----------
    name : str
        What is tested, for result tables.
    train, test : ndarray of int
        Indices in increasing order.
    purged : ndarray of int
        Windows left out of training since they come too close to a test window.
    """

    name: str
    train: ndarray
    test: ndarray
    purged: ndarray


class Candidates(NamedTuple):
    name: str
    train: ndarray
    test: ndarray


class WindowSplit(ABC):
    """Base of all splits: subclasses say which windows are tested, this class purges and checks.

    Parameters
    ----------
    guard : float
        Smallest gap in s between a training and a test window of one recording.
    spans : array-like of shape (n_windows, 2), optional
        Start and end of every window in s, for windows that are a plain ndarray.
    """

    def __init__(self, *, guard: Seconds = DEFAULT_GUARD, spans: Any = None) -> None:
        if not guard >= 0:
            raise UsageError(f"The guard interval must be a number of seconds from 0 on, got {guard}.")
        self.guard = guard
        self.spans = spans

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[ndarray, ndarray]]:
        """Indices of training and test windows of every fold.

        Parameters
        ----------
        X : Windows or ndarray of shape (n_windows, ...)
            Windows tell their subject, session, trial and time; of an ndarray only `y`, `groups` and `spans` are known.
        y : array-like of shape (n_windows,), optional
            Classes; the coordinate `label` without.
        groups : array-like of shape (n_windows,), optional
            Subjects where the split is over subjects, otherwise sessions; the coordinates without.

        Raises
        ------
        DataError
            If the windows cannot be divided in this way; the message says why.
        """
        for fold in self.folds(X, y, groups):
            yield fold.train, fold.test

    def folds(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """As `split`, with names and with what was purged."""
        table = WindowTable.of(X, y, self.spans)
        for name, train, test in self._candidates(table, _groups(groups, table.n_windows)):
            near = self._near(table, train, test)
            fold = Fold(name, np.sort(train[~near]), np.sort(test), np.sort(train[near]))
            check_fold(fold, table.label, train, self.guard)
            yield fold

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds for these windows."""
        if X is None:
            raise UsageError("The number of folds depends on the sessions and subjects of the windows; pass X.")
        table = WindowTable.of(X, y, self.spans)
        return sum(1 for _ in self._candidates(table, _groups(groups, table.n_windows)))

    @abstractmethod
    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        """Name, training windows before the purge, and test windows of every fold."""

    @abstractmethod
    def describe(self) -> str:
        """The split in words, for reports."""

    def _near(self, table: WindowTable, train: ndarray, test: ndarray) -> ndarray:
        return near_test(table.recording, *table.times(), train, test, self.guard)

    def _purge_in_words(self) -> str:
        if not self.guard:
            return "training windows that overlap a test window are left out"
        return f"training windows within {self.guard:g} s of a test window are left out"

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k != "spans")
        return f"{type(self).__name__}({shown})"


def _groups(groups: Any, n_windows: int) -> ndarray | None:
    if groups is None:
        return None
    groups = np.asarray(groups)
    if groups.shape != (n_windows,):
        raise DataError(f"Expected one group for each of the {n_windows} windows, got groups of shape {groups.shape}.")
    return groups


def check_fold(fold: Fold, label: ndarray | None, candidates: ndarray, guard: Seconds) -> None:
    remedy = "choose another split"
    if len(fold.purged):
        remedy = f"shorten the guard of {guard:g} s, overlap windows less, or take longer blocks"
    if not len(fold.train):
        raise DataError(
            f"No training window is left for {fold.name}: all {len(candidates)} come too close to a test window; {remedy}."
        )
    if label is None:
        return
    wanted = np.unique(np.concatenate([label[candidates], label[fold.test]]))
    absent = np.setdiff1d(wanted, label[fold.train])
    if len(absent):
        raise DataError(
            f"Class {str(absent[0])!r} has no training window for {fold.name}, {len(fold.purged)} windows came too close to a "
            f"test window; {remedy}."
        )
