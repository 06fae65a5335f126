"""Intervals and chance levels: known answers, coverage by simulation, and what rearranging within groups keeps."""

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from neuropil.errors import DataError, UsageError
from neuropil.stats.resampling import (
    binomial_interval,
    binomial_threshold,
    bootstrap_interval,
    permutation_chance,
    permute_within,
    rotate_within,
    student_interval,
)


def accuracy(y_true, y_pred):
    return float(np.mean(y_true == y_pred))


class TestIntervals:
    def test_student_is_scipys(self):
        x = np.random.default_rng(0).standard_normal(7)
        low, high = reference.ttest_1samp(x, 0).confidence_interval(0.9)
        interval = student_interval(x, 0.9)
        assert (interval.low, interval.high, interval.n) == (pytest.approx(low), pytest.approx(high), 7)
        assert interval.estimate == pytest.approx(x.mean())

    def test_student_covers_small_normal_samples(self):
        x = np.random.default_rng(1).standard_normal((1500, 4))
        covered = [(i := student_interval(row)).low <= 0 <= i.high for row in x]
        assert np.mean(covered) == pytest.approx(0.95, abs=0.02)

    def test_bootstrap_of_a_large_normal_sample_is_students_interval(self):
        x = np.random.default_rng(2).standard_normal(400)
        ours, exact = bootstrap_interval(x), student_interval(x)
        assert ours.low == pytest.approx(exact.low, abs=0.015)
        assert ours.high == pytest.approx(exact.high, abs=0.015)

    def test_bootstrap_leans_where_the_sample_is_skewed(self):
        x = np.random.default_rng(3).exponential(size=40)
        interval = bootstrap_interval(x)
        assert interval.high - interval.estimate > interval.estimate - interval.low

    def test_bootstrap_repeats_with_its_seed(self):
        x = np.random.default_rng(4).random(12)
        assert bootstrap_interval(x, random_state=5) == bootstrap_interval(x, random_state=5)
        assert bootstrap_interval(x, random_state=5) != bootstrap_interval(x, random_state=6)

    def test_equal_figures_have_an_interval_of_no_width(self):
        for interval in (bootstrap_interval(np.full(5, 0.7)), student_interval(np.full(5, 0.75))):
            assert interval.low == interval.high == interval.estimate

    @given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12, unique=True), st.floats(-10, 10), st.floats(0.1, 10))
    def test_student_follows_shift_and_scale(self, values, shift, scale):
        x = np.array(values)
        before, after = student_interval(x), student_interval(shift + scale * x)
        tolerance = 1e-9 * (1 + np.abs(x).max()) * scale + 1e-9
        assert after.low == pytest.approx(shift + scale * before.low, abs=tolerance)
        assert after.high == pytest.approx(shift + scale * before.high, abs=tolerance)

    @pytest.mark.parametrize(("n_right", "n_total"), [(0, 10), (3, 10), (10, 10), (55, 80)])
    def test_binomial_interval_is_scipys(self, n_right, n_total):
        low, high = reference.binomtest(n_right, n_total).proportion_ci(0.95, method="exact")
        interval = binomial_interval(n_right, n_total)
        assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))

    @given(st.integers(1, 40), st.floats(0.01, 0.99))
    def test_binomial_interval_covers_at_every_rate(self, n_total, rate):
        intervals = [binomial_interval(k, n_total) for k in range(n_total + 1)]
        covering = [i.low <= rate <= i.high for i in intervals]
        assert reference.binom.pmf(np.arange(n_total + 1), n_total, rate) @ covering >= 0.95 - 1e-9

    @given(st.integers(1, 200), st.integers(2, 8))
    def test_binomial_threshold_is_the_smallest(self, n_trials, n_classes):
        n_right = round(binomial_threshold(n_trials, 1 / n_classes) * n_trials)
        assert reference.binom.sf(n_right - 1, n_trials, 1 / n_classes) <= 0.05
        assert reference.binom.sf(n_right - 2, n_trials, 1 / n_classes) > 0.05

    def test_messages(self):
        with pytest.raises(DataError, match=r"two units or more, got shape \(1,\)"):
            student_interval(np.ones(1))
        with pytest.raises(DataError, match="finite figures, got NaN"):
            bootstrap_interval(np.array([1.0, np.nan]))
        with pytest.raises(UsageError, match=r"exclusive, got 95.0; 0.95 means 95 %"):
            student_interval(np.ones(3), 95.0)
        with pytest.raises(UsageError, match="got 5 of 3"):
            binomial_interval(5, 3)
        with pytest.raises(UsageError, match=r"chance, alpha in \(0, 1\), got 10, 1.0"):
            binomial_threshold(10, 1.0)


