"""Simulated motor imagery: physiology, ground truth, determinism, and no information where there should be none."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt, welch
from scipy.stats import binomtest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_predict

from neuropil.errors import UsageError
from neuropil.simulate.eeg import CH22, HEAD_RADIUS, SimParams, class_table, montage_1010, simulate_motor_imagery
from neuropil.windowing import windows

FOUR = ("left_hand", "right_hand", "feet", "tongue")
QUIET = {"blink_rate": 0.0, "eye_rate": 0.0, "emg_rate": 0.0, "line_uV": 0.0, "gain_sd": 0.0}
SILENT = QUIET | {"mu_uV": 0.0, "beta_uV": 0.0, "noise_uV": 0.0}


def samples(recording):
    return recording.stream("eeg").values


def band_power(recording, band, tmin=1.0, tmax=4.0, offset=0.0):
    """Mean power of every trial and channel in a band, between `tmin` and `tmax` after the cue plus `offset`."""
    sfreq = recording.stream("eeg").attrs["sfreq"]
    filtered = sosfiltfilt(butter(4, band, "bandpass", fs=sfreq, output="sos"), samples(recording), axis=0)
    starts = np.round((recording.events["onset"].to_numpy() + tmin + offset) * sfreq).astype(int)
    return np.stack([np.square(filtered[s : s + round((tmax - tmin) * sfreq)]).mean(axis=0) for s in starts])


@pytest.fixture(scope="module")
def default():
    return simulate_motor_imagery(n_subjects=10, n_trials=60, seed=3)


def test_recording_says_what_was_asked_for():
    recordings, truths = simulate_motor_imagery(2, 2, 9, classes=FOUR[:3], ch_names=["C3", "Cz", "C4"], sfreq=100.0)
    assert [(r.subject, r.session) for r in recordings] == [("01", "01"), ("01", "02"), ("02", "01"), ("02", "02")]
    for recording, truth in zip(recordings, truths, strict=True):
        stream = recording.stream("eeg")
        assert stream.dtype == np.float32
        assert stream.attrs["unit"] == "uV"
        assert stream.attrs["sfreq"] == 100.0
        assert stream["channel"].values.tolist() == ["C3", "Cz", "C4"]
        positions = np.stack([stream[axis].values for axis in "xyz"], axis=1)
        np.testing.assert_allclose(positions, montage_1010(["C3", "Cz", "C4"]))
        np.testing.assert_allclose(np.linalg.norm(positions, axis=1), HEAD_RADIUS)
        events = recording.events
        assert events["label"].value_counts().to_dict() == dict.fromkeys(FOUR[:3], 3)
        assert events["trial"].tolist() == list(range(9))
        assert (events["duration"] == 4.0).all()
        assert events["label"].tolist() == truth.labels.tolist()
        np.testing.assert_allclose(events["onset"] * 100, np.round(events["onset"] * 100), atol=1e-9)
        pauses = np.diff(events["onset"]) - 4.0
        assert 1.98 < pauses.min() < pauses.max() < 3.02
        assert stream.sizes["time"] == len(truth.mu_envelopes) == len(truth.artefacts.any)
        assert events["onset"].iloc[-1] + 4 + 2 <= recording.duration <= events["onset"].iloc[-1] + 4 + 3.02


def test_breaks_of_an_asynchronous_session():
    recording = simulate_motor_imagery(1, n_trials=20, breaks=(3.0, 5.0))[0][0]
    pauses = np.diff(recording.events["onset"]) - 4.0
    assert 2.98 < pauses.min() < pauses.max() < 5.02
    assert 0.4 < 20 * 4 / recording.duration < 0.6


def test_windows_can_be_cut(default):
    X = windows(default[0][:2], tmin=0.5, tmax=3.5)
    assert X.shape == (120, 22, 375)
    assert set(X["subject"].values) == {"01", "02"}
    recording = default[0][0]
    first = round((recording.events["onset"].iloc[0] + 0.5) * 125)
    np.testing.assert_array_equal(X[0].values, samples(recording)[first : first + 375].T)


def test_amplitudes_are_the_designed_ones():
    """Each component alone has its root mean square over channels and samples."""

    def rms(**params):
        return np.sqrt(np.square(samples(simulate_motor_imagery(1, n_trials=20, **(SILENT | params))[0][0])).mean())

    assert rms(bg_uV=9.0, alpha_uV=0.0) == pytest.approx(9.0, rel=1e-3)
    assert rms(bg_uV=0.0, alpha_uV=6.0) == pytest.approx(6.0, rel=1e-3)
    assert rms(bg_uV=0.0, alpha_uV=0.0, noise_uV=1.0) == pytest.approx(1.0, rel=0.02)
    mean_square = np.mean((0.5, 1.5)) ** 2 + 1 / 12
    assert rms(bg_uV=0.0, alpha_uV=0.0, line_uV=1.5) == pytest.approx(1.5 * np.sqrt(mean_square / 2), rel=0.2)


def test_motor_rhythms_have_the_amplitude_that_the_truth_states():
    settings = SILENT | {"bg_uV": 0.0, "alpha_uV": 0.0, "erd": (0.0, 0.0)}
    (recording,), (truth,) = simulate_motor_imagery(1, n_trials=40, **(settings | {"mu_uV": 3.2}))
    per_source = np.sqrt(np.square(samples(recording)).mean())
    assert truth.mu_amplitude * np.sqrt(5) == pytest.approx(per_source, rel=0.1)
    frequencies, power = welch(samples(recording)[:, CH22.index("C3")], 125.0, nperseg=1000)
    assert frequencies[power.argmax()] == pytest.approx(truth.head.f_mu, abs=0.5)


def test_spectrum_of_the_background_falls_like_that_of_the_brain():
    recordings, _ = simulate_motor_imagery(4, n_trials=40, **(SILENT | {"alpha_uV": 0.0}))
    for recording in recordings:
        frequencies, power = welch(samples(recording).T, 125.0, nperseg=500)
        inside = (frequencies >= 2) & (frequencies <= 40)
        slope = np.polyfit(np.log(frequencies[inside]), np.log(power[:, inside].mean(axis=0)), 1)[0]
        assert -1.8 < slope < -0.7


def test_alpha_peaks_at_the_subject_frequency_and_at_the_back():
    recordings, truths = simulate_motor_imagery(10, n_trials=40, ch_names=[*CH22, "O1", "Oz", "O2"], seed=3)
    for recording, truth in zip(recordings, truths, strict=True):
        frequencies, power = welch(samples(recording).T, 125.0, nperseg=1000)
        posterior = power[-3:].mean(axis=0) * frequencies
        inside = (frequencies >= 7) & (frequencies <= 14)
        assert frequencies[inside][posterior[inside].argmax()] == pytest.approx(truth.head.f_alpha, abs=0.5)
    recording, truth = simulate_motor_imagery(1, n_trials=20, **(SILENT | {"bg_uV": 0.0}))
    strength = samples(recording[0]).std(axis=0)
    assert CH22[int(strength.argmax())] in ("P1", "Pz", "P2", "POz")
    assert strength[CH22.index("POz")] > 3 * strength[CH22.index("FCz")]


def test_blinks_are_large_over_the_forehead_only():
    names = ["Fp1", "Fp2", "Fz", "Cz", "Oz"]
    settings = SILENT | {"bg_uV": 0.0, "alpha_uV": 0.0, "blink_rate": 0.2}
    recordings, truths = simulate_motor_imagery(4, n_trials=20, ch_names=names, **settings)
    for recording, truth in zip(recordings, truths, strict=True):
        peak = np.abs(samples(recording)).max(axis=0)
        assert min(peak[0], peak[1]) > 10 * peak[4]
        assert 40 < peak[:2].mean() < 300
        assert peak[0] > peak[2] > peak[3] > peak[4]
        assert np.abs(samples(recording))[~truth.artefacts.blink].max() < 1e-3 * peak.max()
        share = truth.artefacts.blink.mean()
        assert 0.02 < share < 0.12  # 0.2 a second, 0.3 s each


def test_eye_movements_are_lateral_and_opposite():
    settings = SILENT | {"bg_uV": 0.0, "alpha_uV": 0.0, "eye_rate": 0.2}
    names = ["F7", "F8", "Cz", "Oz"]
    data = samples(simulate_motor_imagery(1, n_trials=20, ch_names=names, cap_deg=0.0, sess_deg=0.0, **settings)[0][0])
    assert np.corrcoef(data[:, 0], data[:, 1])[0, 1] < -0.999
    assert np.abs(data[:, 0]).max() > 10 * np.abs(data[:, 2:]).max()


def test_muscle_bursts_are_fast_and_temporal():
    settings = SILENT | {"bg_uV": 0.0, "alpha_uV": 0.0, "emg_rate": 0.2}
    names = ["T7", "T8", "Cz"]
    (recording,), (truth,) = simulate_motor_imagery(1, n_trials=40, ch_names=names, sfreq=250.0, **settings)
    data = samples(recording)
    assert data[:, :2].std(axis=0).min() > 5 * data[:, 2].std()
    assert np.abs(data[~truth.artefacts.emg]).max() == 0
    frequencies, power = welch(data[:, 0], 250.0, nperseg=500)
    assert power[frequencies < 18].max() < 0.05 * power[frequencies > 25].mean()


def test_line_noise_is_left_out_where_it_cannot_be_sampled():
    settings = SILENT | {"bg_uV": 0.0, "alpha_uV": 0.0, "line_uV": 1.5}
    assert np.abs(samples(simulate_motor_imagery(1, n_trials=4, sfreq=62.5, **settings)[0][0])).max() == 0
    line = samples(simulate_motor_imagery(1, n_trials=4, sfreq=125.0, **settings)[0][0])[:, 0]
    frequencies, power = welch(line, 125.0, nperseg=1000)
    assert frequencies[power.argmax()] == pytest.approx(50, abs=0.2)


def test_channel_gains_are_those_of_the_truth():
    """The same draws with and without gains differ by exactly the gains."""
    plain, _ = simulate_motor_imagery(1, n_trials=4, gain_sd=0.0)
    scaled, truths = simulate_motor_imagery(1, n_trials=4, gain_sd=0.35)
    np.testing.assert_allclose(samples(scaled[0]), samples(plain[0]) * truths[0].gains, rtol=1e-5)
    assert truths[0].gains.std() > 0.1


def test_desynchronisation_is_contralateral(default):
    """8-13 Hz power over the contralateral area falls, and falls more than over the other, in nearly every subject."""
    left, right = CH22.index("C3"), CH22.index("C4")
    drop, lateral = [], []
    for recording in default[0]:
        task, rest = band_power(recording, (8, 13)), band_power(recording, (8, 13), -1.5, 0.0)
        is_left = (recording.events["label"] == "left_hand").to_numpy()
        contra = np.concatenate([task[is_left, right], task[~is_left, left]]).mean()
        contra_rest = np.concatenate([rest[is_left, right], rest[~is_left, left]]).mean()
        ratio = np.log(task[:, left] / task[:, right])
        drop.append(contra / contra_rest)
        lateral.append(ratio[is_left].mean() - ratio[~is_left].mean())
    assert (np.array(drop) < 1).mean() >= 0.9
    assert (np.array(lateral) > 0).mean() >= 0.9


def test_envelopes_follow_the_table_the_depth_and_the_latency():
    (recording,), (truth,) = simulate_motor_imagery(1, n_trials=40, classes=FOUR, seed=5)
    assert truth.class_table.shape == (4, 5)
    onsets = recording.events["onset"].to_numpy()
    for trial, label in enumerate(truth.labels):
        row = truth.class_table[truth.classes.index(label)]
        middle = round((onsets[trial] + 2.4) * 125)
        expected = np.clip(1 - truth.erd_depth[trial] * row, 0.05, 2)
        np.testing.assert_allclose(truth.mu_envelopes[middle], expected, atol=1e-3)
        np.testing.assert_allclose(truth.beta_envelopes[middle], 1 - 0.8 * truth.erd_depth[trial] * row, atol=1e-3)
        strongest = np.abs(row).argmax()
        start = (onsets[trial] + truth.latency[trial]) * 125
        nearest = round(start)
        halfway = 1 - truth.erd_depth[trial] * row[strongest] / 2
        assert truth.mu_envelopes[nearest, strongest] == pytest.approx(halfway, abs=0.05)
    np.testing.assert_allclose(truth.mu_envelopes[round((onsets[1] - 0.5) * 125)], 1, atol=1e-3)
    assert (truth.erd_depth[truth.lapses] == 0).all()
    assert (truth.erd_depth[~truth.lapses] > 0).all()
    assert ((truth.latency >= 0.3) & (truth.latency <= 0.8) & (truth.release >= 4.0) & (truth.release <= 4.4)).all()


def test_timing_classes_differ_in_time_only():
    (recording,), (truth,) = simulate_motor_imagery(1, n_trials=20, classes=("early", "late"), lapse=0.0)
    np.testing.assert_array_equal(truth.class_table[0], truth.class_table[1])
    onsets = recording.events["onset"].to_numpy()
    for onset, label in zip(onsets, truth.labels, strict=True):
        first, second = (truth.mu_envelopes[round((onset + t) * 125), 0] for t in (1.4, 3.4))
        assert (first < second) == (label == "early")


def test_distributions_of_skill_and_lapses():
    _, truths = simulate_motor_imagery(30, n_trials=40, ch_names=["C3", "C4"])
    skill = np.array([truth.skill for truth in truths])
    assert 0.25 <= skill.min() < 0.4
    assert 0.65 < skill.max() <= 0.8
    lapses = np.concatenate([truth.lapses for truth in truths])
    assert binomtest(int(lapses.sum()), lapses.size, 0.1).pvalue > 1e-4


def test_hard_preset_is_harder_where_it_says():
    hard = SimParams.preset("hard")
    assert (hard.cap_deg, hard.sess_deg, hard.gain_sd, hard.lapse) == (10.0, 5.0, 0.35, 0.2)
    _, truths = simulate_motor_imagery(20, n_trials=4, preset="hard")
    nominal = montage_1010(CH22)
    shift = [np.linalg.norm(truth.sensors - nominal, axis=1).mean() / HEAD_RADIUS for truth in truths]
    _, truths = simulate_motor_imagery(20, n_trials=4)
    assert np.mean(shift) > 1.5 * np.mean(
        [np.linalg.norm(truth.sensors - nominal, axis=1).mean() / HEAD_RADIUS for truth in truths]
    )


@pytest.mark.parametrize("extra", [{"n_subjects": 3}, {"n_sessions": 3}])
def test_more_subjects_or_sessions_leave_the_earlier_ones_alone(extra):
    few, few_truths = simulate_motor_imagery(**({"n_subjects": 2, "n_sessions": 2, "n_trials": 4} | {"seed": 7}))
    many, _ = simulate_motor_imagery(**({"n_subjects": 2, "n_sessions": 2, "n_trials": 4, "seed": 7} | extra))
    by_name = {(r.subject, r.session): r for r in many}
    for recording in few:
        assert recording.identical(by_name[recording.subject, recording.session])
    assert len({truth.skill for truth in few_truths}) == 2


def test_same_seed_same_bytes_and_another_seed_others():
    first, again, other = (simulate_motor_imagery(1, n_trials=4, seed=seed)[0][0] for seed in (1, 1, 2))
    assert samples(first).tobytes() == samples(again).tobytes()
    assert first.events.equals(again.events)
    assert samples(first).tobytes() != samples(other)[: len(samples(first))].tobytes()


def test_sessions_of_a_subject_share_the_brain_but_not_the_day():
    recordings, truths = simulate_motor_imagery(1, n_sessions=2, n_trials=4)
    np.testing.assert_array_equal(truths[0].source_positions, truths[1].source_positions)
    assert not np.allclose(truths[0].sensors, truths[1].sensors)
    n = min(len(samples(r)) for r in recordings)
    assert abs(np.corrcoef(samples(recordings[0])[:n, 0], samples(recordings[1])[:n, 0])[0, 1]) < 0.3


def test_null_preset_keeps_everything_but_the_effect():
    """Same seed: events, artefacts and latencies as in the default, envelopes flat, and no decoder finds the class."""
    recordings, truths = simulate_motor_imagery(8, n_trials=96, preset="null", seed=0)
    _, others = simulate_motor_imagery(1, n_trials=96, preset="default", seed=0)
    np.testing.assert_array_equal(truths[0].latency, others[0].latency)
    np.testing.assert_array_equal(truths[0].artefacts.blink, others[0].artefacts.blink)
    hits = total = 0
    for recording, truth in zip(recordings, truths, strict=True):
        assert (truth.mu_envelopes == 1).all()
        features = np.concatenate(
            [np.log(band_power(recording, band, 0.5, 3.5)) for band in ((8, 13), (18, 24))], axis=1
        )
        labels = recording.events["label"].to_numpy().astype(str)
        predicted = cross_val_predict(
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), features, labels, cv=4
        )
        hits, total = hits + int((predicted == labels).sum()), total + len(labels)
    assert binomtest(hits, total, 0.5).pvalue > 1e-3


def test_default_preset_has_the_effect_that_null_lacks():
    recordings, _ = simulate_motor_imagery(4, n_trials=96, preset="easy", seed=0)
    hits = total = 0
    for recording in recordings:
        features = np.concatenate(
            [np.log(band_power(recording, band, 0.5, 3.5)) for band in ((8, 13), (18, 24))], axis=1
        )
        labels = recording.events["label"].to_numpy().astype(str)
        predicted = cross_val_predict(
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), features, labels, cv=4
        )
        hits, total = hits + int((predicted == labels).sum()), total + len(labels)
    assert binomtest(hits, total, 0.5, alternative="greater").pvalue < 1e-6


def test_class_table_is_mirror_symmetric():
    table = class_table(["left_hand", "right_hand", "feet", "tongue"], ipsi=0.2)
    swap = [1, 0, 2, 4, 3]
    np.testing.assert_array_equal(table[0], table[1][swap])
    np.testing.assert_array_equal(table[2:], table[2:][:, swap])
    assert table[0, 0] == 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ("left_hand", "nose")}, "A motor imagery class is one of left_hand, .* got 'nose'"),
        ({"classes": ("feet",)}, "two different classes"),
        ({"classes": ("feet", "feet")}, "two different classes"),
        ({"n_trials": 1}, r"at least the number of classes \(2\), got 1"),
        ({"n_subjects": 0}, "n_subjects must be a whole number of at least 1, got 0"),
        ({"ch_names": ["C3", "C77"]}, "got 'C77'"),
        ({"preset": "medium"}, "A preset is one of easy, default, hard, null, got 'medium'"),
        ({"blinks": 2.0}, "no parameter 'blinks'; it has: .*blink_rate"),
        ({"sfreq": 40.0}, "above 50 Hz"),
        ({"seed": -1}, "whole number from 0 on, got -1"),
        ({"breaks": (3.0, 2.0)}, r"range \(low, high\)"),
        ({"erd": (0.5, 1.5)}, "must not exceed 1"),
        ({"bg_uV": -1.0}, "bg_uV must not be negative"),
        ({"trial_s": 0.0}, "trial_s must be positive"),
    ],
)
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(UsageError, match=message):
        simulate_motor_imagery(**({"n_subjects": 1, "n_trials": 4} | arguments))
