"""Simulated EEG-BOLD: regions follow the convolved states at the designed signal-to-noise ratio, and the EEG carries the states."""

import numpy as np
import pytest
from scipy.signal import butter, hilbert, sosfiltfilt, welch

from neuropil.errors import UsageError
from neuropil.simulate.eeg import BOLD10, NEUROBOLT26, simulate_eeg_bold


@pytest.fixture(scope="module")
def scans():
    return simulate_eeg_bold(n_subjects=6, n_volumes=200, seed=2)


def test_streams_and_events(scans):
    recording, truth = scans[0][0], scans[1][0]
    eeg, bold = recording.stream("eeg"), recording.stream("bold")
    assert eeg.shape == (200 * 2 * 64, 10)
    assert eeg["channel"].values.tolist() == list(BOLD10)
    assert bold.shape == (200, 4)
    assert bold.attrs["sfreq"] == 0.5
    np.testing.assert_allclose(bold.time.values, recording.events["onset"])
    assert truth.states.shape == (len(eeg), 5)
    wide, _ = simulate_eeg_bold(1, n_volumes=30, ch_names="neurobolt", sfreq=200.0)
    assert wide[0].stream("eeg").shape == (12_000, 26)
    assert wide[0].stream("eeg")["channel"].values.tolist() == list(NEUROBOLT26)


def test_regions_are_the_weighted_convolved_states(scans):
    """Recomputed here by direct summation over the past, for volumes with a whole response behind them."""
    for _, truth in zip(*scans, strict=True):
        lags = np.arange(len(truth.hrf))
        volumes = np.arange(20, 200)
        driven = np.stack([truth.hrf @ truth.states[v * 128 - lags] for v in volumes]) @ truth.weights.T
        for region in range(4):
            assert np.corrcoef(driven[:, region], truth.bold_clean[volumes, region])[0, 1] > 0.9999
        np.testing.assert_allclose(truth.bold_clean.std(axis=0), 1, rtol=1e-6)


def test_noise_sets_the_designed_ceiling(scans):
    ceilings = []
    for recording, truth in zip(*scans, strict=True):
        assert truth.bold_ceiling == pytest.approx(0.793, abs=0.001)
        bold = recording.stream("bold").values
        ceilings.append([np.corrcoef(bold[:, r], truth.bold_clean[:, r])[0, 1] for r in range(4)])
        noise = bold - truth.bold_clean
        np.testing.assert_allclose(noise.std(axis=0), 1 / 1.3, rtol=1e-3)
    assert np.mean(ceilings) == pytest.approx(0.793, abs=0.03)


def test_states_are_slow_and_of_unit_variance(scans):
    for truth in scans[1]:
        frequencies, power = welch(truth.states.T, 64.0, nperseg=8192, detrend=False)
        assert power[:, frequencies > 0.15].sum() < 1e-3 * power.sum()
        np.testing.assert_allclose(truth.states.std(axis=0), 1, atol=0.3)


def test_rhythms_carry_the_states(scans):
    """Log-amplitude of theta over Fz follows its state; the two occipital rhythms follow theirs."""
    correlations = []
    for recording, truth in zip(*scans, strict=True):
        data = recording.stream("eeg").values
        row = []
        for latent, channel in ((0, "Oz"), (1, "Oz"), (2, "Fz")):
            f = truth.frequencies[latent]
            sos = butter(3, (f - 0.7, f + 0.7), "bandpass", fs=64.0, output="sos")
            envelope = np.log(np.abs(hilbert(sosfiltfilt(sos, data[:, BOLD10.index(channel)].astype(float)))))
            blocks = envelope.reshape(-1, 256).mean(axis=1), truth.states[:, latent].reshape(-1, 256).mean(axis=1)
            row.append(np.corrcoef(*blocks)[0, 1])
        correlations.append(row)
    assert (np.mean(correlations, axis=0) > 0.35).all()


def test_bursts_come_at_the_rate_of_their_state(scans):
    counts, expected = [], []
    for truth in scans[1]:
        per_block = np.histogram(truth.burst_onsets, bins=np.arange(0, 401, 4))[0]
        rate = (0.6 * np.exp(0.9 * truth.states[:, 4])).reshape(-1, 256).mean(axis=1) * 4
        counts.append(per_block)
        expected.append(rate)
    counts, expected = np.concatenate(counts), np.concatenate(expected)
    assert counts.sum() == pytest.approx(float(expected.sum()), abs=5 * float(np.sqrt(expected.sum())))
    dispersion = np.mean((counts - expected) ** 2 / expected)
    assert dispersion == pytest.approx(1.0, abs=0.3)


def test_subjects_have_their_own_response(scans):
    peaks = [truth.hrf_peak for truth in scans[1]]
    assert len(set(peaks)) == 6
    assert 4.6 <= min(peaks) < max(peaks) <= 6.2
    frequencies = np.array([truth.frequencies for truth in scans[1]])
    assert ((frequencies[:, 0] >= 8.8) & (frequencies[:, 0] <= 9.4)).all()
    np.testing.assert_allclose(frequencies[:, 1] - frequencies[:, 0], 2.0)


def test_snr_is_a_parameter():
    recordings, truths = simulate_eeg_bold(1, n_volumes=100, bold_snr=100.0)
    np.testing.assert_allclose(recordings[0].stream("bold").values, truths[0].bold_clean, atol=0.05)


def test_determinism():
    few, _ = simulate_eeg_bold(1, 1, 40, seed=4)
    many, _ = simulate_eeg_bold(2, 2, 40, seed=4)
    assert few[0].identical(many[0])
    assert not few[0].identical(simulate_eeg_bold(1, 1, 40, seed=5)[0][0])
    assert [(r.subject, r.session) for r in many] == [("01", "01"), ("01", "02"), ("02", "01"), ("02", "02")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_volumes": 10}, "at least 30 volumes"),
        ({"tr": 0.0}, "positive tr"),
        ({"sfreq": 50.0}, "above 60 Hz"),
        ({"bold_snr": 0.0}, "bold_snr must be positive"),
        ({"ch_names": []}, "empty list"),
    ],
)
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(UsageError, match=message):
        simulate_eeg_bold(**({"n_subjects": 1, "n_volumes": 40} | arguments))
