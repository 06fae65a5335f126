"""Paired tests: hand values, agreement with scipy, and the rate of false alarms by simulation."""

from inspect import unwrap
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as reference

from neuropil.errors import DataError, UsageError
from neuropil.stats.combination import holm, stouffer
from neuropil.stats.tests_of_difference import (
    combine_datasets,
    corrected_t_test,
    paired_test,
    pairwise,
    sign_flip_test,
    standardised_mean_difference,
    wilcoxon_test,
)

differences = arrays(np.float64, st.integers(2, 9), elements=st.floats(-100, 100).map(lambda x: round(x, 3)))
directions = st.sampled_from(["two-sided", "greater", "less"])


class TestSignFlip:
    def test_by_hand(self):
        """Of the 8 sums +-1 +-2 +-4, two are at least 5 and three at least 3: d = (1, 2, 4) sums to 7, (-1, 2, 4) to 5."""
        assert sign_flip_test(np.array([1.0, 2.0, 4.0]), "greater").pvalue == 1 / 8
        assert sign_flip_test(np.array([-1.0, 2.0, 4.0]), "greater").pvalue == 2 / 8
        assert sign_flip_test(np.array([-1.0, 2.0, 4.0])).pvalue == 4 / 8
        assert sign_flip_test(np.array([1.0, -2.0, 4.0]), "greater").pvalue == 3 / 8

    @given(differences, directions)
    def test_is_scipys_exact_permutation(self, d, alternative):
        ours = sign_flip_test(d, alternative).pvalue
        rounded = np.round(d * 1000)
        exact = reference.permutation_test(
            (rounded,), np.sum, permutation_type="samples", alternative=alternative, n_resamples=np.inf
        ).pvalue
        assert ours == pytest.approx(exact)

    @given(differences)
    def test_symmetries(self, d):
        up, down, both = (sign_flip_test(d, a).pvalue for a in ("greater", "less", "two-sided"))
        assert sign_flip_test(-d, "less").pvalue == up
        assert sign_flip_test(d[::-1].copy(), "greater").pvalue == up
        assert sign_flip_test(3 * d).pvalue == both
        assert up + down >= 1
        assert 2.0 ** -len(d) <= min(up, down)

    def test_ties_by_rounding_count(self):
        """0.1 + 0.2 is not 0.3 in floating point; the swaps that lead to either must count alike."""
        d = np.array([0.1, 0.2, -0.3])
        extreme = np.mean([np.dot(s, [1, 2, -3]) >= 0 for s in product([-1, 1], repeat=3)])
        assert sign_flip_test(d, "greater").pvalue == extreme

    def test_too_many_pairs(self):
        with pytest.raises(UsageError, match="up to 13 pairs, got 14; use wilcoxon_test"):
            sign_flip_test(np.arange(14.0))


class TestWilcoxon:
    def test_is_scipys(self):
        d = np.random.default_rng(0).standard_normal(20) + 0.3
        for alternative in ("two-sided", "greater", "less"):
            assert wilcoxon_test(d, alternative).pvalue == reference.wilcoxon(d, alternative=alternative).pvalue

    def test_no_difference_at_all(self):
        assert wilcoxon_test(np.zeros(20)).pvalue == 1.0

    def test_paired_test_changes_over_after_thirteen_pairs(self):
        d = np.random.default_rng(1).standard_normal(14)
        assert paired_test(d[:13]).method == "sign flip"
        assert paired_test(d).method == "Wilcoxon"

    @pytest.mark.parametrize("n_pairs", [8, 20])
    def test_false_alarms_keep_their_rate(self, n_pairs):
        d = np.random.default_rng(2).standard_normal((400, n_pairs))
        rate = np.mean([paired_test(row).pvalue <= 0.05 for row in d])
        assert 0.02 < rate < 0.08


