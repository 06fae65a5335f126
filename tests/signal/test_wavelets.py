"""Daubechies' wavelets: known filters, orthogonality, perfect reconstruction, vanishing moments; shrinkage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import UsageError
from neuropil.signal.wavelets import daubechies, dwt, inverse_dwt, soft_threshold, wavelet_shrinkage

# Daubechies (1988), table 1, in the order of that table
DB2 = (1 + np.sqrt(3), 3 + np.sqrt(3), 3 - np.sqrt(3), 1 - np.sqrt(3))
DB4 = (
    0.230377813309,
    0.714846570553,
    0.630880767930,
    -0.027983769417,
    -0.187034811719,
    0.030841381836,
    0.032883011667,
    -0.010597401785,
)


def test_published_filters():
    np.testing.assert_allclose(daubechies(2), np.array(DB2) / (4 * np.sqrt(2)), atol=1e-12)
    np.testing.assert_allclose(daubechies(4), DB4, atol=1e-11)


@given(st.integers(1, 10), st.integers(1, 4), st.integers(1, 6), st.integers(0, 100))
def test_energy_is_kept_and_everything_comes_back(moments, levels, blocks, seed):
    x = np.random.default_rng(seed).normal(size=(2, blocks * 2**levels))
    approximation, details = dwt(x, levels, moments)
    energy = np.square(approximation).sum() + sum(np.square(d).sum() for d in details)
    assert energy == pytest.approx(np.square(x).sum(), rel=1e-9)
    np.testing.assert_allclose(inverse_dwt(approximation, details, moments), x, atol=1e-9)


@pytest.mark.parametrize("moments", [1, 2, 4])
def test_details_of_a_polynomial_vanish_away_from_the_ends(moments):
    x = np.arange(128.0) ** (moments - 1)
    inner = dwt(x, 1, moments)[1][0][: -2 * moments]
    assert np.abs(inner).max() < 1e-9 * np.abs(x).max()
    beyond = dwt(np.arange(128.0) ** moments, 1, moments)[1][0][: -2 * moments]
    assert np.abs(beyond).max() > 1e-3


def test_shrinkage_removes_white_noise_and_keeps_what_is_large():
    rng = np.random.default_rng(0)
    wave = 10 * np.sin(2 * np.pi * 2 * np.arange(1024) / 256)
    noise = rng.normal(size=1024)
    assert np.std(wavelet_shrinkage(wave + noise) - wave) < 0.5
    np.testing.assert_allclose(wavelet_shrinkage(3 * (wave + noise)), 3 * wavelet_shrinkage(wave + noise))
    np.testing.assert_allclose(wavelet_shrinkage(wave + noise, factor=0.0), wave + noise, atol=1e-9)
    assert wavelet_shrinkage((wave + noise)[:1001]).shape == (1001,)


def test_soft_threshold_by_hand():
    np.testing.assert_array_equal(soft_threshold(np.array([-5.0, -1.0, 0.0, 1.0, 5.0]), 2.0), [-3, 0, 0, 0, 3])


def test_what_does_not_fit():
    with pytest.raises(UsageError, match="multiple of 8, got 100 samples"):
        dwt(np.zeros(100), 3)
    with pytest.raises(UsageError, match="1 to 10 vanishing moments here, got 11"):
        daubechies(11)
