"""Splits into training and test windows that cannot leak.

Every splitter has scikit-learn's interface (`split(X, y, groups)`, `get_n_splits`) and goes where scikit-learn takes `cv`. Windows
carry what honesty needs in their coordinates: subject, session, trial, and their span in time. Three rules hold for all of them but
"random-windows", which is there to show what breaking them does, and warns:

1. A training window that shares a sample with a test window, or comes closer to one than `guard` seconds, is left out of training.
2. Within a session, windows cut from one trial, or from one break, are never divided between training and test.
3. A shuffled split has to be asked for by name; it is refused where nobody knows when the windows were recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.gapped import GappedSplit
from neuropil.evaluate.grouped import RandomWindows, TrialFolds, VideoFolds
from neuropil.evaluate.purge import Seconds, WindowTable, codes_of
from neuropil.evaluate.splitting import DEFAULT_GUARD, Candidates, Fold, WindowSplit
from neuropil.evaluate.within_session import (
    ChronologicalFolds,
    ChronologicalWithinSession,
    StratifiedWithinSession,
    check_n_splits,
)

__all__ = [
    "DEFAULT_GUARD",
    "SHUFFLED",
    "SPLITS",
    "AcrossSessions",
    "ChronologicalFolds",
    "ChronologicalWithinSession",
    "Fold",
    "GappedSplit",
    "LaterSessions",
    "LeaveOneSubjectOut",
    "OwnSplit",
    "RandomWindows",
    "StratifiedWithinSession",
    "SubjectGroups",
    "TrialFolds",
    "VideoFolds",
    "WindowSplit",
    "default_split",
    "fold_table",
    "make_split",
]


class _WholeParts(WindowSplit):
    """Training and test windows come from different parts; where nobody knows when windows were recorded, these are taken as apart."""

    def _near(self, table: WindowTable, train: ndarray, test: ndarray) -> ndarray:
        if table.start is None:
            return np.zeros(len(train), dtype=bool)
        return super()._near(table, train, test)


class AcrossSessions(_WholeParts):
    """Test one session of a subject after training on that subject's other sessions."""

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        for who, mine, session, names in _sessions_of_subjects(table, groups):
            for name in names:
                yield Candidates(f"{who}session {name}", mine[session != name], mine[session == name])

    def describe(self) -> str:
        return "one session of a subject for testing, that subject's other sessions for training, in turn"


class LaterSessions(_WholeParts):
    """Train on the first session of a subject, test on each later one: a decoder that is calibrated once.

    Sessions follow each other in the order of their names, numbers in them by value ("9" before "10").
    """

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        for who, mine, session, (first, *later) in _sessions_of_subjects(table, groups):
            for name in later:
                yield Candidates(f"{who}session {name} after {first}", mine[session == first], mine[session == name])

    def describe(self) -> str:
        return "a subject's first session for training, each of that subject's later sessions for testing"


def _sessions_of_subjects(
    table: WindowTable, groups: ndarray | None
) -> Iterator[tuple[str, ndarray, ndarray, list[Any]]]:
    """Of every subject: the beginning of its folds' names, its windows, their sessions, and the names of these in order."""
    session = table.session if groups is None else groups
    if session is None:
        raise DataError(
            "The windows have no coordinate 'session' to divide by; pass groups= with the session of every window."
        )
    subjects = codes_of(table.subject, n_rows=table.n_windows)
    for subject in np.unique(subjects):
        mine = np.flatnonzero(subjects == subject)
        names = sorted(np.unique(session[mine]).tolist(), key=_by_number)
        who = f"subject {table.subject[mine[0]]}" if table.subject is not None else "the windows"
        if len(names) < 2:
            raise DataError(
                f"A split over sessions needs two sessions or more of every subject, {who} has only session {str(names[0])!r}; "
                "use a split within sessions, such as 'blocks'."
            )
        yield f"{who}, " if table.subject is not None else "", mine, session[mine], names


def _by_number(name: Any) -> list[tuple[int, int, str]]:
    """A key that sorts names with the numbers in them by value."""
    parts = re.split(r"(\d+)", str(name))
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


class LeaveOneSubjectOut(_WholeParts):
    """Test one subject after training on all others."""

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        subject, names = _subjects(table, groups)
        for name in names:
            yield Candidates(f"subject {name}", np.flatnonzero(subject != name), np.flatnonzero(subject == name))

    def describe(self) -> str:
        return "one subject for testing, all others for training, in turn"


class SubjectGroups(_WholeParts):
    """Test a group of subjects after training on all others: as honest as leaving out one, with fewer fits.

    Parameters
    ----------
    n_splits : int
        Groups, of as many subjects each as possible, in the order of their names; one subject each where there are fewer subjects.
    guard, spans
        As in `WindowSplit`.
    """

    def __init__(self, n_splits: int = 5, *, guard: Seconds = DEFAULT_GUARD, spans: Any = None) -> None:
        super().__init__(guard=guard, spans=spans)
        self.n_splits = check_n_splits(n_splits)

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        subject, names = _subjects(table, groups)
        for part in np.array_split(np.array(sorted(names.tolist(), key=_by_number), dtype=names.dtype), self.n_splits):
            if len(part):
                held = np.isin(subject, part)
                title = f"subject {part[0]}" if len(part) == 1 else f"subjects {part[0]} to {part[-1]}"
                yield Candidates(title, np.flatnonzero(~held), np.flatnonzero(held))

    def describe(self) -> str:
        return f"one of {self.n_splits} groups of subjects for testing, all other subjects for training, in turn"


