"""Splits inside a session: contiguous folds, first part against last part, and shuffled trials by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.purge import Seconds, WindowTable, codes_of
from neuropil.evaluate.splitting import DEFAULT_GUARD, Candidates, WindowSplit


class _Trials(NamedTuple):
    """Windows of a session in order of time, the trial of each (numbered in order of time), and the class of every trial."""

    windows: ndarray
    trial: ndarray
    label: ndarray


class _WithinSession(WindowSplit):
    """Training and test windows come from the same session; sessions are divided one by one."""

    def _sessions(self, table: WindowTable, groups: ndarray | None) -> Iterator[tuple[str, ndarray]]:
        table.times()
        if groups is not None:
            for group in np.unique(groups):
                yield str(group), np.flatnonzero(groups == group)
            return
        codes = codes_of(table.subject, table.session, n_rows=table.n_windows)
        for code in np.unique(codes):
            mine = np.flatnonzero(codes == code)
            yield table.session_name(mine[0]), mine

    def _trials(self, table: WindowTable, mine: ndarray) -> _Trials:
        start, _ = table.times()
        windows = mine[np.lexsort((start[mine], table.recording[mine]))]
        _, first, trial = np.unique(table.unit[windows], return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))
        first = np.sort(first)
        label = np.zeros(len(first), dtype=int) if table.label is None else table.label[windows][first]
        return _Trials(windows, rank[trial], label)


class StratifiedWithinSession(_WithinSession):
    """Folds with the same class shares, within every session; with `shuffle=True`, of trials in random order.

    Shuffled folds test between training trials that were recorded a moment before and after, which flatters every decoder whose
    signal drifts; they are for comparison with publications that did so.

    Parameters
    ----------
    n_splits : int
        Folds a session.
    shuffle : bool
        Whether trials are drawn at random; without, folds are made in the order of time.
    random_state : int, optional
        Seed of the shuffling.
    guard, spans
        As in `WindowSplit`.

    Examples
    --------
    >>> spans = np.stack([np.arange(10) * 5.0, np.arange(10) * 5.0 + 2.0], axis=1)
    >>> split = StratifiedWithinSession(5, shuffle=True, random_state=0, spans=spans)
    >>> [test.tolist() for _, test in split.split(np.zeros((10, 2, 20)), np.arange(10) % 2)][0]
    [4, 9]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool,
        random_state: int | None = None,
        guard: Seconds = DEFAULT_GUARD,
        spans: Any = None,
    ) -> None:
        super().__init__(guard=guard, spans=spans)
        self.n_splits = check_n_splits(n_splits)
        self.shuffle = shuffle
        self.random_state = random_state

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        rng = np.random.default_rng(self.random_state) if self.shuffle else None
        for session, mine in self._sessions(table, groups):
            yield from _folds_by_class(session, self._trials(table, mine), self.n_splits, rng)

    def describe(self) -> str:
        how = "in random order" if self.shuffle else "in order of time"
        return f"{self.n_splits} folds of trials {how} within every session, with equal class shares; {self._purge_in_words()}"


class ChronologicalFolds(_WithinSession):
    """Contiguous folds within every session: fold k tests the k-th part, in time, of the trials of every class.

    Parameters
    ----------
    n_splits : int
        Folds a session.
    guard, spans
        As in `WindowSplit`.
    """

    def __init__(self, n_splits: int = 5, *, guard: Seconds = DEFAULT_GUARD, spans: Any = None) -> None:
        super().__init__(guard=guard, spans=spans)
        self.n_splits = check_n_splits(n_splits)

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        for session, mine in self._sessions(table, groups):
            yield from _folds_by_class(session, self._trials(table, mine), self.n_splits, None)

    def describe(self) -> str:
        return f"{self.n_splits} contiguous blocks of every class and session, in turn; {self._purge_in_words()}"


class ChronologicalWithinSession(_WithinSession):
    """Train on the first part of every session, test on the last: of every class, the last `test_size` of its trials in time.

    Parameters
    ----------
    test_size : float
        Share of the trials of every class, at least one trial.
    guard, spans
        As in `WindowSplit`.
    """

    def __init__(self, test_size: float = 0.2, *, guard: Seconds = DEFAULT_GUARD, spans: Any = None) -> None:
        super().__init__(guard=guard, spans=spans)
        if not 0 < test_size < 1:
            raise UsageError(f"The test share must lie between 0 and 1, got test_size={test_size}.")
        self.test_size = test_size

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        for session, mine in self._sessions(table, groups):
            trials = self._trials(table, mine)
            held = np.zeros(len(trials.label), dtype=bool)
            for label in np.unique(trials.label):
                of_class = np.flatnonzero(trials.label == label)
                n_test = max(1, round(self.test_size * len(of_class)))
                if n_test >= len(of_class):
                    raise DataError(
                        f"Class {str(label)!r} has {len(of_class)} trial in {session}, too few to train on some and test on "
                        f"{self.test_size:.0%}; record more or leave the class out."
                    )
                held[of_class[len(of_class) - n_test :]] = True
            tested = held[trials.trial]
            yield Candidates(session, trials.windows[~tested], trials.windows[tested])

    def describe(self) -> str:
        return (
            f"the first {1 - self.test_size:.0%} of every class and session, in time, for training and the rest for testing; "
            f"{self._purge_in_words()}"
        )


def check_n_splits(n_splits: int) -> int:
    """Refuse fewer than two folds."""
    if n_splits < 2:
        raise UsageError(f"Cross-validation needs two folds or more, got n_splits={n_splits}.")
    return n_splits


def _folds_by_class(
    session: str, trials: _Trials, n_splits: int, rng: np.random.Generator | None
) -> Iterator[Candidates]:
    """Deal the trials of every class to folds: contiguous parts in order, or, with a generator, one by one at random."""
    fold_of = np.empty(len(trials.label), dtype=int)
    dealt = 0
    for label in np.unique(trials.label):
        of_class = np.flatnonzero(trials.label == label)
        n = len(of_class)
        if n < n_splits:
            raise DataError(
                f"Expected at least one trial of every class in each of the {n_splits} folds, class {str(label)!r} has {n} in "
                f"{session}; use fewer folds or leave the class out."
            )
        if rng is None:
            fold_of[of_class] = np.arange(n) * n_splits // n
        else:
            fold_of[rng.permutation(of_class)] = (np.arange(n) + dealt) % n_splits
            dealt += n
    for k in range(n_splits):
        tested = (fold_of == k)[trials.trial]
        yield Candidates(f"{session}, fold {k + 1}", trials.windows[~tested], trials.windows[tested])
