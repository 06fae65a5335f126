"""Folds of whole trials or whole videos, over all subjects at once; and random windows, which no score should be taken from.

Within-subject splits (`neuropil.evaluate.within_session`) train one decoder a session. The folds here pool all subjects and sessions, as
studies of emotion do with their few trials a person: every trial is still tested by a decoder that never met it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy import ndarray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from neuropil.errors import DataError
from neuropil.evaluate.purge import Seconds, WindowTable, codes_of, near_test
from neuropil.evaluate.splitting import DEFAULT_GUARD, Candidates, WindowSplit
from neuropil.evaluate.within_session import check_n_splits


class _GroupedFolds(WindowSplit):
    """Groups of windows dealt to folds at random, so that classes are as even as the groups allow; a group is never divided.

    Where groups are given and nobody knows when the windows were recorded, those of different groups are taken as apart.
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        random_state: int | None = 0,
        guard: Seconds = DEFAULT_GUARD,
        spans: Any = None,
    ) -> None:
        super().__init__(guard=guard, spans=spans)
        self.n_splits = check_n_splits(n_splits)
        self.random_state = random_state

    def _group_of(self, table: WindowTable) -> tuple[ndarray, str]:
        """Number of the group of every window, and what a group is called."""
        raise NotImplementedError(f"{type(self).__name__} must define _group_of(table).")

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        if groups is None:
            table.times()
        unit, what = self._group_of(table) if groups is None else (codes_of(groups, n_rows=table.n_windows), "group")
        label = np.zeros(table.n_windows, dtype=int) if table.label is None else codes_of(table.label, n_rows=len(unit))
        for k in np.unique(label):
            n = len(np.unique(unit[label == k]))
            if n < self.n_splits:
                name = "the windows" if table.label is None else f"class {str(table.label[label == k][0])!r}"
                raise DataError(
                    f"Expected {self.n_splits} {what}s or more of every class for {self.n_splits} folds, {name} has {n}; use fewer "
                    "folds or leave the class out."
                )
        deal = StratifiedGroupKFold(self.n_splits, shuffle=True, random_state=self.random_state)
        for k, (train, test) in enumerate(deal.split(unit, label, unit)):
            yield Candidates(f"{what}s, fold {k + 1}", train, test)

    def _near(self, table: WindowTable, train: ndarray, test: ndarray) -> ndarray:
        if table.start is None:
            return np.zeros(len(train), dtype=bool)
        return super()._near(table, train, test)


class TrialFolds(_GroupedFolds):
    """Folds of whole trials, drawn at random over all subjects and sessions.

    A trial is a number of the coordinate `trial` in one recording, or an entry of `groups`.

    Parameters
    ----------
    n_splits : int
    random_state : int, optional
        Seed of the drawing.
    guard, spans
        As in `WindowSplit`.

    Examples
    --------
    >>> split = TrialFolds(2, random_state=0)
    >>> trials, y = np.repeat(["a", "b", "c", "d"], 3), np.repeat([0, 1, 0, 1], 3)
    >>> [np.unique(trials[test]).tolist() for _, test in split.split(np.zeros((12, 2, 20)), y, trials)]
    [['b', 'c'], ['a', 'd']]
    """

    def _group_of(self, table: WindowTable) -> tuple[ndarray, str]:
        if not table.in_trial.any():
            raise DataError(
                "The windows have no coordinate 'trial' to keep together; pass groups= with the trial of every window."
            )
        return table.unit, "trial"

    def describe(self) -> str:
        return (
            f"{self.n_splits} folds of whole trials, drawn at random over all subjects, with class shares as equal as they allow; "
            f"{self._purge_in_words()}"
        )


class VideoFolds(_GroupedFolds):
    """Folds of whole stimuli: what was watched in testing was watched in training by nobody.

    Ratings of one video are alike in all people, so that a decoder of a new person's state may know the video instead. The video is the
    coordinate `video`, or an entry of `groups`.

    Parameters
    ----------
    n_splits, random_state, guard, spans
        As in `TrialFolds`.
    """

    def _group_of(self, table: WindowTable) -> tuple[ndarray, str]:
        if table.video is None:
            raise DataError(
                "The windows have no coordinate 'video' to keep together; pass groups= with the stimulus of every window."
            )
        return codes_of(table.video, n_rows=table.n_windows), "video"

    def describe(self) -> str:
        return (
            f"{self.n_splits} folds of whole videos, drawn at random, each watched in testing or in training by everybody; "
            f"{self._purge_in_words()}"
        )


class RandomWindows(WindowSplit):
    """Folds of windows in random order, whatever trial they are from: for comparison with publications that did so, never for a score.

    Nothing is purged. Every use warns, with the share of test windows whose trial, or whose very samples, were trained on.

    Parameters
    ----------
    n_splits : int
    random_state : int, optional
        Seed of the drawing.
    spans
        As in `WindowSplit`.
    """

    def __init__(self, n_splits: int = 5, *, random_state: int | None = 0, spans: Any = None) -> None:
        super().__init__(guard=0.0, spans=spans)
        self.n_splits = check_n_splits(n_splits)
        self.random_state = random_state

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        label = (
            np.zeros(table.n_windows, dtype=int)
            if table.label is None
            else codes_of(table.label, n_rows=table.n_windows)
        )
        rarest = int(np.bincount(label).min())
        if rarest < self.n_splits:
            raise DataError(
                f"Expected {self.n_splits} windows or more of every class for {self.n_splits} folds, got {rarest}; use fewer folds."
            )
        deal = StratifiedKFold(self.n_splits, shuffle=True, random_state=self.random_state)
        for k, (train, test) in enumerate(deal.split(label, label)):
            if k == 0:
                _warn_of_leak(table, train, test)
            yield Candidates(f"random windows, fold {k + 1}", train, test)

    def _near(self, table: WindowTable, train: ndarray, test: ndarray) -> ndarray:
        return np.zeros(len(train), dtype=bool)

    def describe(self) -> str:
        return (
            f"{self.n_splits} folds of windows in random order, nothing left out: test windows have neighbours in training, and the score "
            "says nothing about new trials"
        )


def _warn_of_leak(table: WindowTable, train: ndarray, test: ndarray) -> None:
    known = np.isin(table.unit[test], table.unit[train][table.in_trial[train]]).mean()
    found = f"{known:.0%} of the test windows come from a trial that is trained on"
    if table.start is not None and table.stop is not None:
        shared = near_test(table.recording, table.start, table.stop, test, train, 0.0).mean()
        found += f", {shared:.0%} share samples with a training window"
    warnings.warn(
        f"Random windows leak: in the first fold {found}; the score says nothing about new trials, use the split 'trial'.",
        stacklevel=2,
    )