def _subjects(table: WindowTable, groups: ndarray | None) -> tuple[ndarray, ndarray]:
    """Subject of every window, and the names of the subjects."""
    subject = table.subject if groups is None else groups
    if subject is None:
        raise DataError(
            "The windows have no coordinate 'subject' to divide by; pass groups= with the subject of every window."
        )
    names = np.unique(subject)
    if len(names) < 2:
        raise DataError(
            f"A split over subjects needs two subjects or more, all windows are of subject {str(names[0])!r}; "
            "use a split within subjects, such as 'blocks' or 'session'."
        )
    return subject, names


class OwnSplit(_WholeParts):
    """The split that comes with the data set: the coordinate `split` says "train" or "test"; other values stand aside."""

    def __init__(self, *, guard: Seconds = 0.0, spans: Any = None) -> None:
        super().__init__(guard=guard, spans=spans)

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        if table.split is None:
            raise DataError(
                "The windows have no coordinate 'split' with 'train' and 'test'; choose another split, such as 'blocks'."
            )
        train, test = (np.flatnonzero(table.split == part) for part in ("train", "test"))
        if not len(train) or not len(test):
            raise DataError(
                f"The data set's own split must have windows to train and to test on, got {len(train)} 'train' and {len(test)} 'test'."
            )
        yield Candidates("own", train, test)

    def describe(self) -> str:
        return f"the data set's own division into training and test data; {self._purge_in_words()}"


SPLITS: dict[str, Callable[..., WindowSplit]] = {
    "own": OwnSplit,
    "stratified": StratifiedWithinSession,
    "chronological": ChronologicalWithinSession,
    "blocks": ChronologicalFolds,
    "session": AcrossSessions,
    "later-sessions": LaterSessions,
    "subject": LeaveOneSubjectOut,
    "subject-groups": SubjectGroups,
    "trial": TrialFolds,
    "video": VideoFolds,
    "random-windows": RandomWindows,
}
SHUFFLED = ("stratified", "trial", "video", "random-windows")

ALIASES = {"within-session": "blocks"}


def make_split(name: str, X: Any = None, y: Any = None, **options: Any) -> WindowSplit:
    """A split by its name on the command line.

    Parameters
    ----------
    name : str
        Within sessions: "blocks" (contiguous folds; also called "within-session"), "chronological" (first 80 %, last 20 %),
        "stratified" (shuffled trials). Across sessions: "session" (leave one out), "later-sessions" (train on the first). Across
        subjects: "subject" (leave one out), "subject-groups" (five groups). Pooled over all subjects: "trial" and "video" (folds of
        whole trials, of whole stimuli), "random-windows" (leaks, and warns). Or "own", or "default" (see `default_split`).
    X, y : optional
        Windows and classes; if given, the split is tried on them, so that a split that does not fit is refused before any work.
    **options
        Arguments of the splitter, such as `n_splits`, `test_size`, `guard`.

    Raises
    ------
    UsageError
        For an unknown name or option.
    DataError
        If these windows cannot be divided in this way.

    Examples
    --------
    >>> make_split("blocks", n_splits=4)
    ChronologicalFolds(guard=1.0, n_splits=4)
    """
    if name == "default":
        if X is None:
            raise UsageError("The default split depends on the windows; pass X.")
        return default_split(X, y, **options)
    name = ALIASES.get(name, name)
    if name not in SPLITS:
        raise UsageError(f"There is no split {name!r}; choose one of {', '.join(SPLITS)} or default.")
    if name == "stratified":
        options = {"shuffle": True, "random_state": 0, **options}
    try:
        split = SPLITS[name](**options)
    except TypeError as error:
        raise UsageError(f"The split {name!r} does not take these options: {', '.join(options)}.") from error
    if X is not None:
        for _ in split.folds(X, y):
            pass
    return split


def default_split(X: Any, y: Any = None, **options: Any) -> WindowSplit:
    """The data set's own split if it has one, else sessions, else subjects, else contiguous blocks; never a shuffled one.

    Sessions are taken if every subject has two or more.

    Parameters
    ----------
    X : Windows
    y : array-like, optional
        Classes.
    **options
        Those that the chosen splitter takes, such as `guard`.
    """
    table = WindowTable.of(X, y)
    if table.split is not None and {"train", "test"} <= set(table.split.tolist()):
        return make_split("own", X, y, **options)
    if table.session is not None:
        subjects = codes_of(table.subject, n_rows=table.n_windows)
        if all(len(np.unique(table.session[subjects == subject])) > 1 for subject in np.unique(subjects)):
            return make_split("session", X, y, **options)
    if table.subject is not None and len(np.unique(table.subject)) > 1:
        return make_split("subject", X, y, **options)
    return make_split("blocks", X, y, **options)


def fold_table(split: WindowSplit, X: Any, y: Any = None, groups: Any = None) -> list[dict[str, Any]]:
    """One row a fold: its name, the numbers of training, test and purged windows, and the test windows of every class."""
    label = X["label"].values if y is None and isinstance(X, xr.DataArray) and "label" in X.coords else y
    rows = []
    for fold in split.folds(X, y, groups):
        classes = {} if label is None else dict(zip(*_counts(np.asarray(label)[fold.test]), strict=True))
        sizes = {"n_train": len(fold.train), "n_test": len(fold.test), "n_purged": len(fold.purged)}
        rows.append({"fold": fold.name, **sizes, "n_per_class": classes})
    return rows


def _counts(labels: ndarray) -> tuple[list[Any], list[int]]:
    names, counts = np.unique(labels, return_counts=True)
    return names.tolist(), counts.tolist()
