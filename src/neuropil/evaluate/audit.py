"""Does a pipeline keep its hands off the test data? Proof by tampering.

For every fold of a split the pipeline is fitted twice: on the data as they are, and with the test data replaced by scrambled, amplified
ones and their labels permuted *in place*, wherever the pipeline may have kept a reference to them. If it is honest, both fits are the
same to the last bit: the learned state and the predictions on a probe set. On top of that, no training window may overlap a test
window in time or come from its trial, no estimator may hold a copy of a test window before it is fitted, and a prediction that changes
when later test windows change is reported as transductive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy import ndarray
from sklearn.base import clone

from neuropil.errors import DataError, NeuropilError, UsageError
from neuropil.evaluate.fingerprint import differences, fingerprint, holds_windows
from neuropil.evaluate.predicting import input_for, outputs
from neuropil.evaluate.purge import WindowTable, near_test
from neuropil.evaluate.splits import default_split
from neuropil.evaluate.splitting import Fold, WindowSplit
from neuropil.windowing import lazy_windows

AMPLIFY = 10.0


class LeakError(NeuropilError):
    """Test data had an influence on training, or on the prediction of what came before them."""


class Leak(NamedTuple):
    """One finding.

    Attributes
    ----------
    kind : {"overlap", "trial", "copy", "fit", "transductive"}
        Shared samples, windows of a tested trial in training, test windows inside the estimator before the fit, a fit that depends on
        test data, a prediction that depends on later test windows.
    fold : str
        Where it was found.
    sentence : str
        What was found, and what to do.
    """

    kind: str
    fold: str
    sentence: str


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes
    ----------
    leaks : tuple of Leak
        Findings that void the evaluation: "overlap", "trial", "copy" and "fit".
    transductive : tuple of Leak
        Predictions that look at later test windows: no use live, and to be named in a report.
    adapts : bool
        Whether predictions depend on *earlier* test windows; legitimate, but the order of the windows matters then.
    n_folds, n_compared : int
        Folds audited, and entries of learned state that were compared in each.
    """

    leaks: tuple[Leak, ...]
    transductive: tuple[Leak, ...]
    adapts: bool
    n_folds: int
    n_compared: int

    @property
    def ok(self) -> bool:
        """True if no test data reached the training."""
        return not self.leaks

    def check(self, *, allow_transductive: bool = True) -> AuditResult:
        """Itself, or `LeakError` with the first finding's sentence."""
        found = self.leaks if allow_transductive else self.leaks + self.transductive
        if found:
            raise LeakError(found[0].sentence)
        return self

    def describe(self) -> str:
        """The result in one sentence, for reports."""
        if self.leaks:
            return self.leaks[0].sentence
        text = f"No leak in {self.n_folds} folds: replacing the test data changed none of {self.n_compared} learned entries"
        if self.transductive:
            return f"{text}; but {self.transductive[0].sentence[0].lower()}{self.transductive[0].sentence[1:]}"
        return text + ("; predictions adapt to earlier test windows." if self.adapts else ".")


Recipe = Callable[[Any, Any, ndarray, ndarray], Any]


