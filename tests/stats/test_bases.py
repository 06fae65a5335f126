"""Bases of spike history: what they sum to, where they peak, and that nothing looks ahead or across sequences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import DataError, UsageError
from neuropil.stats.bases import (
    boxcar_basis,
    causal_filter,
    coupling_design,
    coupling_filters,
    exponential_basis,
    raised_cosine_basis,
)

BASES = {
    "exponential": exponential_basis(6, (1.0, 3.0)),
    "raised cosine": raised_cosine_basis(12, 4),
    "boxcar": boxcar_basis(7, 3),
}


@pytest.mark.parametrize("name", BASES)
def test_functions_sum_to_one_and_are_not_negative(name):
    basis = BASES[name]
    np.testing.assert_allclose(basis.sum(axis=0), 1)
    assert basis.min() >= 0


def test_one_exponential_is_that_of_the_published_switching_models():
    np.testing.assert_allclose(exponential_basis(5)[:, 0], np.exp(-np.arange(5.0)) / np.exp(-np.arange(5.0)).sum())


def test_raised_cosines_add_up_to_a_constant_between_their_outer_peaks():
    """Half-period spacing makes neighbours' bumps overlap so that they sum to two peaks' heights, before normalisation."""
    lags, n_basis = np.arange(1.0, 201.0), 5
    basis = raised_cosine_basis(200, n_basis, offset=2.0)
    peaks = basis / basis.max(axis=0)
    centres = np.exp(np.linspace(np.log(3), np.log(202), n_basis)) - 2
    np.testing.assert_allclose(lags[basis.argmax(axis=0)], centres, atol=1)
    inside = (lags > centres[1]) & (lags < centres[-2])
    np.testing.assert_allclose(peaks[inside].sum(axis=1), 2, rtol=0.02)


def test_boxes_cover_every_lag_once():
    basis = boxcar_basis(7, 3)
    assert ((basis > 0).sum(axis=1) == 1).all()
    assert set((basis > 0).sum(axis=0)) <= {2, 3}


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 15))
def test_filter_is_the_sum_over_past_bins(seed, n_times, n_lags):
    rng = np.random.default_rng(seed)
    x, basis = rng.poisson(1.0, (n_times, 2)).astype(float), rng.random((n_lags, 2))
    expected = np.zeros((n_times, 2, 2))
    for t in range(n_times):
        for k in range(1, min(n_lags, t) + 1):
            expected[t] += x[t - k, :, None] * basis[k - 1]
    np.testing.assert_allclose(causal_filter([x], basis)[0], expected)


def test_the_present_bin_and_other_sequences_never_enter():
    rng = np.random.default_rng(0)
    first, second = rng.poisson(1.0, (20, 3)), rng.poisson(1.0, (15, 3))
    design = coupling_design([first, second], BASES["raised cosine"])
    changed = first.copy()
    changed[10:] += 5
    again = coupling_design([changed, second], BASES["raised cosine"])
    np.testing.assert_array_equal(design[:11], again[:11])
    assert (design[11:20] != again[11:20]).any()
    np.testing.assert_array_equal(design[20:], again[20:])
    np.testing.assert_array_equal(design[20], 0)


def test_filters_over_lags_give_the_same_predictor():
    rng = np.random.default_rng(1)
    x, basis = rng.poisson(1.0, (30, 3)).astype(float), BASES["boxcar"]
    coefficients = rng.standard_normal((2, 9))
    filters = coupling_filters(coefficients, basis)
    assert filters.shape == (2, 3, 7)
    through_lags = np.einsum("tjk,ijk->ti", causal_filter([x], boxcar_basis(7))[0], filters)
    np.testing.assert_allclose(coupling_design([x], basis) @ coefficients.T, through_lags)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="one bin or more, got n_lags=0"):
        exponential_basis(0)
    with pytest.raises(UsageError, match="positive numbers of bins"):
        exponential_basis(3, -1.0)
    with pytest.raises(UsageError, match="between 2 and the 5 lags"):
        raised_cosine_basis(5, 6)
    with pytest.raises(UsageError, match="offset must be a positive"):
        raised_cosine_basis(5, 2, offset=0.0)
    with pytest.raises(DataError, match="got none"):
        causal_filter([], exponential_basis(3))
    with pytest.raises(DataError, match="number 1 has shape"):
        causal_filter([np.zeros((4, 2)), np.zeros((4, 3))], exponential_basis(3))
    with pytest.raises(DataError, match="Sequence 0 holds values that are not finite"):
        causal_filter([np.full((4, 2), np.nan)], exponential_basis(3))
    with pytest.raises(UsageError, match="not a whole number of units"):
        coupling_filters(np.zeros((1, 5)), boxcar_basis(2))
