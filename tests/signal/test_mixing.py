"""Mixing at a signal-to-noise ratio: the two conventions by hand, and the correlation that follows from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import DataError, UsageError
from neuropil.signal.mixing import amplitude_ratio, mix, noisy_correlation, rms


@pytest.mark.parametrize(
    ("level", "convention", "ratio"),
    [(-7.0, "amplitude10", 0.19953), (2.0, "amplitude10", 1.58489), (0.0, "power", 1.0), (-20.0, "power", 0.1)],
)
def test_ratios_by_hand(level, convention, ratio):
    assert amplitude_ratio(level, convention) == pytest.approx(ratio, rel=1e-4)


@given(st.floats(-20, 20), st.sampled_from(["amplitude10", "power"]), st.floats(1e-6, 1e6))
def test_the_noise_in_a_mix_has_the_wanted_ratio_whatever_its_unit(level, convention, unit):
    rng = np.random.default_rng(0)
    clean, noise = rng.normal(size=(2, 3, 100)), unit * rng.normal(size=(2, 3, 100))
    added = mix(clean, noise, level, convention) - clean
    np.testing.assert_allclose(rms(clean) / rms(added), amplitude_ratio(level, convention), rtol=1e-6)
    np.testing.assert_allclose(added / rms(added)[..., None], noise / rms(noise)[..., None], atol=1e-6)


def test_a_ratio_for_every_row():
    rng = np.random.default_rng(0)
    clean, noise, levels = rng.normal(size=(3, 50)), rng.normal(size=(3, 50)), np.array([-7.0, 0.0, 2.0])
    together = mix(clean, noise, levels)
    for k in range(3):
        np.testing.assert_allclose(together[k], mix(clean[k], noise[k], float(levels[k])))


@pytest.mark.parametrize("convention", ["amplitude10", "power"])
def test_correlation_of_mixes_with_their_clean_part(convention):
    rng = np.random.default_rng(0)
    clean, noise = rng.normal(size=(2, 200, 2000))
    for level in (-7.0, 0.0, 2.0):
        mixed = mix(clean, noise, level, convention)
        found = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(mixed, clean, strict=True)])
        assert found == pytest.approx(noisy_correlation(level, convention), abs=0.005)
    assert noisy_correlation(-7.0, "amplitude10") == pytest.approx(0.196, abs=5e-4)
    assert noisy_correlation(2.0, "amplitude10") == pytest.approx(0.846, abs=5e-4)


def test_what_cannot_be_mixed():
    row = np.ones((2, 4))
    with pytest.raises(DataError, match="1 such clean and 0 such noise segments"):
        mix(row * [[1], [0]], row, 0.0)
    with pytest.raises(DataError, match=r"got the shapes \(2, 4\) and \(1, 4\)"):
        mix(row, row[:1], 0.0)
    with pytest.raises(UsageError, match="one of amplitude10, power, got 'voltage'"):
        mix(row, row, 0.0, "voltage")