def scores_over_random_splits(rng, n_data_sets, n_windows=60, n_splits=15, test_share=0.2):
    """Squared errors of two predictors, each the training mean of its own column; the columns have the same distribution."""
    n_test = int(n_windows * test_share)
    out = np.empty((n_data_sets, n_splits))
    for k in range(n_data_sets):
        x = rng.standard_normal((n_windows, 2))
        order = np.argsort(rng.random((n_splits, n_windows)), axis=1)
        test, train = x[order[:, :n_test]], x[order[:, n_test:]]
        loss = np.mean((test - train.mean(axis=1, keepdims=True)) ** 2, axis=1)
        out[k] = loss[:, 0] - loss[:, 1]
    return out, n_test / (n_windows - n_test)


class TestCorrectedT:
    def test_without_test_set_it_is_the_paired_t_test(self):
        d = np.random.default_rng(3).standard_normal(9) + 0.4
        for alternative in ("two-sided", "greater", "less"):
            expected = reference.ttest_1samp(d, 0, alternative=alternative)
            ours = corrected_t_test(d, 0.0, alternative)
            assert (ours.statistic, ours.pvalue) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))

    def test_by_hand(self):
        """d = (1, 2, 3), ratio 1/4: t = 2 / sqrt((1/3 + 1/4) 1) = 2.6186."""
        assert corrected_t_test(np.array([1.0, 2.0, 3.0]), 0.25).statistic == pytest.approx(2 / np.sqrt(7 / 12))

    def test_false_alarms_over_overlapping_splits(self):
        """Two equal systems: the plain test finds a difference in far more than one data set of twenty, the corrected does not."""
        d, ratio = scores_over_random_splits(np.random.default_rng(4), 500)
        plain = np.mean([corrected_t_test(row, 0.0).pvalue <= 0.05 for row in d])
        corrected = np.mean([corrected_t_test(row, ratio).pvalue <= 0.05 for row in d])
        assert plain > 0.25
        assert corrected < 0.08

    def test_more_splits_of_the_same_data_are_no_evidence(self):
        d = np.random.default_rng(5).standard_normal(10) + 0.5
        assert corrected_t_test(np.tile(d, 100), 0.25).statistic < 1.6 * corrected_t_test(d, 0.25).statistic
        assert corrected_t_test(np.tile(d, 100), 0.0).statistic > 9 * corrected_t_test(d, 0.0).statistic

    def test_no_spread(self):
        zero, constant = corrected_t_test(np.zeros(5), 0.25), corrected_t_test(np.full(5, 0.1), 0.25)
        assert (zero.statistic, zero.pvalue) == (0.0, 1.0)
        assert (constant.statistic, constant.pvalue) == (np.inf, 0.0)
        assert corrected_t_test(np.full(5, -0.1), 0.25, "greater").pvalue == 1.0

    def test_messages(self):
        with pytest.raises(UsageError, match=r"0\.25 for five folds; got -1"):
            corrected_t_test(np.arange(3.0), -1.0)
        with pytest.raises(DataError, match="two pairs or more, got shape"):
            corrected_t_test(np.ones(1), 0.25)
        with pytest.raises(DataError, match="find out why a score is missing"):
            paired_test(np.array([1.0, np.nan]))
        with pytest.raises(UsageError, match="'greater' or 'less', got 'bigger'"):
            unwrap(corrected_t_test)(np.arange(3.0), 0.25, "bigger")


