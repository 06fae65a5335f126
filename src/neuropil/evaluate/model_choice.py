"""How many states, factors, communities or dimensions: candidates compared by what they say of data that they have not seen.

Held-out data are whole sequences (trials) where there are enough of them, else contiguous blocks of time; bins are never shuffled. A model
that cannot be scored on new time defines `held_out` itself (entries hidden from the fit), one with a posterior over its size may be
chosen by that instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from numpy import ndarray
from sklearn.base import clone

from neuropil.activity import Activity, read_activity
from neuropil.errors import DataError, UsageError
from neuropil.findings import Curves
from neuropil.progress import bar

CRITERIA = ("held_out", "evidence")
LEAST_BINS = 4


class Choice(NamedTuple):
    """Candidates, and the one to take.

    Attributes
    ----------
    table : DataFrame
        One row a candidate: its parameters, `score` (mean over folds, or the evidence), `standard_error`, `n_folds`, `chosen`, and
        `reason` why it could not be fitted (empty if it could).
    params : dict
        Of the candidate that was chosen.
    model : estimator or None
        Fitted with them on all data.
    folds : ndarray of shape (n_candidates, n_folds)
        Scores by fold; NaN where a fit failed.
    """

    table: pd.DataFrame
    params: dict[str, Any]
    model: Any
    folds: ndarray

    def panel(self) -> Curves:
        """Score over candidates, with bands of one standard error, as a record to draw."""
        names = [" ".join(f"{value}" for value in row) for row in self.table[list(self.params)].itertuples(index=False)]
        single = len(self.params) == 1 and all(isinstance(v, int | float) for v in self.table[next(iter(self.params))])
        x = self.table[next(iter(self.params))].to_numpy(dtype=float) if single else np.arange(len(names))
        mean, error = (
            self.table["score"].to_numpy(dtype=float),
            self.table["standard_error"].fillna(0).to_numpy(dtype=float),
        )
        label = ", ".join(self.params)
        return Curves(
            "Choice of " + label, x, {"score": mean}, label, "held-out score", {"score": (mean - error, mean + error)}
        )


def choose(
    model: Any,
    X: Any,
    grid: Mapping[str, Sequence[Any]],
    *,
    by: str = "held_out",
    n_folds: int = 4,
    sparing: bool = False,
    n_jobs: int | None = None,
    random_state: int | None = 0,
    refit: bool = True,
) -> Choice:
    """Choose a model's size, or any other of its parameters.

    Parameters
    ----------
    model : estimator
        With `fit` and a `score` that is higher for better models, a bin or an entry; it is cloned, not changed.
    X
        Whatever the model takes: arrays, streams, recordings; a tuple of them for a model of several modalities, ``model.fit(*X)``.
    grid : mapping of str to sequence
        Parameters and their candidates, all combinations of which are compared, e.g. ``{"n_states": [2, 3, 4]}``.
    by : {"held_out", "evidence"}
        Score of held-out data; or `evidence_` of the model fitted on everything (a log-posterior or negative description length).
    n_folds : int, default 4
    sparing : bool
        Take the first candidate in the order of the grid that lies within one standard error of the best, instead of the best.
    n_jobs : int, optional
        Processes; the result does not depend on it.
    random_state : int or None
        Of the folds, for models that hide entries; given to the model if it has the parameter and that is None.
    refit : bool
        Fit the chosen candidate on everything.

    Returns
    -------
    Choice

    Raises
    ------
    UsageError
        If the model has no such parameter or no score.
    DataError
        If there is too little to hold out, or no candidate could be fitted.
    """
    candidates = _candidates(model, grid)
    if by not in CRITERIA:
        raise UsageError(f"Models are chosen by {' or '.join(CRITERIA)}, got {by!r}.")
    parts: list[tuple[Any, Any]] = [(X, None)]
    if by == "held_out":
        if not hasattr(model, "score"):
            raise UsageError(f"{type(model).__name__} has no score for held-out data; choose by its evidence.")
        parts = list(folds(model, X, n_folds, random_state))
    tasks = [(clone(model).set_params(**params), *part) for params in candidates for part in parts]
    found = []
    with bar("Candidates", len(tasks)) as advance, parallel_config(backend="loky", inner_max_num_threads=1):
        for outcome in Parallel(n_jobs=n_jobs, return_as="generator")(delayed(_score)(*task) for task in tasks):
            found.append(outcome)
            advance("", 1)
    scores = np.array([score for score, _ in found]).reshape(len(candidates), len(parts))
    reasons = np.array([reason for _, reason in found], dtype=object).reshape(len(candidates), len(parts))
    why = [next((reason for reason in row if reason), "") for row in reasons]
    if not np.isfinite(scores).all(axis=1).any():
        raise DataError(
            f"None of the {len(candidates)} candidates could be fitted; the first: {why[0] or 'its score is not finite'}"
        )
    mean = scores.mean(axis=1)
    error = scores.std(axis=1, ddof=1) / np.sqrt(len(parts)) if len(parts) > 1 else np.full(len(mean), np.nan)
    best = int(np.nanargmax(mean))
    if sparing and len(parts) > 1:
        best = int(np.flatnonzero(mean >= mean[best] - error[best])[0])
    table = pd.DataFrame(candidates).assign(
        score=mean, standard_error=error, n_folds=len(parts), chosen=np.arange(len(mean)) == best, reason=why
    )
    fitted = _fit(clone(model).set_params(**candidates[best]), X) if refit else None
    return Choice(table, candidates[best], fitted, scores)


def folds(model: Any, X: Any, n_folds: int, random_state: int | None = 0) -> Iterator[tuple[Any, Any]]:
    """Training and held-out data, `n_folds` times.

    A model's own `held_out(X, n_folds, random_state)` comes first; one that takes several streams of a recording names them by
    `modalities(X)`, and trials of all of them are held out together. Else whole sequences are held out if there are `n_folds` or more, and
    contiguous blocks of every sequence otherwise; what is left of a sequence before and behind a block become sequences of their own.
    """
    if not isinstance(n_folds, int | np.integer) or n_folds < 2:
        raise UsageError(f"n_folds must be a whole number, 2 or more, got {n_folds!r}.")
    if hasattr(model, "held_out"):
        yield from model.held_out(X, n_folds, random_state)
        return
    if type(X) is not tuple and hasattr(model, "modalities"):
        X = model.modalities(X)
    if type(X) is tuple:
        for parts in zip(*(_folds(part, n_folds) for part in X if part is not None), strict=True):
            train, test = zip(*parts, strict=True)
            yield _as_given(train, X), _as_given(test, X)
    else:
        yield from _folds(X, n_folds)


def _as_given(parts: tuple[Activity, ...], X: tuple[Any, ...]) -> tuple[Activity | None, ...]:
    """The parts at the places of those that were given."""
    left = iter(parts)
    return tuple(None if part is None else next(left) for part in X)


def _folds(X: Any, n_folds: int) -> Iterator[tuple[Activity, Activity]]:
    activity = read_activity(X)
    if len(activity.sequences) >= n_folds:
        for part in np.array_split(np.arange(len(activity.sequences)), n_folds):
            inside = np.isin(np.arange(len(activity.sequences)), part)
            yield _sequences(activity, ~inside), _sequences(activity, inside)
        return
    shortest = min(activity.lengths)
    if shortest < LEAST_BINS * n_folds:
        raise DataError(
            f"Holding out {n_folds} blocks needs {LEAST_BINS * n_folds} bins of every sequence or {n_folds} sequences; the shortest of "
            f"{len(activity.sequences)} has {shortest} bins: choose fewer folds."
        )
    for k in range(n_folds):
        yield _blocks(activity, k, n_folds)


def _sequences(activity: Activity, chosen: ndarray) -> Activity:
    kept = [sequence for sequence, keep in zip(activity.sequences, chosen, strict=True) if keep]
    return activity._replace(sequences=kept, starts=activity.starts[chosen])


def _blocks(activity: Activity, k: int, n_folds: int) -> tuple[Activity, Activity]:
    rest, held, rest_starts, held_starts = [], [], [], []
    for sequence, start in zip(activity.sequences, activity.starts, strict=True):
        first, last = (len(sequence) * k) // n_folds, (len(sequence) * (k + 1)) // n_folds
        step = 1 / activity.sfreq if activity.sfreq else 1.0
        held.append(sequence[first:last])
        held_starts.append(start + first * step)
        for a, b in ((0, first), (last, len(sequence))):
            if b - a >= LEAST_BINS:
                rest.append(sequence[a:b])
                rest_starts.append(start + a * step)
    return (
        activity._replace(sequences=rest, starts=np.array(rest_starts)),
        activity._replace(sequences=held, starts=np.array(held_starts)),
    )


def _candidates(model: Any, grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    known = model.get_params()
    unknown = [name for name in grid if name not in known]
    if unknown or not grid:
        raise UsageError(
            f"{type(model).__name__} has the parameters {', '.join(known)}; got {', '.join(unknown) or 'none'} to choose."
        )
    empty = [name for name, values in grid.items() if not len(values)]
    if empty:
        raise UsageError(f"Give one candidate or more of {', '.join(empty)}.")
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _score(model: Any, train: Any, test: Any) -> tuple[float, str]:
    """Score of one candidate on one fold, and why there is none."""
    try:
        _fit(model, train)
        score = model.evidence_ if test is None else model.score(*test) if type(test) is tuple else model.score(test)
    except (DataError, UsageError) as error:
        return np.nan, str(error)
    return float(score), "" if np.isfinite(score) else "its score is not finite"


def _fit(model: Any, X: Any) -> Any:
    return model.fit(*X) if type(X) is tuple else model.fit(X)
