"""Bands take windows apart without a rest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import UsageError
from neuropil.explain.bands import band_members, band_part, band_power, covering_bands, resolved_bands


@given(st.integers(2, 300), st.sampled_from([40.0, 62.5, 100.0, 250.0, 512.0]), st.integers(0, 10))
def test_resolved_bands_cover_everything_once(n_times, sfreq, seed):
    bands = resolved_bands(n_times, sfreq)
    members = band_members(n_times, sfreq, bands)
    np.testing.assert_array_equal(members.sum(axis=0), 1)
    assert members.any(axis=1).all()
    x = np.random.default_rng(seed).normal(size=(3, n_times)) + 5
    np.testing.assert_allclose(sum(band_part(x, row) for row in members), x, atol=1e-9)
    np.testing.assert_allclose(band_power(x, members).sum(axis=-1), (x**2).mean(axis=-1), rtol=1e-9)


@pytest.mark.parametrize(
    ("frequency", "band"), [(2.0, "delta"), (6.0, "theta"), (10.0, "alpha"), (20.0, "beta"), (50.0, "high")]
)
def test_a_rhythm_lies_in_its_band_and_a_drift_in_the_slowest(frequency, band):
    sfreq, n_times = 128.0, 256
    time = np.arange(n_times) / sfreq
    bands = covering_bands(sfreq)
    members = band_members(n_times, sfreq, bands)
    power = band_power(np.sin(2 * np.pi * frequency * time + 1.0), members)
    assert list(bands)[int(power.argmax())] == band
    assert power.max() > 0.95 * power.sum()
    drift = band_power(time - time.mean(), members)
    assert drift[0] > 0.97 * drift.sum()


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ({}, "got none"),
        ({"a": (10.0, 60.0)}, r"a \(10-60 Hz\) must have 0 <= low < high <= 50 Hz"),
        ({"narrow": (10.1, 10.2)}, r"hold nothing of the band narrow"),
    ],
)
def test_bands_that_windows_do_not_have(bands, words):
    with pytest.raises(UsageError, match=words):
        resolved_bands(100, 100.0, bands)
