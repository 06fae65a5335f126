"""Patterns: where sources were put, not where filters have weight."""

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from neuropil.errors import DataError
from neuropil.signal.spatial import activation_patterns

seeds = st.integers(0, 2**31)


def mixture(rng, n_sources=6, n_channels=6, n_times=2000):
    """Channels x = A s of uncorrelated sources."""
    sources = rng.standard_normal((n_sources, n_times))
    sources -= sources.mean(axis=1, keepdims=True)
    sources = np.linalg.svd(sources, full_matrices=False)[2] * np.sqrt(n_times)
    mixing = rng.standard_normal((n_channels, n_sources))
    return mixing, sources, mixing @ sources


@given(seeds)
def test_of_a_full_set_of_filters_the_transposed_inverse(seed):
    rng = np.random.default_rng(seed)
    filters = rng.standard_normal((5, 5)) + 3 * np.eye(5)
    factor = rng.standard_normal((5, 5)) + 3 * np.eye(5)
    np.testing.assert_allclose(activation_patterns(filters, factor @ factor.T), np.linalg.inv(filters).T, atol=1e-6)


def test_unmixing_filters_of_uncorrelated_sources_show_the_mixing():
    """Also when only some of the sources are extracted."""
    mixing, _, x = mixture(np.random.default_rng(0))
    filters = np.linalg.inv(mixing).T
    np.testing.assert_allclose(activation_patterns(filters[:, :2], np.cov(x)), mixing[:, :2], atol=1e-8)


def test_least_squares_regression_of_channels_on_sources():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8, 8)) @ rng.standard_normal((8, 1000))
    x -= x.mean(axis=1, keepdims=True)
    filters = rng.standard_normal((8, 3))
    expected = np.linalg.lstsq((filters.T @ x).T, x.T, rcond=None)[0].T
    np.testing.assert_allclose(activation_patterns(filters, x @ x.T / 1000), expected, rtol=1e-8, atol=1e-10)


def test_of_a_linear_discriminant_the_difference_of_the_means():
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1], 300)
    x = rng.standard_normal((600, 6)) @ rng.standard_normal((6, 6)) + np.outer(y, rng.standard_normal(6))
    filters = LinearDiscriminantAnalysis(solver="lsqr").fit(x, y).coef_.T
    pattern = activation_patterns(filters, np.cov(x.T))[:, 0]
    difference = x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0)
    assert np.corrcoef(pattern, difference)[0, 1] > 1 - 1e-9
    assert abs(np.corrcoef(filters[:, 0], difference)[0, 1]) < 0.9


def test_a_channel_that_only_cancels_noise_has_weight_and_no_pattern():
    rng = np.random.default_rng(3)
    signal, noise = rng.standard_normal((2, 100_000))
    x = np.stack([signal + noise, noise])
    pattern = activation_patterns(np.array([[1.0], [-1.0]]), np.cov(x))
    np.testing.assert_allclose(pattern[:, 0], [1.0, 0.0], atol=0.02)


@given(seeds, st.floats(1e-9, 1e9))
def test_scaling_a_filter_scales_its_pattern_inversely(seed, scale):
    rng = np.random.default_rng(seed)
    filters, factor = rng.standard_normal((6, 3)), rng.standard_normal((6, 6)) + 3 * np.eye(6)
    covariance = factor @ factor.T
    scaled = filters * np.array([scale, 1.0, 1.0])
    np.testing.assert_allclose(
        activation_patterns(scaled, covariance) * np.array([scale, 1.0, 1.0]),
        activation_patterns(filters, covariance),
        rtol=1e-6,
        atol=1e-9,
    )


@given(seeds)
def test_permuting_channels(seed):
    rng = np.random.default_rng(seed)
    filters, factor, order = rng.standard_normal((6, 3)), rng.standard_normal((6, 6)), rng.permutation(6)
    covariance = factor @ factor.T + np.eye(6)
    permuted = activation_patterns(filters[order], covariance[np.ix_(order, order)])
    np.testing.assert_allclose(permuted, activation_patterns(filters, covariance)[order], rtol=1e-8, atol=1e-10)


def test_the_same_filter_twice_shares_its_pattern():
    covariance = np.diag([1.0, 4.0])
    once = activation_patterns(np.array([[1.0], [1.0]]), covariance)
    twice = activation_patterns(np.array([[1.0, 1.0], [1.0, 1.0]]), covariance)
    np.testing.assert_allclose(twice, np.hstack([once, once]) / 2)


class TestMessages:
    def test_shapes(self):
        with pytest.raises(DataError, match=r"must fit, got \(3, 1\) and \(2, 2\)"):
            unwrap(activation_patterns)(np.ones((3, 1)), np.eye(2))

    def test_nothing_passes(self):
        with pytest.raises(DataError, match="Filter 1 passes none of the data"):
            activation_patterns(np.array([[1.0, 0.0], [0.0, 1.0]]), np.diag([1.0, 0.0]))

    def test_not_finite(self):
        with pytest.raises(DataError, match="must be finite"):
            activation_patterns(np.array([[np.nan], [1.0]]), np.eye(2))
