"""Intervals and tests of scores on one test set or over splits, and letters that say who cannot be told apart.

Nadeau & Bengio (2003). Inference for the generalization error. Machine Learning 52.
Piepho (2004). An algorithm for a letter-based representation of all-pairwise comparisons. J. Comput. Graph. Stat. 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_lowercase

import numpy as np
from numpy import ndarray

from neuropil.evaluate.metrics import Metric

RANGES = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "nmcc", "roc_auc", "calibration_error"), (0.0, 1.0)),
    **dict.fromkeys(("kappa", "mcc"), (-1.0, 1.0)),
    **dict.fromkeys(("log_loss", "itr_mi", "itr_wolpaw"), (0.0, np.inf)),
}


def clipped(metric: Metric, interval: tuple[float, float]) -> tuple[float, float]:
    """An interval without the values that the metric cannot take."""
    low, high = RANGES.get(metric.name, (-np.inf, np.inf))
    return max(interval[0], low), min(interval[1], high)


def corrected_interval(scores: ndarray, test_train_ratio: float) -> tuple[float, float]:
    """95 % interval of the mean over splits whose training sets overlap (Nadeau & Bengio 2003).

    Examples
    --------
    >>> low, high = corrected_interval(np.array([0.7, 0.8, 0.9]), 0.25)
    >>> round(low, 3), round(high, 3)
    (0.471, 1.129)
    """
    from scipy.stats import t

    n = len(scores)
    half = float(t.isf(0.025, n - 1) * scores.std(ddof=1) * np.sqrt(1 / n + test_train_ratio))
    return float(scores.mean()) - half, float(scores.mean()) + half


def swap_test(
    statistic: Callable[[ndarray], float],
    first: ndarray,
    second: ndarray,
    units: ndarray,
    n_permutations: int,
    seed: int = 0,
) -> tuple[float, ndarray]:
    """Is the difference of two decoders' scores on one test set more than chance? Their predictions are swapped at random.

    Parameters
    ----------
    statistic : callable
        Score of predictions of shape (n_windows, ...).
    first, second : ndarray of shape (n_windows, ...)
    units : ndarray of int, shape (n_windows,)
        Windows of one unit are swapped together.

    Returns
    -------
    difference : float
        Score of `first` minus score of `second`.
    null : ndarray of shape (n_permutations,)
        The same after swapping.
    """
    rng = np.random.default_rng(seed)
    observed = statistic(first) - statistic(second)
    if np.array_equal(first, second):
        return 0.0, np.zeros(n_permutations)
    n_units, shape, null = int(units.max()) + 1, (-1, *[1] * (first.ndim - 1)), np.empty(n_permutations)
    for k in range(n_permutations):
        swap = rng.integers(2, size=n_units, dtype=np.uint8).astype(bool)[units].reshape(shape)
        null[k] = statistic(np.where(swap, second, first)) - statistic(np.where(swap, first, second))
    return observed, null


def exact_pvalue(observed: float, null: ndarray) -> float:
    """Two-sided share of rearrangements at least as extreme, the observed one included."""
    return (1 + int((np.abs(null) >= abs(observed) - 1e-12).sum())) / (1 + len(null))


def normal_pvalue(observed: float, null: ndarray) -> float:
    """Two-sided, from the spread of few rearrangements; for scores that are costly to compute."""
    from scipy.stats import norm

    spread = float(np.sqrt(np.mean(null**2)))
    return 2 * float(norm.sf(abs(observed) / spread)) if spread > 0 else float(observed == 0)


def bootstrap_interval(
    statistic: Callable[[ndarray], float], strata: ndarray, units: ndarray, n_resamples: int, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a score on one test set; units are drawn with replacement within their class.

    `statistic` takes the indices of the windows drawn.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(units == unit) for unit in range(int(units.max()) + 1)]
    of_class = np.array([strata[rows[0]] for rows in members])
    pools = [np.flatnonzero(of_class == c) for c in np.unique(of_class)]
    draws = []
    for _ in range(n_resamples):
        drawn = np.concatenate([rng.choice(pool, len(pool)) for pool in pools])
        draws.append(statistic(np.concatenate([members[unit] for unit in drawn])))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def letters(order: Sequence[str], different: set[frozenset[str]]) -> dict[str, str]:
    """Letters such that two systems share one exactly if they are not different (insert and absorb).

    Piepho (2004). An algorithm for a letter-based representation of all-pairwise comparisons. J. Comput. Graph. Stat. 13.

    Examples
    --------
    >>> letters(["a", "b", "c"], {frozenset("ac")})
    {'a': 'a', 'b': 'ab', 'c': 'b'}
    """
    columns = [frozenset(order)]
    for pair in sorted(different, key=sorted):
        split: list[frozenset[str]] = []
        for column in columns:
            split += [column - {member} for member in sorted(pair)] if pair <= column else [column]
        columns = [c for c in dict.fromkeys(split) if not any(c < other for other in split)]
    columns.sort(key=lambda column: sorted(order.index(member) for member in column))
    names = [ascii_lowercase[k % 26] * (k // 26 + 1) for k in range(len(columns))]
    return {
        system: "".join(n for n, column in zip(names, columns, strict=True) if system in column) for system in order
    }