def audit_leaks(
    estimator: Any,
    X: Any,
    y: Any = None,
    split: WindowSplit | Any = None,
    *,
    groups: Any = None,
    guard: float = 0.0,
    max_folds: int | None = None,
    random_state: int = 0,
) -> AuditResult:
    """Look for every way in which test data could have an influence on a fitted pipeline.

    Parameters
    ----------
    estimator : estimator or callable
        An estimator with a fixed `random_state`, cloned for every fit; or a recipe `(X, y, train, test) -> fitted estimator` that is
        handed all data, to audit a whole script, such as scaling before the split or early stopping.
    X : Windows or ndarray of shape (n_windows, n_channels, n_times)
        Arrays in memory, also those of recordings below lazy windows, are altered while the audit runs and restored afterwards, so that
        references kept elsewhere are seen through; windows of recordings on disk are read into memory first.
    y : array-like of shape (n_windows,), optional
        Classes; the coordinate `label` without. An array is altered and restored, too.
    split : splitter, optional
        With `split(X, y, groups)`; `default_split(X)` without.
    groups : array-like, optional
        Handed to the split.
    guard : float
        Gap in s that every training window must keep to the test windows.
    max_folds : int, optional
        Audit the first folds only.
    random_state : int
        Seed of the tampering.

    Returns
    -------
    AuditResult

    Raises
    ------
    UsageError
        If two fits on the same data differ, so that nothing can be proven.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn.model_selection import KFold
    >>> X = np.random.default_rng(0).normal(size=(20, 2, 30))
    >>> flat = make_pipeline(FunctionTransformer(np.std, kw_args={"axis": 2}), LogisticRegression())
    >>> audit_leaks(flat, X, np.arange(20) % 2, KFold(2)).ok
    True
    """
    y = X["label"].values if y is None and isinstance(X, xr.DataArray) and "label" in X.coords else y
    if y is None:
        raise DataError("Expected labels to audit with, got none; pass y or windows with a coordinate 'label'.")
    samples = _Samples(X)
    X = samples.X
    labels = y if isinstance(y, ndarray) else np.asarray(y)
    split = default_split(X, labels) if split is None else split
    rng = np.random.default_rng(random_state)
    leaks: list[Leak] = []
    transductive: list[Leak] = []
    adapts, n_compared, n_folds = False, 0, 0
    unstable: set[str] = set()
    for fold in list(_folds(split, X, labels, groups))[:max_folds]:
        shared = _overlap(fold, X, guard)
        leaks += shared or _divided_trials(fold, X)
        leaks += _copies(estimator, samples, fold)
        honest = _fitted(estimator, X, labels, fold)
        probe = _probe(samples, fold, rng)
        state, said = fingerprint(honest), _outputs(honest, X, probe)
        if n_folds == 0:
            again = _fitted(estimator, X, labels, fold)
            unstable = differences(state, fingerprint(again))
            if not np.array_equal(said, _outputs(again, X, probe)):
                raise UsageError(
                    "Two fits on the same data predict differently, so nothing can be proven; give the estimator a random_state."
                )
        with _tampered(samples, labels, fold, rng):
            touched = _fitted(estimator, X, labels, fold)
        changed = differences(state, fingerprint(touched)) - unstable
        n_compared = len(state) - len(unstable)
        # where samples are shared, tampering with the test data is tampering with the training data: nothing more can be said
        if not shared and (changed or not np.array_equal(said, _outputs(touched, X, probe))):
            where = f" (first change: {min(changed)})" if changed else " (its predictions change)"
            leaks.append(
                Leak(
                    "fit",
                    fold.name,
                    f"The fit depends on the test data of {fold.name}{where}; fit every step on training windows only.",
                )
            )
        ahead, memory = _order_dependence(honest, X, fold, rng)
        adapts |= memory
        if ahead:
            transductive.append(
                Leak(
                    "transductive",
                    fold.name,
                    f"The prediction of a test window of {fold.name} changes with later test windows; it cannot run live, adapt to "
                    "past windows only.",
                )
            )
        n_folds += 1
    if not n_folds:
        raise DataError("The split made no fold to audit; pass a split that does.")
    return AuditResult(tuple(leaks), tuple(transductive), adapts, n_folds, n_compared)


