"""Is one system better than another? Paired tests that respect where the pairs come from.

- Splits of one data set share training data: `corrected_t_test` and `pairwise` (Nadeau & Bengio).
- Subjects are independent: `paired_test`, exact over all sign flips for up to 13 pairs and Wilcoxon's signed ranks beyond.
- Several data sets: `combine_datasets`, an effect size for each and one p-value.

Nadeau & Bengio (2003). Inference for the generalization error. Machine Learning 52, 239-281.
Jayaram & Barachant (2018). MOABB: trustworthy algorithm benchmarking for BCIs. Journal of Neural Engineering 15(6), 066011.
Edgington & Onghena (2007). Randomization tests, 4th edition.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.stats.combination import holm, stouffer

Alternative = Literal["two-sided", "greater", "less"]

MAX_EXACT_PAIRS = 13
ROUNDING = 1e-12


class PairedTest(NamedTuple):
    r"""A test of paired differences :math:`d_1 \dots d_n` against :math:`H_0`: they are symmetric about 0.

    Attributes
    ----------
    mean : float
        :math:`\bar d = \frac1n \sum_i d_i`.
    statistic : float
        Sign flips and the corrected t-test: :math:`\bar d` and :math:`t`. Wilcoxon: :math:`W^+`, the rank sum of the positive ones
        (:math:`\min(W^+, W^-)` if two-sided).
    pvalue : float
        :math:`P(T \text{ at least as extreme as observed} \mid H_0)` in the direction of the alternative.
    n : int
        Number of pairs.
    method : str
        "sign flip", "Wilcoxon" or "corrected t".
    """

    mean: float
    statistic: float
    pvalue: float
    n: int
    method: str


class PairwiseDifference(NamedTuple):
    r"""System `first` against system `second` over the same splits.

    Attributes
    ----------
    first, second : int
        Columns of the scores.
    difference : float
        :math:`\bar d`, the mean over splits of (score of `first` - score of `second`).
    low, high : float
        :math:`\bar d \mp t_{n-1} \hat\sigma \sqrt{1/n + n_\mathrm{test}/n_\mathrm{train}}`, the corrected 95 % interval.
    statistic : float
        :math:`t = \bar d \,/\, (\hat\sigma \sqrt{1/n + n_\mathrm{test}/n_\mathrm{train}})`.
    pvalue : float
        :math:`P(|t_{n-1}| \ge |t|)`, two-sided, of this comparison alone.
    pvalue_holm : float
        The same, corrected for all pairs: rejecting where it is at most alpha keeps P(any false rejection) at most alpha.
    effect_size : float
        :math:`\bar d / \hat\sigma`, the standardised mean difference over splits.
    """

    first: int
    second: int
    difference: float
    low: float
    high: float
    statistic: float
    pvalue: float
    pvalue_holm: float
    effect_size: float


class CombinedTest(NamedTuple):
    r"""Evidence of several data sets for "the first system is better", weighted by :math:`w_k = \sqrt{n_k}`.

    Attributes
    ----------
    statistic : float
        Stouffer's :math:`Z = \sum_k w_k z_k / \sqrt{\sum_k w_k^2}`, :math:`z_k = \Phi^{-1}(1 - p_k)`; standard normal under :math:`H_0`.
    pvalue : float
        One-sided, :math:`1 - \Phi(Z)`.
    effect_size : float
        :math:`\sum_k w_k d_k / \sum_k w_k`, the weighted mean of the standardised mean differences.
    pvalues, effect_sizes : tuple of float
        :math:`p_k` (one-sided) and :math:`d_k` of every data set.
    """

    statistic: float
    pvalue: float
    effect_size: float
    pvalues: tuple[float, ...]
    effect_sizes: tuple[float, ...]


def standardised_mean_difference(differences: Real[ndarray, " pair"]) -> float:
    """Mean of paired differences over their standard deviation (n - 1), Cohen's d_z; 0 if all are 0, infinite if all are equal.

    Examples
    --------
    >>> import numpy as np
    >>> standardised_mean_difference(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    differences = _check_differences(differences)
    return _ratio(float(differences.mean()), _spread(differences))


def sign_flip_test(differences: Real[ndarray, " pair"], alternative: Alternative = "two-sided") -> PairedTest:
    """Exact permutation test of the mean of paired differences over all 2^n ways to swap the two members of a pair.

    Its smallest one-sided p-value is 2^-n: four pairs can never reach 0.05 two-sided.

    Parameters
    ----------
    differences : ndarray of shape (n_pairs,)
        Two to 13 pairs.
    alternative : {"two-sided", "greater", "less"}, default "two-sided"

    Examples
    --------
    >>> import numpy as np
    >>> sign_flip_test(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), "greater").pvalue
    0.03125
    """
    differences = _check_differences(differences)
    _check_alternative(alternative)
    n = len(differences)
    if n > MAX_EXACT_PAIRS:
        raise UsageError(
            f"The exact test runs through 2^n swaps and takes up to {MAX_EXACT_PAIRS} pairs, got {n}; use wilcoxon_test."
        )
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    swapped, observed = signs @ differences, float(differences.sum())
    rounding = ROUNDING * float(np.abs(differences).sum())
    if alternative == "two-sided":
        extreme = np.abs(swapped) >= abs(observed) - rounding
    elif alternative == "greater":
        extreme = swapped >= observed - rounding
    else:
        extreme = swapped <= observed + rounding
    return PairedTest(observed / n, observed / n, float(extreme.mean()), n, "sign flip")


def wilcoxon_test(differences: Real[ndarray, " pair"], alternative: Alternative = "two-sided") -> PairedTest:
    """Wilcoxon's signed-rank test of paired differences; pairs without a difference are left out (p = 1 if all are).

    Parameters
    ----------
    differences : ndarray of shape (n_pairs,)
    alternative : {"two-sided", "greater", "less"}, default "two-sided"
    """
    from scipy.stats import wilcoxon

    differences = _check_differences(differences)
    _check_alternative(alternative)
    mean, n = float(differences.mean()), len(differences)
    if not differences.any():
        return PairedTest(mean, 0.0, 1.0, n, "Wilcoxon")
    result = wilcoxon(differences, alternative=alternative)
    return PairedTest(mean, float(result.statistic), float(result.pvalue), n, "Wilcoxon")


def paired_test(differences: Real[ndarray, " pair"], alternative: Alternative = "two-sided") -> PairedTest:
    """Test of differences between independent pairs (subjects): `sign_flip_test` up to 13 pairs, `wilcoxon_test` beyond.

    Parameters
    ----------
    differences : ndarray of shape (n_pairs,)
        Score of the first system minus score of the second, one per subject.
    alternative : {"two-sided", "greater", "less"}, default "two-sided"
        "greater": the first system is better.
    """
    exact = len(differences) <= MAX_EXACT_PAIRS
    return sign_flip_test(differences, alternative) if exact else wilcoxon_test(differences, alternative)


def corrected_t_test(
    differences: Real[ndarray, " split"], test_train_ratio: float, alternative: Alternative = "two-sided"
) -> PairedTest:
    r"""Corrected resampled t-test of differences over splits of one data set, whose training sets overlap.

    Scores of such splits are correlated, and a plain t-test takes repetitions for evidence: with enough splits it finds a
    difference anywhere. The variance of the mean is estimated as :math:`(1/n + n_{test}/n_{train}) \hat\sigma^2`, with n - 1 degrees of
    freedom; more splits then narrow the interval only down to the second term.

    Parameters
    ----------
    differences : ndarray of shape (n_splits,)
        Two splits or more.
    test_train_ratio : float
        Size of the test set over size of the training set: 1/(k - 1) for k folds.
    alternative : {"two-sided", "greater", "less"}, default "two-sided"

    Notes
    -----
    Differences without any spread give t = 0 and p = 1 if they are all 0, and an infinite t with p = 0 if not.
    """
    from scipy.stats import t as student

    differences = _check_differences(differences)
    _check_alternative(alternative)
    mean, error = float(differences.mean()), _corrected_error(differences, test_train_ratio)
    statistic, dof = _ratio(mean, error), len(differences) - 1
    if mean == 0 and error == 0:
        pvalue = 1.0
    elif alternative == "two-sided":
        pvalue = 2 * float(student.sf(abs(statistic), dof))
    else:
        pvalue = float(student.sf(statistic if alternative == "greater" else -statistic, dof))
    return PairedTest(mean, statistic, pvalue, len(differences), "corrected t")


def pairwise(scores: Real[ndarray, "split system"], test_train_ratio: float) -> list[PairwiseDifference]:
    """Compare every two systems over the same splits of one data set, corrected for overlapping training sets and for their number.

    Parameters
    ----------
    scores : ndarray of shape (n_splits, n_systems)
        One score per split and system; two of each or more, none missing.
    test_train_ratio : float
        Size of the test set over size of the training set.

    Returns
    -------
    list of PairwiseDifference
        For systems 0-1, 0-2, ..., 1-2, ...; a positive difference means that `first` scores higher.

    Examples
    --------
    >>> import numpy as np
    >>> only = pairwise(np.array([[0.8, 0.7], [0.9, 0.7], [0.7, 0.6]]), test_train_ratio=0.5)
    >>> len(only), round(only[0].difference, 3)
    (1, 0.133)
    """
    from scipy.stats import t as student

    if scores.ndim != 2 or scores.shape[1] < 2:
        raise DataError(
            f"A comparison needs scores of shape (splits, systems) with two systems or more, got shape {scores.shape}."
        )
    pairs = list(combinations(range(scores.shape[1]), 2))
    differences = [scores[:, first].astype(np.float64) - scores[:, second] for first, second in pairs]
    tests = [corrected_t_test(d, test_train_ratio) for d in differences]
    adjusted = holm(np.array([test.pvalue for test in tests]))
    quantile = float(student.isf(0.025, len(scores) - 1))
    results = []
    for (first, second), d, test, pvalue_holm in zip(pairs, differences, tests, adjusted.tolist(), strict=True):
        half = quantile * _corrected_error(d, test_train_ratio)
        results.append(
            PairwiseDifference(
                first,
                second,
                test.mean,
                test.mean - half,
                test.mean + half,
                test.statistic,
                test.pvalue,
                pvalue_holm,
                standardised_mean_difference(d),
            )
        )
    return results


def combine_datasets(differences: Sequence[Real[ndarray, " _"]]) -> CombinedTest:
    """Is the first system better over several data sets? A paired test and effect size for each, combined with weights sqrt(n).

    Parameters
    ----------
    differences : sequence of ndarray, each of shape (n_subjects,)
        Score of the first system minus score of the second per subject, one array a data set.
    """
    if not len(differences):
        raise DataError("Expected the differences of one data set or more, got none.")
    tests = [paired_test(d, "greater") for d in differences]
    effects = [standardised_mean_difference(d) for d in differences]
    n_subjects = np.array([test.n for test in tests])
    pvalues = np.array([test.pvalue for test in tests])
    statistic, pvalue = stouffer(pvalues, n_subjects)
    effect = float(np.average(effects, weights=np.sqrt(n_subjects)))
    return CombinedTest(statistic, pvalue, effect, tuple(pvalues.tolist()), tuple(effects))


def _corrected_error(differences: ndarray, test_train_ratio: float) -> float:
    if not (test_train_ratio >= 0 and np.isfinite(test_train_ratio)):
        raise UsageError(
            f"test_train_ratio is the test set's size over the training set's, 0.25 for five folds; got {test_train_ratio}."
        )
    return float(np.sqrt(1 / len(differences) + test_train_ratio) * _spread(differences))


def _spread(differences: ndarray) -> float:
    """Standard deviation (n - 1), 0 where there is nothing but rounding."""
    spread = float(differences.std(ddof=1))
    return spread if spread > ROUNDING * float(np.abs(differences).max()) else 0.0


def _ratio(numerator: float, denominator: float) -> float:
    """Their quotient with 0/0 = 0."""
    if denominator == 0:
        return 0.0 if numerator == 0 else float(np.copysign(np.inf, numerator))
    return numerator / denominator


def _check_differences(differences: ndarray) -> ndarray:
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 1 or len(differences) < 2:
        raise DataError(
            f"A paired test needs one difference a pair and two pairs or more, got shape {differences.shape}."
        )
    if not np.isfinite(differences).all():
        raise DataError(
            "A paired test needs finite differences, got NaN or infinity; leave out no pair, find out why a score is missing."
        )
    return differences


def _check_alternative(alternative: str) -> None:
    if alternative not in ("two-sided", "greater", "less"):
        raise UsageError(f"alternative must be 'two-sided', 'greater' or 'less', got {alternative!r}.")
