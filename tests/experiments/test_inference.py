"""Intervals and tests against hand calculation and against what they must do on data with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neuropil.evaluate.metrics import METRICS
from neuropil.experiments.inference import (
    bootstrap_interval,
    clipped,
    corrected_interval,
    exact_pvalue,
    letters,
    normal_pvalue,
    swap_test,
)


def test_the_corrected_interval_by_hand():
    scores = np.array([0.70, 0.75, 0.80, 0.72, 0.78])
    error = np.std(scores, ddof=1) * np.sqrt(1 / 5 + 0.25)
    low, high = corrected_interval(scores, 0.25)
    assert low == pytest.approx(0.75 - 2.7764451 * error, abs=1e-7)
    assert high == pytest.approx(0.75 + 2.7764451 * error, abs=1e-7)


def accuracy(truth):
    return lambda predicted: float((predicted[:, 0] == truth).mean())


def test_swapping_agrees_with_the_exact_sign_test():
    """Two decoders differ on 8 windows, all in favour of the first: the two-sided sign test gives 2 / 2^8."""
    truth = np.zeros(40, dtype=int)
    first = np.zeros((40, 1), dtype=int)
    second = first.copy()
    second[:8] = 1
    difference, null = swap_test(accuracy(truth), first, second, np.arange(40), 20000)
    assert difference == pytest.approx(0.2)
    assert exact_pvalue(difference, null) == pytest.approx(2 / 2**8, abs=0.003)
    assert normal_pvalue(difference, null) == pytest.approx(2 * stats.norm.sf(np.sqrt(8)), rel=0.1)


def test_equal_predictions_are_no_difference():
    predicted = np.ones((10, 1), dtype=int)
    difference, null = swap_test(accuracy(np.ones(10)), predicted, predicted, np.arange(10), 99)
    assert (difference, exact_pvalue(difference, null), normal_pvalue(difference, null)) == (0.0, 1.0, 1.0)


def test_windows_of_one_unit_are_swapped_together():
    """With one unit there are two arrangements: every swap gives the same size of difference."""
    truth = np.zeros(10, dtype=int)
    first, second = np.zeros((10, 1), dtype=int), np.ones((10, 1), dtype=int)
    difference, null = swap_test(accuracy(truth), first, second, np.zeros(10, dtype=int), 50)
    assert exact_pvalue(difference, null) == 1.0
    assert set(np.abs(null).tolist()) == {1.0}


def test_the_bootstrap_interval_has_the_binomial_width():
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.8
    low, high = bootstrap_interval(lambda rows: right[rows].mean(), np.zeros(400), np.arange(400), 2000)
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert low == pytest.approx(right.mean() - half, abs=0.006)
    assert high == pytest.approx(right.mean() + half, abs=0.006)


def test_every_class_keeps_its_number_when_windows_are_drawn():
    strata = np.repeat([0, 1], [5, 15])
    seen = []
    bootstrap_interval(lambda rows: seen.append(np.bincount(strata[rows]).tolist()) or 0.0, strata, np.arange(20), 20)
    assert seen == [[5, 15]] * 20


def test_intervals_stay_where_the_metric_lives():
    assert clipped(METRICS["balanced_accuracy"], (0.74, 1.01)) == (0.74, 1.0)
    assert clipped(METRICS["mcc"], (-1.2, 0.5)) == (-1.0, 0.5)


def test_letters_of_a_textbook_case():
    """a and d differ, b and d differ, c stands between."""
    different = {frozenset("ad"), frozenset("bd")}
    assert letters(list("abcd"), different) == {"a": "a", "b": "a", "c": "ab", "d": "b"}
    assert letters(["x", "y"], set()) == {"x": "a", "y": "a"}


@given(st.integers(2, 7), st.data())
def test_two_share_a_letter_exactly_if_they_are_not_different(n, data):
    names = [f"s{k}" for k in range(n)]
    pairs = [frozenset((a, b)) for i, a in enumerate(names) for b in names[i + 1 :]]
    different = set(data.draw(st.lists(st.sampled_from(pairs), unique=True)))
    marks = letters(names, different)
    for pair in pairs:
        a, b = sorted(pair)
        assert bool(set(marks[a]) & set(marks[b])) == (pair not in different)
