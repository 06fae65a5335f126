"""Independent starts of a fit, in parallel, of which the best is kept and all scores are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.progress import bar

LARGEST_SEED = 2**31 - 1


class Restarts(NamedTuple):
    """Several starts of one fit.

    Attributes
    ----------
    best : object
        What the start of the highest score gave.
    scores : ndarray of shape (n_init,)
        Of all starts, in the order of their seeds; NaN is never the best.
    seeds : ndarray of int, shape (n_init,)
    """

    best: Any
    scores: ndarray
    seeds: ndarray


def best_of(
    fit_one: Callable[[int], tuple[Any, float]],
    n_init: int,
    random_state: int | None = None,
    *,
    n_jobs: int | None = None,
    title: str = "Restarts",
) -> Restarts:
    """Fit from several seeds and keep the best.

    Parameters
    ----------
    fit_one : callable
        ``fit_one(seed) -> (fitted, score)``; higher scores are better. With several processes it has to be picklable.
    n_init : int
        Number of starts.
    random_state : int or None
        The first start uses this seed itself, the others seeds drawn from it.
    n_jobs : int, optional
        Processes, as in scikit-learn; one by default. The result does not depend on it.

    Raises
    ------
    UsageError
        If `n_init` is less than one, or no start has a finite score.

    Examples
    --------
    >>> found = best_of(lambda seed: (f"from {seed}", -abs(seed - 3.0)), 1, 3)
    >>> found.best, found.scores.tolist()
    ('from 3', [-0.0])
    """
    if not isinstance(n_init, int | np.integer) or n_init < 1:
        raise UsageError(f"n_init must be a whole number of starts, 1 or more, got {n_init!r}.")
    seeds = start_seeds(n_init, random_state)
    done: list[tuple[Any, float]] = []
    with bar(title, n_init, None if n_init > 1 else False) as advance:
        for outcome in _outcomes(fit_one, seeds, n_jobs):
            done.append(outcome)
            advance(f"score {outcome[1]:.6g}", 1)
    scores = np.array([score for _, score in done], dtype=float)
    if not np.isfinite(scores).any():
        raise UsageError(
            f"None of the {n_init} starts came to a finite score; scale the data or lower the learning rate."
        )
    best = int(np.nanargmax(np.where(np.isfinite(scores), scores, -np.inf)))
    return Restarts(done[best][0], scores, seeds)


def start_seeds(n_init: int, random_state: int | None) -> ndarray:
    """One seed a start; the first is `random_state` itself.

    Examples
    --------
    >>> start_seeds(3, 7)[0]
    np.int64(7)
    """
    rng = np.random.default_rng(random_state)
    first = rng.integers(LARGEST_SEED) if random_state is None else int(random_state)
    return np.array([first, *rng.integers(LARGEST_SEED, size=n_init - 1)], dtype=np.int64)


def _outcomes(fit_one: Callable[[int], tuple[Any, float]], seeds: ndarray, n_jobs: int | None) -> Any:
    tasks = [int(seed) for seed in seeds]
    if effective_n_jobs(n_jobs) == 1 or len(tasks) == 1:
        return map(fit_one, tasks)
    with parallel_config(backend="loky", inner_max_num_threads=1):
        return Parallel(n_jobs=n_jobs, return_as="generator")(delayed(fit_one)(seed) for seed in tasks)