def audit_causality(
    decide: Callable[[Any], Any], recording: Any, *, n_cuts: int = 3, stream: str | None = None, random_state: int = 0
) -> tuple[Leak, ...]:
    """Whether decisions on a recording change when samples after them change.

    Parameters
    ----------
    decide : callable
        From a recording to a sequence of decisions with `time` (s), `label` and `proba`.
    recording : Recording
        Its stream is copied, never altered.
    n_cuts : int
        Times, evenly spread, after which all samples are replaced.
    stream : str, optional
        The stream that is decoded; the first regular one without.
    random_state : int
        Seed of what replaces the samples.

    Returns
    -------
    tuple of Leak
        Empty if no decision changed to the last bit.
    """
    data = recording.stream(stream)
    name = next(key for key, value in recording.streams.items() if value is data)
    values = np.asarray(data.values)
    rng = np.random.default_rng(random_state)
    honest = list(decide(recording))
    found = []
    for k in range(1, n_cuts + 1):
        cut = len(values) * k // (n_cuts + 1)
        until = float(data.time[0]) + cut / data.attrs["sfreq"]
        changed = values.copy()
        changed[cut:] = AMPLIFY * values.std(axis=0) * rng.standard_normal(values[cut:].shape)
        tampered = list(decide(recording.copy(streams=recording.streams | {name: data.copy(data=changed)})))
        before = [(a, b) for a, b in zip(honest, tampered, strict=False) if a.time <= until + 1e-9]
        if any(a.time != b.time or a.label != b.label or not _same(a.proba, b.proba) for a, b in before):
            sentence = (
                f"Decisions before {until:.3f} s change when samples after it change: something looks ahead; use causal filters and "
                "windows that end at the decision."
            )
            found.append(Leak("transductive", f"{until:.3f} s", sentence))
    return tuple(found)


def _same(first: ndarray | None, second: ndarray | None) -> bool:
    return first is second if first is None or second is None else np.array_equal(first, second)


class _Samples:
    """The windows under audit, where their samples can be exchanged: in the array itself, or in the recordings below lazy windows."""

    def __init__(self, X: Any) -> None:
        lazy = lazy_windows(X)
        if lazy is not None and all(source.array is not None for source in lazy[0].sources):
            self._below, self._positions = lazy
            self.X, self._values = X, None
        else:
            self.X = X.compute() if lazy is not None else X if isinstance(X, xr.DataArray) else np.asarray(X)
            self._values = self.X.values if isinstance(self.X, xr.DataArray) else self.X

    def read(self, indices: ndarray) -> ndarray:
        """A copy of the windows at `indices`."""
        return self._below.read(self._positions[indices]) if self._values is None else self._values[indices].copy()

    def write(self, indices: ndarray, windows: ndarray) -> None:
        """Put other samples in their place."""
        if self._values is not None:
            with _writable(self._values):
                self._values[indices] = windows
            return
        for position, window in zip(self._positions[indices].tolist(), windows, strict=True):
            below, start = self._below.sources[self._below.source[position]].array, self._below.starts[position]
            with _writable(below):
                below[start : start + window.shape[1]] = window.T


@contextmanager
def _writable(array: Any) -> Iterator[None]:
    before = array.flags.writeable
    if not before:
        array.flags.writeable = True
    try:
        yield
    finally:
        if not before:
            array.flags.writeable = False


def _folds(split: Any, X: Any, y: ndarray, groups: Any) -> Iterator[Fold]:
    if hasattr(split, "folds"):
        yield from split.folds(X, y, groups) if isinstance(split, WindowSplit) else split.folds(X)
        return
    for k, (train, test) in enumerate(split.split(X, y, groups)):
        yield Fold(f"fold {k + 1}", np.asarray(train), np.asarray(test), np.zeros(0, dtype=int))


def _overlap(fold: Fold, X: Any, guard: float) -> list[Leak]:
    if np.intersect1d(fold.train, fold.test).size:
        return [
            Leak(
                "overlap",
                fold.name,
                f"The same windows are trained on and tested in {fold.name}; use a split of neuropil.evaluate.",
            )
        ]
    table = WindowTable.of(X)
    if table.start is None or table.stop is None:
        return []
    near = near_test(table.recording, table.start, table.stop, fold.train, fold.test, guard)
    if not near.any():
        return []
    what = f"come within {guard:g} s of" if guard else "share samples with"
    return [
        Leak(
            "overlap",
            fold.name,
            f"{int(near.sum())} of {len(near)} training windows {what} a test window of {fold.name}; use a split that purges them, such as "
            "'blocks'.",
        )
    ]


