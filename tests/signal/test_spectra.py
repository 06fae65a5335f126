"""Spectra and band power: sines and white noise of known power, agreement with scipy, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal as reference

from neuropil.errors import DataError, UsageError
from neuropil.signal import spectra as module
from neuropil.signal.spectra import EEG_BANDS, band_power, decibel, power_spectrum

SFREQ = 250.0
TIME = np.arange(1000) / SFREQ


class TestPowerSpectrum:
    def test_is_scipys(self):
        x = np.random.default_rng(0).standard_normal((3, 2, 1000))
        frequencies, density = power_spectrum(x, SFREQ, segment=2.0, overlap=0.25)
        expected = reference.welch(x, SFREQ, nperseg=500, noverlap=125)
        np.testing.assert_allclose(frequencies, expected[0])
        np.testing.assert_allclose(density, expected[1])

    def test_blocks_change_nothing(self, monkeypatch):
        x = np.random.default_rng(1).standard_normal((7, 3, 500))
        whole = power_spectrum(x, SFREQ)[1]
        monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 500 * 4)
        np.testing.assert_array_equal(power_spectrum(x, SFREQ)[1], whole)

    def test_white_noise_is_flat_at_its_variance(self):
        x = 3.0 * np.random.default_rng(2).standard_normal((20, 5000))
        frequencies, density = power_spectrum(x, SFREQ)
        inner = (frequencies > 2) & (frequencies < 120)
        np.testing.assert_allclose(density.mean(axis=0)[inner], 9.0 / (SFREQ / 2), rtol=0.15)

    def test_single_precision_in_volts_keeps_its_digits(self):
        x = 1e-13 * np.random.default_rng(3).standard_normal((4, 500))
        single = power_spectrum(x.astype(np.float32), SFREQ)[1]
        np.testing.assert_allclose(single, power_spectrum(x, SFREQ)[1], rtol=1e-3)

    def test_odd_segments_end_below_the_nyquist_frequency(self):
        frequencies, density = power_spectrum(TIME, SFREQ, segment=125 / SFREQ)
        assert frequencies[-1] == pytest.approx(62 * 2.0)
        assert density.shape == (63,)

    def test_messages(self):
        with pytest.raises(
            DataError, match=r"A segment of 5 s needs 1250 samples, a window has 1000; pass segment=4 or less"
        ):
            power_spectrum(TIME, SFREQ, segment=5.0)
        with pytest.raises(UsageError, match="two samples or more"):
            power_spectrum(TIME, SFREQ, segment=0.001)
        with pytest.raises(UsageError, match=r"below 1, got 1\.0"):
            power_spectrum(TIME, SFREQ, overlap=1.0)
        with pytest.raises(UsageError, match="positive number in Hz"):
            power_spectrum(TIME, 0.0)
        with pytest.raises(DataError, match="finite data"):
            power_spectrum(np.where(TIME > 3, np.nan, TIME), SFREQ)


class TestBandPower:
    @pytest.mark.parametrize("frequency", [2.0, 6.0, 10.0, 20.0, 38.0])
    def test_a_sine_has_half_its_squared_amplitude_in_its_band(self, frequency):
        power = band_power(2e-6 * np.sin(2 * np.pi * frequency * TIME), SFREQ)
        for (low, high), in_band in zip(EEG_BANDS.values(), power, strict=True):
            expected = 2e-12 if low <= frequency < high else 0.0
            assert in_band == pytest.approx(expected, abs=2e-14)

    def test_all_bands_add_up_to_the_variance(self):
        """One segment as long as the window, of a sum of sines with whole numbers of cycles: exactly the variance."""
        x = np.sin(2 * np.pi * 10 * TIME) + 0.5 * np.cos(2 * np.pi * 33 * TIME)
        power = band_power(x, SFREQ, [(0.0, 8.0), (8.0, 30.0), (30.0, 125.0)], segment=4.0)
        assert power.sum() == pytest.approx(x.var())

    def test_the_nyquist_frequency_belongs_to_the_band_that_ends_there(self):
        x = np.cos(np.pi * np.arange(1000))
        frequencies, density = power_spectrum(x, SFREQ)
        assert density.argmax() == len(frequencies) - 1
        low, high = band_power(x, SFREQ, [(0.0, 100.0), (100.0, 125.0)])
        assert high == pytest.approx(density.sum())
        assert low == pytest.approx(0.0, abs=1e-12)

    @given(st.integers(0, 2**31), st.lists(st.integers(1, 124), min_size=1, max_size=5, unique=True))
    def test_bands_that_meet_share_nothing(self, seed, cuts):
        x = np.random.default_rng(seed).standard_normal((2, 500))
        edges = [0.0, *[float(c) for c in sorted(cuts)], 125.0]
        parts = band_power(x, SFREQ, list(pairwise(edges)))
        whole = band_power(x, SFREQ, [(0.0, 125.0)])
        np.testing.assert_allclose(parts.sum(axis=-1), whole[..., 0])

    @given(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.floats(-100, 100))
    def test_scale_and_offset(self, seed, scale, offset):
        x = np.random.default_rng(seed).standard_normal((2, 500))
        np.testing.assert_allclose(band_power(scale * (x + offset), SFREQ), scale**2 * band_power(x, SFREQ), rtol=1e-6)

    def test_shape_and_order_of_bands(self):
        x = np.random.default_rng(4).standard_normal((5, 3, 500))
        power = band_power(x, SFREQ, {"beta": (13.0, 30.0), "alpha": (8.0, 13.0)})
        assert power.shape == (5, 3, 2)
        np.testing.assert_allclose(power[..., 1], band_power(x, SFREQ, [(8.0, 13.0)])[..., 0])

    def test_messages(self):
        with pytest.raises(
            UsageError, match=r"30-130 Hz must have 0 <= low < high <= 125 Hz, half the sampling rate of 250 Hz"
        ):
            band_power(TIME, SFREQ, [(30.0, 130.0)])
        with pytest.raises(UsageError, match=r"13-8 Hz must have"):
            band_power(TIME, SFREQ, [(13.0, 8.0)])
        with pytest.raises(UsageError, match=r"band 8\.2-8\.4 Hz at a resolution of 1 Hz; use longer segments"):
            band_power(TIME, SFREQ, [(8.2, 8.4)])
        with pytest.raises(UsageError, match="one band or more, got none"):
            band_power(TIME, SFREQ, [])


class TestDecibel:
    def test_known(self):
        np.testing.assert_allclose(decibel(np.array([1.0, 100.0, 0.1])), [0.0, 20.0, -10.0], atol=1e-12)

    def test_against_a_baseline_per_channel(self):
        power = np.array([[2.0, 4.0], [20.0, 4.0]])
        np.testing.assert_allclose(decibel(power, np.array([2.0, 4.0])), [[0.0, 0.0], [10.0, 0.0]], atol=1e-12)

    @given(st.floats(1e-30, 1e30), st.floats(1e-30, 1e30))
    def test_products_become_sums(self, a, b):
        total = decibel(np.array([a])) + decibel(np.array([b]))
        np.testing.assert_allclose(decibel(np.array([a * b])), total, atol=1e-9)

    def test_messages(self):
        with pytest.raises(DataError, match="positive power, got 2 of 3 that are not; leave out flat channels"):
            decibel(np.array([1.0, 0.0, np.nan]))
        with pytest.raises(DataError, match="positive reference, got 1 of 1"):
            decibel(np.array([1.0]), 0.0)