class TestRearranging:
    @given(st.integers(0, 2**31), st.sampled_from([permute_within, rotate_within]))
    def test_every_group_keeps_its_labels(self, seed, rearrange):
        rng = np.random.default_rng(seed)
        labels, groups = rng.integers(3, size=40), rng.integers(4, size=40)
        after = rearrange(labels, groups, rng)
        for group in range(4):
            np.testing.assert_array_equal(np.sort(after[groups == group]), np.sort(labels[groups == group]))

    def test_rotation_keeps_neighbours(self):
        rng, groups = np.random.default_rng(0), np.repeat(["a", "b"], [6, 9])
        labels = np.arange(15)
        after = rotate_within(labels, groups, rng)
        assert np.sum(np.diff(after[:6]) == 1) >= 4
        assert np.sum(np.diff(after[6:]) == 1) >= 7
        assert not np.array_equal(after, labels)

    def test_the_labels_given_are_left_alone(self):
        labels = np.arange(10)
        permute_within(labels, None, np.random.default_rng(0))
        np.testing.assert_array_equal(labels, np.arange(10))


class TestPermutationChance:
    def test_distribution_of_an_accuracy_is_hypergeometric(self):
        """Ten of twenty predicted as 1, ten of twenty are 1: twice the number of common ones, over twenty."""
        y_true, y_pred = np.repeat([0, 1], 10), np.tile([0, 1], 10)
        result = permutation_chance(accuracy, y_true, y_pred, n_permutations=4000)
        exact = reference.hypergeom(20, 10, 10)
        assert result.observed == 0.5
        assert result.mean == pytest.approx(0.5, abs=0.01)
        assert result.null.std() == pytest.approx(exact.std() / 10, rel=0.05)
        assert result.pvalue == pytest.approx(exact.sf(4), abs=0.03)
        assert result.low <= 0.3 + 1e-9
        assert result.high >= 0.7 - 1e-9

    def test_perfect_predictions_reach_the_smallest_p(self):
        y = np.tile([0, 1], 20)
        assert permutation_chance(accuracy, y, y, n_permutations=99).pvalue == 0.01

    def test_losses_count_the_other_way(self):
        y = np.tile([0.0, 1.0], 20)
        error = permutation_chance(
            lambda a, b: float(np.mean((a - b) ** 2)), y, 0.9 * y, n_permutations=99, greater_is_better=False
        )
        assert error.pvalue == 0.01
        assert error.observed < error.mean

    def test_level_differences_between_groups_are_not_evidence(self):
        """A decoder that knows only the subject beats chance over all subjects, and not within them."""
        rng = np.random.default_rng(1)
        groups = np.repeat([0, 1], 100)
        y_true = (rng.random(200) < np.where(groups == 0, 0.2, 0.8)).astype(int)
        over_all = permutation_chance(accuracy, y_true, groups, n_permutations=199)
        within = permutation_chance(accuracy, y_true, groups, groups, n_permutations=199)
        assert over_all.pvalue == 1 / 200
        assert within.pvalue == 1.0
        assert within.mean == pytest.approx(within.observed)

    def test_slow_sequences_need_rotation(self):
        """Unrelated labels and predictions that change slowly: shuffling finds what is not there, rotation does not."""
        rng = np.random.default_rng(2)
        n_false = {permute_within: 0, rotate_within: 0}
        for repetition in range(120):
            noise = rng.standard_normal((2, 600))
            slow = sum(np.roll(noise, k, axis=1) for k in range(30))
            y_true, y_pred = (slow > 0).astype(int)
            for rearrange in n_false:
                test = permutation_chance(
                    accuracy, y_true, y_pred, rearrange=rearrange, n_permutations=60, random_state=repetition
                )
                n_false[rearrange] += test.pvalue <= 0.05
        assert n_false[permute_within] / 120 > 0.2
        assert n_false[rotate_within] / 120 < 0.11

    def test_probabilities_may_be_judged(self):
        y = np.tile([0, 1], 15)
        proba = np.column_stack([1 - y, y]).astype(float)
        assert permutation_chance(lambda a, b: float(b[np.arange(30), a].mean()), y, proba).pvalue < 0.01

    def test_messages(self):
        y = np.array([0, 1, 1])
        with pytest.raises(DataError, match="one a unit, got 3, 2 and none"):
            unwrap(permutation_chance)(accuracy, y, y[:2])
        with pytest.raises(DataError, match="with one there is nothing to rearrange"):
            permutation_chance(accuracy, np.ones(3), y)
        with pytest.raises(UsageError, match="one permutation or more, got n_permutations=0"):
            permutation_chance(accuracy, y, y, n_permutations=0)
