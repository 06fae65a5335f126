"""How sure a figure is: intervals of a mean, of a rate, and what a decoder would score by chance.

The unit that is resampled is the independent one: a subject, a seed, a trial; never an overlapping window. Predictions of windows that
follow each other are compared with labels that keep their order in time (`rotate_within`), those of independent trials with labels in
any order (`permute_within`), both within the groups (subjects, runs) whose level differs.

Clopper & Pearson (1934). The use of confidence or fiducial limits illustrated in the case of the binomial. Biometrika 26.
Efron (1987). Better bootstrap confidence intervals. Journal of the American Statistical Association 82.
Müller-Putz, Scherer, Brunner, Leeb & Pfurtscheller (2008). Better than random? International Journal of Bioelectromagnetism 10.
Phipson & Smyth (2010). Permutation p-values should never be zero. Statistical Applications in Genetics and Molecular Biology 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real, Shaped
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import DataError, UsageError

N_RESAMPLES = 2000


class Interval(NamedTuple):
    r"""A confidence interval.

    Attributes
    ----------
    estimate : float
        :math:`\hat\theta`, the mean (or rate) of what was observed.
    low, high : float
        Bounds with :math:`P(\mathrm{low} \le \theta \le \mathrm{high}) = \mathrm{confidence}` over repetitions of the experiment.
    n : int
        Number of independent observations.
    confidence : float
        Nominal coverage.
    """

    estimate: float
    low: float
    high: float
    n: int
    confidence: float


class ChanceTest(NamedTuple):
    r"""A score against its distribution when labels and predictions have nothing to do with each other.

    Attributes
    ----------
    observed : float
        :math:`s_0 = s(y, \hat y)`.
    mean : float
        :math:`E[s(\pi y, \hat y)]`, the chance level, over rearrangements :math:`\pi`.
    low, high : float
        Central interval of the null scores with coverage `confidence`.
    pvalue : float
        One-sided, :math:`(1 + \#\{b : s_b \ge s_0\}) / (1 + B)` (:math:`\le` where smaller is better); at least 1/(1 + B).
    null : ndarray of shape (n_permutations,)
        The null scores :math:`s_b`.
    """

    observed: float
    mean: float
    low: float
    high: float
    pvalue: float
    null: Float[ndarray, " permutation"]


def student_interval(values: Real[ndarray, " unit"], confidence: float = 0.95) -> Interval:
    """Interval of a mean after Student: mean +- t(n - 1) SD / sqrt(n). The one to use for a few seeds or subjects.

    Parameters
    ----------
    values : ndarray of shape (n_units,)
        One figure per independent unit, two units or more.
    confidence : float, default 0.95

    Examples
    --------
    >>> import numpy as np
    >>> interval = student_interval(np.array([0.7, 0.8, 0.9]))
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.552, 1.048)
    """
    from scipy.stats import t

    values = _check_values(values, confidence)
    mean = float(values.mean())
    half = float(t.isf((1 - confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half, len(values), confidence)


def bootstrap_interval(
    values: Real[ndarray, " unit"],
    confidence: float = 0.95,
    *,
    n_resamples: int = N_RESAMPLES,
    random_state: int | Generator | None = 0,
) -> Interval:
    """Interval of a mean by the bias-corrected and accelerated bootstrap. For skewed figures of ten units or more.

    With fewer units resampling knows too little of the tails and the interval is too narrow: use `student_interval`.

    Parameters
    ----------
    values : ndarray of shape (n_units,)
        One figure per independent unit, two units or more.
    confidence : float, default 0.95
    n_resamples : int, default 2000
    random_state : int, Generator or None, default 0
    """
    from scipy.stats import bootstrap

    values = _check_values(values, confidence)
    mean = float(values.mean())
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean, len(values), confidence)
    low, high = bootstrap(
        (values,),
        np.mean,
        n_resamples=n_resamples,
        confidence_level=confidence,
        method="BCa",
        vectorized=True,
        rng=default_rng(random_state),
    ).confidence_interval
    return Interval(mean, float(low), float(high), len(values), confidence)


def binomial_interval(n_right: int, n_total: int, confidence: float = 0.95) -> Interval:
    """Exact interval of a rate after Clopper and Pearson: covers at least `confidence` at every true rate.

    Parameters
    ----------
    n_right, n_total : int
        Number of right ones among independent trials.
    confidence : float, default 0.95

    Examples
    --------
    >>> interval = binomial_interval(10, 10)
    >>> round(interval.low, 3), interval.high
    (0.692, 1.0)
    """
    from scipy.stats import beta

    _check_confidence(confidence)
    if not 0 <= n_right <= n_total or n_total < 1:
        raise UsageError(f"A rate needs 0 <= n_right <= n_total with n_total > 0, got {n_right} of {n_total}.")
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, n_right, n_total - n_right + 1)) if n_right else 0.0
    high = float(beta.isf(tail, n_right + 1, n_total - n_right)) if n_right < n_total else 1.0
    return Interval(n_right / n_total, low, high, n_total, confidence)


def binomial_threshold(n_trials: int, chance: float, alpha: float = 0.05) -> float:
    """Smallest accuracy of `n_trials` independent trials that a decoder at `chance` reaches with a probability of at most `alpha`.

    Parameters
    ----------
    n_trials : int
    chance : float
        Accuracy without information, between 0 and 1: 1/n_classes for balanced classes.
    alpha : float, default 0.05
        One-sided level.

    Returns
    -------
    float
        An accuracy; above 1 where no result can be significant.

    Examples
    --------
    >>> binomial_threshold(40, 0.5)
    0.65
    """
    from scipy.stats import binom

    if n_trials < 1 or not 0 < chance < 1 or not 0 < alpha < 1:
        raise UsageError(f"Expected n_trials > 0 and chance, alpha in (0, 1), got {n_trials}, {chance} and {alpha}.")
    return (float(binom.isf(alpha, n_trials, chance)) + 1) / n_trials


def permute_within(
    labels: Shaped[ndarray, " unit"], groups: Shaped[ndarray, " unit"] | None, rng: Generator
) -> Shaped[ndarray, " unit"]:
    """Labels in random order within every group: exchangeable, that is independent, units."""
    out = labels.copy()
    for rows in _rows_of(groups, len(labels)):
        out[rows] = labels[rng.permutation(rows)]
    return out


def rotate_within(
    labels: Shaped[ndarray, " unit"], groups: Shaped[ndarray, " unit"] | None, rng: Generator
) -> Shaped[ndarray, " unit"]:
    """Labels shifted in time by a random number of units within every group, the end coming round to the start.

    For units that follow each other in time and depend on their neighbours (sliding windows): the labels keep their runs, so that chance
    agreement of two slow sequences is counted as chance. A group needs to be long against the dependence.
    """
    out = labels.copy()
    for rows in _rows_of(groups, len(labels)):
        out[rows] = np.roll(labels[rows], int(rng.integers(len(rows))))
    return out


def permutation_chance(
    score: Callable[[ndarray, ndarray], float],
    y_true: Shaped[ndarray, " unit"],
    y_pred: Shaped[ndarray, "unit ..."],
    groups: Shaped[ndarray, " unit"] | None = None,
    *,
    rearrange: Callable[[ndarray, ndarray | None, Generator], ndarray] = permute_within,
    n_permutations: int = 1000,
    greater_is_better: bool = True,
    confidence: float = 0.95,
    random_state: int | Generator | None = 0,
) -> ChanceTest:
    """Chance level of predictions: the score against labels rearranged within groups.

    The predictions stay as they are, so it tests whether they say anything about the labels; a leak from training into test shows
    only if the decoder is trained on rearranged labels.

    Parameters
    ----------
    score : callable
        ``score(y_true, y_pred) -> float``.
    y_true : ndarray of shape (n_units,)
    y_pred : ndarray of shape (n_units, ...)
        Labels, or probabilities with one row per unit.
    groups : ndarray of shape (n_units,), optional
        Subject, session or run of every unit; labels stay in their group.
    rearrange : callable, default permute_within
        ``rearrange(labels, groups, rng) -> labels``. `rotate_within` for windows in order of time.
    n_permutations : int, default 1000
    greater_is_better : bool, default True
    confidence : float, default 0.95
        Coverage of the interval of the null scores.
    random_state : int, Generator or None, default 0

    References
    ----------
    Ojala & Garriga (2010). Permutation tests for studying classifier performance. Journal of Machine Learning Research 11.
    """
    _check_confidence(confidence)
    if n_permutations < 1:
        raise UsageError(f"A permutation test needs one permutation or more, got n_permutations={n_permutations}.")
    if len(y_true) != len(y_pred) or (groups is not None and len(groups) != len(y_true)):
        raise DataError(
            f"Labels, predictions and groups must be one a unit, got {len(y_true)}, {len(y_pred)} and "
            f"{'none' if groups is None else len(groups)}."
        )
    if len(np.unique(y_true)) < 2:
        raise DataError("A chance level needs two different labels or more; with one there is nothing to rearrange.")
    rng = default_rng(random_state)
    observed = float(score(y_true, y_pred))
    null = np.array([score(rearrange(y_true, groups, rng), y_pred) for _ in range(n_permutations)], dtype=np.float64)
    rounding = 1e-12 * max(1.0, abs(observed))
    as_good = null >= observed - rounding if greater_is_better else null <= observed + rounding
    low, high = np.quantile(null, [(1 - confidence) / 2, (1 + confidence) / 2])
    pvalue = (1 + int(as_good.sum())) / (1 + n_permutations)
    return ChanceTest(observed, float(null.mean()), float(low), float(high), pvalue, null)


def _rows_of(groups: ndarray | None, n_units: int) -> list[Int[ndarray, " row"]]:
    if groups is None:
        return [np.arange(n_units)]
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])


def _check_values(values: ndarray, confidence: float) -> ndarray:
    _check_confidence(confidence)
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise DataError(f"An interval needs one figure a unit and two units or more, got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise DataError("An interval needs finite figures, got NaN or infinity; find out why a unit has no score.")
    return values


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"A confidence lies between 0 and 1, exclusive, got {confidence}; 0.95 means 95 %.")