class TestPairwise:
    scores = np.random.default_rng(6).normal([0.7, 0.72, 0.8], 0.03, size=(10, 3))

    def test_every_pair_once_and_holm_over_them(self):
        results = pairwise(self.scores, 1 / 9)
        assert [(r.first, r.second) for r in results] == [(0, 1), (0, 2), (1, 2)]
        np.testing.assert_allclose([r.pvalue_holm for r in results], holm(np.array([r.pvalue for r in results])))
        for r in results:
            d = self.scores[:, r.first] - self.scores[:, r.second]
            assert r.difference == pytest.approx(d.mean())
            assert r.effect_size == pytest.approx(d.mean() / d.std(ddof=1))
            assert r.pvalue == corrected_t_test(d, 1 / 9).pvalue

    def test_interval_excludes_zero_just_where_p_is_below_five_percent(self):
        rng = np.random.default_rng(7)
        for _ in range(50):
            for r in pairwise(rng.normal([0.0, 0.8, 0.4], 1.0, size=(10, 3)), 0.25):
                assert (r.low > 0 or r.high < 0) == (r.pvalue < 0.05)

    def test_swapping_systems_swaps_the_sign(self):
        ab, ba = pairwise(self.scores[:, :2], 0.25)[0], pairwise(self.scores[:, 1::-1].copy(), 0.25)[0]
        assert (ba.difference, ba.low, ba.high) == (-ab.difference, -ab.high, -ab.low)
        assert ba.pvalue == ab.pvalue

    def test_messages(self):
        with pytest.raises(DataError, match=r"two systems or more, got shape \(5, 1\)"):
            pairwise(np.ones((5, 1)), 0.25)
        with pytest.raises(DataError, match="finite differences"):
            pairwise(np.array([[1.0, np.nan], [1.0, 2.0]]), 0.25)


class TestCombination:
    def test_holm_by_hand(self):
        """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 raised to its predecessor's 0.06."""
        np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
        np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1.0, 1.0])
        np.testing.assert_allclose(holm(np.array([0.2])), [0.2])

    @given(arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1)))
    def test_holm_lies_between_nothing_and_bonferroni_and_keeps_the_order(self, p):
        adjusted = holm(p)
        assert (adjusted >= p).all()
        assert (adjusted <= np.minimum(1, p * len(p)) + 1e-15).all()
        assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()

    def test_holm_keeps_the_family_wise_error(self):
        p = np.random.default_rng(8).random((2000, 6))
        assert np.mean([holm(row).min() <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.015)

    def test_stouffer_is_scipys_with_weights(self):
        p, n = np.array([0.04, 0.2, 0.6]), np.array([9, 20, 14])
        expected = reference.combine_pvalues(p, method="stouffer", weights=np.sqrt(n))
        assert stouffer(p, n) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))

    def test_a_worst_possible_p_is_answered_by_a_best_possible_one(self):
        z, p = stouffer(np.array([1.0, 2.0**-8]), np.array([8, 8]))
        assert (z, p) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.5))

    def test_very_many_subjects(self):
        z, p = stouffer(np.array([1.0, 0.0]), np.array([5000, 5000]))
        assert (z, p) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.5))

    @given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6), st.integers(0, 2**31))
    def test_turning_every_data_set_round_turns_the_verdict_round(self, values, seed):
        p, n = np.array(values), np.random.default_rng(seed).integers(10, 40, size=len(values))
        assert stouffer(1 - p, n)[0] == pytest.approx(-stouffer(p, n)[0], abs=1e-9)

    def test_data_sets_that_agree_add_up(self):
        rng = np.random.default_rng(9)
        sets = [rng.normal(0.5, 1.0, size=n) for n in (9, 12, 25)]
        combined = combine_datasets(sets)
        assert combined.pvalue < min(combined.pvalues)
        weights = np.sqrt([9, 12, 25])
        effects = [d.mean() / d.std(ddof=1) for d in sets]
        assert combined.effect_sizes == pytest.approx(effects)
        assert combined.effect_size == pytest.approx(weights @ effects / weights.sum())

    def test_standardised_mean_difference_without_spread(self):
        assert standardised_mean_difference(np.zeros(3)) == 0.0
        assert standardised_mean_difference(np.full(3, -0.1)) == -np.inf

    def test_messages(self):
        with pytest.raises(DataError, match="between 0 and 1"):
            holm(np.array([0.1, np.nan]))
        with pytest.raises(DataError, match="1 or more, got"):
            stouffer(np.array([0.1]), np.array([0]))
        with pytest.raises(DataError, match="one data set or more, got none"):
            combine_datasets([])
