"""Power-law noise and rhythms have the spectra that they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import hilbert, welch

from neuropil.errors import UsageError
from neuropil.signal.noise import narrow_band_noise, power_law_noise


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.6, 2.0])
def test_power_falls_with_the_exponent(exponent):
    noise = power_law_noise(np.random.default_rng(0), np.full(8, exponent), 60_000, 125.0)
    frequencies, power = welch(noise, 125.0, nperseg=500)
    inside = (frequencies >= 2) & (frequencies <= 40)
    slope = np.polyfit(np.log(frequencies[inside]), np.log(power.mean(axis=0)[inside]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_band_limits_hold():
    noise = power_law_noise(np.random.default_rng(1), 0.0, 200_000, 256.0, low=20.0, high=60.0)
    frequencies, power = welch(noise[0], 256.0, nperseg=1024, detrend=False)
    outside = (frequencies < 18) | (frequencies > 62)
    assert power[outside].max() < 1e-4 * power[(frequencies > 22) & (frequencies < 58)].min()


def test_the_end_does_not_continue_into_the_beginning():
    """A circular slow process would have its last sample beside its first; a cut one is as far apart as chance."""
    noise = power_law_noise(np.random.default_rng(2), np.full(400, 2.0), 1024, 100.0, low=0.1)
    seam, step = np.abs(noise[:, 0] - noise[:, -1]).mean(), np.abs(np.diff(noise, axis=1)).mean()
    assert seam > 5 * step


def test_rows_are_independent():
    noise = power_law_noise(np.random.default_rng(3), np.zeros(6), 50_000, 100.0)
    correlation = np.corrcoef(noise) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(50_000)


@pytest.mark.parametrize(("frequency", "width"), [(10.0, 2.0), (21.0, 4.0), (6.0, 1.0)])
def test_rhythm_has_its_frequency_and_width(frequency, width):
    rhythm = narrow_band_noise(np.random.default_rng(4), np.full(20, frequency), width, 30_000, 125.0)
    frequencies, power = welch(rhythm, 125.0, nperseg=4000)
    power = power.mean(axis=0)
    mean = (frequencies * power).sum() / power.sum()
    spread = np.sqrt(((frequencies - mean) ** 2 * power).sum() / power.sum())
    assert mean == pytest.approx(frequency, abs=0.03)
    assert spread == pytest.approx(width / 2 / np.sqrt(2), rel=0.05)


def test_envelope_of_a_rhythm_is_rayleigh():
    """A Gaussian rhythm's envelope has SD / mean = sqrt(4 / pi - 1)."""
    rhythm = narrow_band_noise(np.random.default_rng(5), np.full(10, 10.0), 2.0, 60_000, 125.0)
    envelope = np.abs(hilbert(rhythm, axis=1))
    assert envelope.std() / envelope.mean() == pytest.approx(np.sqrt(4 / np.pi - 1), rel=0.03)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 400), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_rows_are_standardised_and_reproducible(n_times, n_rows, seed):
    first, again = (
        power_law_noise(np.random.default_rng(seed), np.ones(n_rows), n_times, 50.0, low=0.01) for _ in range(2)
    )
    assert first.shape == (n_rows, n_times)
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    np.testing.assert_allclose(first.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(first.std(axis=1), 1, atol=1e-4)


def test_very_narrow_rhythm_in_a_short_signal_is_still_a_rhythm():
    rhythm = narrow_band_noise(np.random.default_rng(6), 10.0, 0.001, 200, 100.0)
    assert np.isfinite(rhythm).all()
    assert rhythm.std() == pytest.approx(1, abs=1e-4)


def test_errors_say_what_to_do():
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match=r"between 0 and half the sampling rate \(50 Hz\), got 60 Hz"):
        narrow_band_noise(rng, 60.0, 2.0, 100, 100.0)
    with pytest.raises(UsageError, match="width"):
        narrow_band_noise(rng, 10.0, 0.0, 100, 100.0)
    with pytest.raises(UsageError, match="holds no frequency"):
        power_law_noise(rng, 1.0, 100, 100.0, low=60.0)
    with pytest.raises(UsageError, match="at least two samples"):
        power_law_noise(rng, 1.0, 1, 100.0)
    with pytest.raises(UsageError, match="sampling rate"):
        power_law_noise(rng, 1.0, 100, 0.0)
