"""Simulated single-channel segments: shapes, spectra, bursts, blocks and determinism."""

import numpy as np
import pytest
from scipy.signal import welch
from scipy.stats import f_oneway

from neuropil.errors import UsageError
from neuropil.simulate.eeg import simulate_segments, stack_segments
from neuropil.windowing import windows

KINDS = ("eeg", "emg", "eog")


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_windows(kind):
    recordings, truths = simulate_segments(kind, 50, 256.0, 3)
    assert [len(r.events) for r in recordings] == [20, 20, 10]
    assert [r.subject for r in recordings] == ["001", "002", "003"]
    segments = stack_segments(recordings)
    assert segments.shape == (50, 512)
    assert np.isfinite(segments).all()
    assert (segments.std(axis=1) > 0).all()
    X = windows(recordings)
    np.testing.assert_array_equal(X.values[:, 0], segments.astype(np.float32))
    assert set(X["label"].values) == {"clean" if kind == "eeg" else "noise"}
    assert [len(truth.envelopes) for truth in truths] == [20, 20, 10]
    assert [truth.block for truth in truths] == [0, 1, 2]


def power(kind, n=200, sfreq=256.0):
    recordings, truths = simulate_segments(kind, n, sfreq, 1)
    frequencies, spectrum = welch(stack_segments(recordings), sfreq, nperseg=round(sfreq), detrend=False)
    return frequencies, spectrum, truths


def log_slopes(frequencies, spectrum):
    """Slope of log power over log frequency between 35 and 75 Hz, of every segment."""
    inside = (frequencies >= 35) & (frequencies <= 75)
    x = np.log(frequencies[inside]) - np.log(frequencies[inside]).mean()
    return np.log(spectrum[:, inside]) @ x / (x @ x)


def test_eeg_spectrum():
    frequencies, spectrum, truths = power("eeg", n=600)
    assert spectrum[:, frequencies > 83].mean() < 1e-3 * spectrum[:, (frequencies > 60) & (frequencies < 75)].mean()
    exponents = np.array([truth.parameters["exponent"] for truth in truths])
    measured = -log_slopes(frequencies, spectrum).reshape(-1, 20).mean(axis=1)
    assert np.mean(measured - exponents) == pytest.approx(0, abs=0.15)
    assert np.corrcoef(measured, exponents)[0, 1] > 0.6
    assert {0.9 <= truth.parameters["exponent"] <= 1.8 for truth in truths} == {True}
    around = {f: spectrum[:, (frequencies >= f - 1) & (frequencies <= f + 1)].mean() for f in (5, 10, 14)}
    assert around[10] > around[5]
    assert around[10] > 2 * around[14]


def test_emg_spectrum_and_bursts():
    frequencies, spectrum, truths = power("emg")
    inside = spectrum[:, (frequencies >= 20) & (frequencies <= 105)].mean()
    assert spectrum[:, frequencies < 12].mean() < 0.02 * inside
    assert spectrum[:, frequencies > 113].mean() < 0.02 * inside
    segments = stack_segments(simulate_segments("emg", 200, 256.0, 1)[0])
    envelopes = np.concatenate([truth.envelopes for truth in truths])
    assert envelopes.min() >= 0.25
    n_bursts = [len(centres) for truth in truths for centres in truth.event_centres]
    assert set(n_bursts) == {1, 2, 3}
    widths = np.concatenate([width for truth in truths for width in truth.event_widths])
    assert 0.08 <= widths.min() < 0.1
    assert 0.38 < widths.max() <= 0.4
    rms = np.sqrt(np.square(segments).reshape(200, 16, 32).mean(axis=2))
    correlations = [
        np.corrcoef(r, e)[0, 1] for r, e in zip(rms, envelopes.reshape(200, 16, 32).mean(axis=2), strict=True)
    ]
    assert np.mean(correlations) > 0.9


def test_eog_is_slow_and_large():
    frequencies, spectrum, truths = power("eog")
    assert spectrum[:, frequencies > 20].sum() < 0.02 * spectrum.sum()
    segments = stack_segments(simulate_segments("eog", 200, 256.0, 1)[0])
    assert 40 < np.median(np.abs(segments).max(axis=1)) < 200
    np.testing.assert_allclose(segments.mean(axis=1), 0, atol=1e-3)
    assert all(1 <= len(centres) <= 3 for truth in truths for centres in truth.event_centres)


def test_segments_of_a_block_share_their_parameters():
    """Slopes of single segments differ more between blocks than within: one-way analysis of variance."""
    frequencies, spectrum, _ = power("eeg", n=800)
    assert f_oneway(*log_slopes(frequencies, spectrum).reshape(40, 20)).pvalue < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_determinism(kind):
    few, many, other = (
        stack_segments(simulate_segments(kind, n, 256.0, seed)[0]) for n, seed in ((7, 0), (45, 0), (7, 1))
    )
    np.testing.assert_array_equal(few, many[:7])
    assert not np.array_equal(few, other)


def test_kinds_do_not_share_their_noise():
    eeg, emg = (stack_segments(simulate_segments(kind, 20)[0]) for kind in ("eeg", "emg"))
    assert max(abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(eeg, emg, strict=True)) < 0.4


def test_errors_say_what_to_do():
    with pytest.raises(UsageError, match="one of eeg, emg, eog, got 'ecg'"):
        simulate_segments("ecg")
    with pytest.raises(UsageError, match="n must be a whole number"):
        simulate_segments("eeg", 0)
    with pytest.raises(UsageError, match="above 120 Hz"):
        simulate_segments("emg", 10, 100.0)
    with pytest.raises(UsageError, match=r"at least 0\.5 s, got 0\.1"):
        simulate_segments("eeg", 10, seconds=0.1)
