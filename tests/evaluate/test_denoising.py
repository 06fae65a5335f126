"""Scores of cleaned signals against hand values."""

import numpy as np
import pytest

from neuropil.errors import DataError
from neuropil.evaluate.denoising import (
    correlation_with_truth,
    log_spectral_distance,
    relative_rmse,
    relative_rmse_spectrum,
)
from neuropil.stats.correlation import row_correlation


def test_hand_values():
    truth = np.array([[3.0, -4.0, 0.0, 5.0]])
    cleaned = np.array([[3.0, -4.0, 2.0, 5.0]])
    assert relative_rmse(cleaned, truth)[0] == pytest.approx(2 / np.sqrt(50))
    assert correlation_with_truth(cleaned, truth)[0] == pytest.approx(np.corrcoef(cleaned, truth)[0, 1])
    assert relative_rmse(0 * truth, truth)[0] == 1.0
    assert correlation_with_truth(-2 * truth + 7, truth)[0] == pytest.approx(-1.0)


def test_row_correlation_agrees_with_numpy_and_knows_constants():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 4, 50)) + 100
    expected = [[np.corrcoef(x, y)[0, 1] for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(row_correlation(a, b), expected)
    assert row_correlation(np.ones((1, 5)), b[0, :1, :5])[0] == 0.0


def test_the_spectrum_knows_no_phase():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 512))
    assert relative_rmse_spectrum(-x, x, 256.0).max() < 1e-12
    assert log_spectral_distance(-x, x, 256.0, (20.0, 45.0)).max() < 1e-12
    np.testing.assert_allclose(relative_rmse_spectrum(3 * x, x, 256.0), 8.0)
    np.testing.assert_allclose(log_spectral_distance(0.1 * x, x, 256.0, (20.0, 45.0)), 2.0)


def test_the_distance_sees_its_band_only():
    t = np.arange(512) / 256
    rng = np.random.default_rng(0)
    x = rng.normal(size=512)
    changed = x + 5 * np.sin(2 * np.pi * 100 * t)
    assert log_spectral_distance(changed, x, 256.0, (20.0, 45.0)) < 0.05
    assert log_spectral_distance(changed, x, 256.0, (98.0, 102.0)) > 1


def test_a_silent_band_is_far_and_finite():
    x = np.random.default_rng(0).normal(size=(1, 512))
    slow = np.sin(2 * np.pi * 2 * np.arange(512) / 256)[None]
    distance = log_spectral_distance(slow, x, 256.0, (20.0, 45.0))[0]
    assert 5 < distance < 30


def test_what_cannot_be_compared():
    x = np.ones((2, 300))
    with pytest.raises(DataError, match="of its own shape"):
        relative_rmse(x, x[:1])
    with pytest.raises(DataError, match="1 true segments are zero"):
        relative_rmse(x, x * [[1], [0]])
    with pytest.raises(DataError, match="NaN or infinity"):
        correlation_with_truth(x * np.nan, x)
    with pytest.raises(DataError, match=r"No frequency falls into the band 20\.2-20\.7 Hz"):
        log_spectral_distance(x, x, 256.0, (20.2, 20.7))