def _divided_trials(fold: Fold, X: Any) -> list[Leak]:
    """Windows of one trial resemble each other, whatever its class, also where they share no sample."""
    table = WindowTable.of(X)
    tested = np.unique(table.unit[fold.test[table.in_trial[fold.test]]])
    same = table.in_trial[fold.train] & np.isin(table.unit[fold.train], tested)
    if not same.any():
        return []
    return [
        Leak(
            "trial",
            fold.name,
            f"{int(same.sum())} of {len(same)} training windows come from a trial that is tested in {fold.name}; use a split that keeps "
            "trials whole, such as 'trial'.",
        )
    ]


def _copies(estimator: Any, samples: _Samples, fold: Fold) -> list[Leak]:
    # a recipe is handed all data, and a reference to the windows themselves is seen through by tampering with them
    held = samples.read(fold.test)
    where = None if callable(estimator) and not hasattr(estimator, "fit") else holds_windows(estimator, held)
    if where is None:
        return []
    return [
        Leak(
            "copy",
            fold.name,
            f"The estimator holds test windows of {fold.name} before it is fitted, in {where}; it must not see them.",
        )
    ]


def _fitted(estimator: Any, X: Any, y: ndarray, fold: Fold) -> Any:
    if callable(estimator) and not hasattr(estimator, "fit"):
        return estimator(X, y, fold.train, fold.test)
    model = clone(estimator)
    labels = np.asarray(y[fold.train].tolist())
    return model.fit(input_for(model, X[fold.train]), labels)


def _probe(samples: _Samples, fold: Fold, rng: np.random.Generator) -> ndarray:
    """Training windows, as they are and disturbed: all that the model may know, and something that nobody has seen."""
    seen = samples.read(fold.train[:: max(1, len(fold.train) // 32)]).astype(float)
    return np.concatenate([seen, seen + seen.std() * rng.standard_normal(seen.shape)])


def _outputs(model: Any, X: Any, windows: ndarray) -> ndarray:
    if isinstance(X, xr.DataArray):
        like = X[np.zeros(len(windows), dtype=int)]
        return outputs(model, like.copy(data=windows))
    return outputs(model, windows)


@contextmanager
def _tampered(samples: _Samples, labels: ndarray, fold: Fold, rng: np.random.Generator) -> Iterator[None]:
    """Test windows scrambled and amplified, test labels exchanged, in place; restored whatever happens."""
    kept, kept_labels = samples.read(fold.test), labels[fold.test].copy()
    first = np.unique(labels.astype(str) if labels.dtype == object else labels, return_index=True)[1]
    classes = labels[np.sort(first)]
    place = np.argmax(kept_labels[:, None] == classes[None], axis=1)
    try:
        samples.write(fold.test, scrambled(kept, rng))
        with _writable(labels):
            labels[fold.test] = classes[(place + 1) % len(classes)]
        yield
    finally:
        samples.write(fold.test, kept)
        with _writable(labels):
            labels[fold.test] = kept_labels


def scrambled(windows: ndarray, rng: np.random.Generator) -> ndarray:
    """Windows with samples and channels in random order, amplified: other means, other scales, other spatial patterns."""
    mixed = rng.permuted(windows, axis=-1)[:, rng.permutation(windows.shape[1])]
    return (AMPLIFY * mixed + mixed.std()).astype(windows.dtype)


def _order_dependence(model: Any, X: Any, fold: Fold, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether predictions depend on later, and on earlier, test windows."""
    if len(fold.test) < 2:
        return False, False
    X = X[fold.test]
    values = np.array(X.values if isinstance(X, xr.DataArray) else X)
    half = len(values) // 2
    wrap = (lambda v: X.copy(data=v)) if isinstance(X, xr.DataArray) else (lambda v: v)
    plain = outputs(model, wrap(values))
    later, earlier = values.copy(), values.copy()
    later[half:] = scrambled(later[half:], rng)
    earlier[:half] = scrambled(earlier[:half], rng)
    ahead = not np.array_equal(outputs(model, wrap(later))[:half], plain[:half])
    memory = not np.array_equal(outputs(model, wrap(earlier))[half:], plain[half:])
    return ahead, memory
