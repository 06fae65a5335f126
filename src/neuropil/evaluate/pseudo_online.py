"""Pseudo-online evaluation: how much of an offline accuracy survives when a decoder runs over the continuous signal?

Overlapping windows slide over the whole recording; what is no task is a class of its own, idle; training and test are separated in
time. Beside it stand two offline references on the same stretches of time: one window a trial among the task classes (`offline2`), and
the same with one idle window a break (`offline3`), so that it chooses from the same classes. Everything that is learned is learned on
training windows, and the filter is causal unless a zero-phase one is asked for by name.

Carrara & Papadopoulo (2024). Pseudo-online framework for BCI evaluation: a MOABB perspective using various MI and SSVEP datasets.
Journal of Neural Engineering 21(1):016003, arXiv:2308.11656.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy import ndarray

from neuropil import progress
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.epochs import filtered, offline_epochs, task_events, with_runs
from neuropil.evaluate.metrics import find_metric
from neuropil.evaluate.online_scores import Job, Settings, fit_and_score, ordered
from neuropil.evaluate.online_split import LeakyFolds, PseudoOnlineSplit, same_times
from neuropil.evaluate.purge import Seconds
from neuropil.evaluate.splitting import Fold
from neuropil.recording import Recording
from neuropil.windowing import sliding_windows

Mode = Literal["offline2", "offline3", "pseudo_online", "task_trained", "leaky"]
Filter = Literal["causal", "zero-phase"]
Rule = Literal["majority", "end", "pure"]
DEFAULT_MODES = ("offline2", "offline3", "pseudo_online")


def evaluate_pseudo_online(
    pipelines: Mapping[str, Any],
    recordings: Recording | Sequence[Recording],
    *,
    window: Seconds = 2.0,
    overlap: float = 0.5,
    rule: str = "majority",
    split: str | PseudoOnlineSplit = "chronological",
    modes: Sequence[str] = DEFAULT_MODES,
    filter: str | None = "causal",
    band: tuple[float | None, float | None] = (8.0, 30.0),
    order: int = 4,
    labels: Sequence[str] | None = None,
    idle: str = "idle",
    tmin: Seconds = 0.5,
    balance_idle: bool = False,
    dwell: int = 1,
    metrics: Sequence[str] = (),
    transductive: bool = False,
    stream: str | None = None,
    random_state: int = 0,
    n_jobs: int = 1,
    show_progress: bool | None = None,
) -> pd.DataFrame:
    """Evaluate decoders on continuous recordings, offline and as if they ran live.

    Parameters
    ----------
    pipelines : mapping of str to estimator
        Classifiers of windows (n_windows, n_channels, n_times); each is cloned for every fit.
    recordings : Recording or sequence of Recording
        Continuous, with events; several recordings of a subject and session are its runs.
    window, overlap : float
        Length of a window in s, and the share of it that the next window repeats.
    rule : {"majority", "end", "pure"}
        Label of a window that spans two classes: the one that covers most of it (idle unless the task covers more than half), or the one
        at its end; "pure" is "majority" with such windows left out of training, never of testing.
    split : {"chronological", "run", "session", "later-sessions", "subject", "subject-groups"} or PseudoOnlineSplit
        What is tested.
    modes : sequence of str
        "offline2", "offline3", "pseudo_online"; also "task_trained" (fitted on trials only, run over the continuous signal) and
        "leaky" (random folds over overlapping windows), which show what goes wrong without idle training or with a wrong split.
    filter : {"causal", "zero-phase"} or None
        How the recording is filtered before it is cut. A zero-phase filter looks ahead and cannot run live.
    band : (low, high)
        Pass band of the Butterworth filter in Hz; None leaves an edge out.
    order : int
        Order of each edge.
    labels : sequence of str, optional
        Task classes; every label but `idle` without.
    idle : str
        Name of the class outside the task.
    tmin : float
        Beginning of an offline epoch in s after the onset of its trial.
    balance_idle : bool
        Train on no more idle windows than the largest task class has, drawn at random; test windows are never left out.
    dwell : int
        Windows in a row that a class has to win before it counts as emitted, for the event metrics.
    metrics : sequence of str
        Further metrics of `neuropil.evaluate.metrics`.
    transductive : bool
        Accept decoders whose prediction changes with *later* test windows; refused otherwise.
    stream : str, optional
        Name of the stream; the first regular one without.
    random_state : int
        Seed of `balance_idle` and of the leaky folds.
    n_jobs : int
        Processes.
    show_progress : bool, optional
        By default if somebody is watching.

    Returns
    -------
    DataFrame
        One row per tested subject and session, fold (`split`), `pipeline` and `mode`: `n_train`, `n_test`, `n_per_class` (test windows),
        `nmcc`, `accuracy`, `balanced_accuracy`, `kappa`, `recall_<class>`, `itr_wolpaw`, `itr_mi` (bits/min at one decision a window
        length), `hits`, `misses`, `wrong`, `latency_s`, `false_per_min`, `idle_active` (see `neuropil.evaluate.events`; missing where
        windows are not continuous), `fit_s`, `predict_ms` (a window).

    Raises
    ------
    UsageError
        For a name that does not exist.
    DataError
        If the recordings cannot be divided in this way, or a decoder looks ahead.

    Examples
    --------
    >>> from pyriemann.classification import MDM
    >>> from pyriemann.estimation import Covariances
    >>> from sklearn.pipeline import make_pipeline
    >>> from neuropil.simulate.eeg import simulate_motor_imagery
    >>> recordings, _ = simulate_motor_imagery(n_subjects=1, n_trials=10, sfreq=62.5, breaks=(3.0, 5.0), seed=0)
    >>> table = evaluate_pseudo_online({"MDM": make_pipeline(Covariances("oas"), MDM())}, recordings)
    >>> table["mode"].tolist()
    ['offline2', 'offline3', 'pseudo_online']
    """
    recordings = [recordings] if isinstance(recordings, Recording) else list(recordings)
    settings = Settings(
        float(window), overlap, rule, idle, balance_idle, dwell, tuple(metrics), transductive, int(random_state)
    )
    _check(pipelines, recordings, modes, settings, filter)
    split = split if isinstance(split, PseudoOnlineSplit) else PseudoOnlineSplit(split)
    parts = [recordings] if split.mode in ("subject", "subject-groups") else _by_subject(recordings)

    def jobs() -> Iterator[tuple[Job, str, dict[int, pd.DataFrame]]]:
        for part in parts:
            ready = [filtered(r, stream, filter, band, order) for r in part]
            events = {k: task_events(r, labels, idle) for k, r in enumerate(ready)}
            for job in _jobs(ready, split, modes, settings, labels, tmin):
                for name in pipelines:
                    yield job, name, events

    rows: list[dict[str, Any]] = []
    n_fits = sum(_count_fits(part, split, modes, settings, labels, stream) for part in parts) * len(pipelines)
    with progress.bar("pseudo-online", n_fits, show_progress) as advance:
        for name, mode, found in _run(pipelines, jobs(), settings, n_jobs):
            advance(f"{mode} {name}", 1)
            rows.extend(found)
    return ordered(pd.DataFrame(rows), settings)


def _jobs(
    recordings: list[Recording],
    split: PseudoOnlineSplit,
    modes: Sequence[str],
    settings: Settings,
    labels: Sequence[str] | None,
    tmin: float,
) -> Iterator[Job]:
    X = _sliding(recordings, settings, labels)
    folds = list(split.folds(X))
    rng = np.random.default_rng(settings.seed)
    epochs = {
        mode: offline_epochs(recordings, settings.window, tmin, labels, settings.idle, breaks=mode == "offline3")
        for mode in modes
        if mode in ("offline2", "offline3", "task_trained")
    }
    for fold in folds:
        for mode in modes:
            if mode == "leaky":
                continue
            train, test = X, X
            train_index, test_index = _training(fold, X, settings, rng), fold.test
            if mode in epochs:
                train = epochs[mode]
                single = same_times(fold, X, train)
                train_index = single.train
                if mode != "task_trained":
                    test, test_index = train, single.test
                if not len(train_index) or not len(test_index):
                    raise DataError(
                        f"No single trial fits into the training or the test time of {fold.name}; leave out mode {mode!r} or record more."
                    )
            yield Job(mode, fold.name, train[train_index].load(), _in_order(test[test_index]).load())
    if "leaky" in modes:
        for fold in LeakyFolds(random_state=settings.seed).folds(X):
            yield Job("leaky", fold.name, X[_training(fold, X, settings, rng)].load(), _in_order(X[fold.test]).load())


def _sliding(
    recordings: list[Recording], settings: Settings, labels: Sequence[str] | None, stream: str | None = None
) -> xr.DataArray:
    rule = "majority" if settings.rule == "pure" else settings.rule
    cut = {
        "length": settings.window,
        "overlap": settings.overlap,
        "rule": rule,
        "labels": labels,
        "idle": settings.idle,
    }
    return with_runs(sliding_windows(recordings, stream, **cut), recordings)  # type: ignore[arg-type]


def _count_fits(
    recordings: list[Recording],
    split: PseudoOnlineSplit,
    modes: Sequence[str],
    settings: Settings,
    labels: Sequence[str] | None,
    stream: str | None,
) -> int:
    """Fits of one pipeline; it divides the windows of the unfiltered recording, so what does not fit is refused before any work."""
    X = _sliding(recordings, settings, labels, stream)
    n_leaky = sum(1 for _ in LeakyFolds(random_state=settings.seed).folds(X)) if "leaky" in modes else 0
    return len(list(split.folds(X))) * sum(mode != "leaky" for mode in modes) + n_leaky


def _training(fold: Fold, X: xr.DataArray, settings: Settings, rng: np.random.Generator) -> ndarray:
    """Training windows that the rule and the idle subsampling leave."""
    train = fold.train
    if settings.rule == "pure":
        train = train[X["pure"].values[train]]
    if not settings.balance_idle:
        return train
    label = X["label"].values[train]
    is_idle = label == settings.idle
    _, counts = np.unique(label[~is_idle].astype(str), return_counts=True)
    idle = np.flatnonzero(is_idle)
    kept = rng.permutation(idle)[: counts.max(initial=0)]
    return np.sort(np.concatenate([train[~is_idle], train[kept]]))


def _run(
    pipelines: Mapping[str, Any],
    jobs: Iterable[tuple[Job, str, dict[int, pd.DataFrame]]],
    settings: Settings,
    n_jobs: int,
) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    if n_jobs == 1:
        yield from (fit_and_score(name, pipelines[name], job, events, settings) for job, name, events in jobs)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=n_jobs, return_as="generator", pre_dispatch="2*n_jobs")
    yield from parallel(
        delayed(fit_and_score)(name, pipelines[name], job, events, settings) for job, name, events in jobs
    )


def _in_order(X: xr.DataArray) -> xr.DataArray:
    return X[np.lexsort((X["onset"].values, X["recording"].values))]


def _by_subject(recordings: list[Recording]) -> list[list[Recording]]:
    parts: dict[str, list[Recording]] = {}
    for recording in recordings:
        parts.setdefault(recording.subject, []).append(recording)
    return list(parts.values())


def _check(
    pipelines: Mapping[str, Any], recordings: list[Recording], modes: Sequence[str], settings: Settings, filter: Any
) -> None:
    if not pipelines:
        raise UsageError("Expected one pipeline or more to evaluate, got none.")
    if not recordings:
        raise DataError("Expected one recording or more to evaluate on, got none.")
    for given, known, what in (
        (list(modes), get_args(Mode), "mode"),
        ([settings.rule], get_args(Rule), "label rule"),
        ([] if filter is None else [filter], get_args(Filter), "filter"),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise UsageError(f"There is no {what} {unknown[0]!r}; choose from {', '.join(known)}.")
    for metric in settings.metrics:
        find_metric(metric)
    without = [k for k, recording in enumerate(recordings) if recording.events.empty]
    if without:
        raise DataError(
            f"Recording {without[0]} has no events, so nobody knows what was task; add events with onset, duration and label."
        )
