"""Simulated emotion: the marginal effect, the interaction without one, the drift between trials, and nothing in the null preset."""

import warnings

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neuropil.errors import UsageError
from neuropil.simulate.eeg import DEAP32, simulate_emotion
from neuropil.windowing import windows

ALPHA, GAMMA = (8, 13), (34, 42)
WEIGHTS = np.array([-1.0, 1.0, 0.8, 0.8, 0.0, 0.4])


def log_power(recording, band, label="stimulus", piece=None):
    """Log band power of the stimuli (or baselines), (trial, channel) or, in pieces of some seconds, (trial, piece, channel)."""
    stream = recording.stream("eeg")
    sfreq = stream.attrs["sfreq"]
    filtered = sosfiltfilt(butter(4, band, "bandpass", fs=sfreq, output="sos"), stream.values, axis=0)
    events = recording.events
    events = events[(events["label"] == "baseline") == (label == "baseline")]
    powers = []
    for onset, duration in zip(events["onset"], events["duration"], strict=True):
        part = np.square(filtered[round(onset * sfreq) : round((onset + duration) * sfreq)])
        n = len(part) if piece is None else round(piece * sfreq)
        part = part[: len(part) // n * n].reshape(-1, n, part.shape[1]).mean(axis=1)
        powers.append(np.log(part))
    powers = np.array(powers)
    return powers[:, 0] if piece is None else powers


LINEAR = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
NEAREST = make_pipeline(StandardScaler(), KNeighborsClassifier(1))


def decode(recordings, splitter, model=LINEAR, bands=(ALPHA, GAMMA), piece=4.0):
    """Share of windows, and number of trials, that a classifier of log power gets right, and number of all trials."""
    features, labels, trials = [], [], []
    for recording in recordings:
        power = np.concatenate([log_power(recording, band, piece=piece) for band in bands], axis=2)
        states = recording.events.loc[recording.events["label"] != "baseline", "label"].to_numpy().astype(str)
        features.append(power.reshape(-1, power.shape[2]) - power.mean(axis=(0, 1)))
        labels.append(np.repeat(states, power.shape[1]))
        trials.append(np.repeat([f"{recording.subject}-{k}" for k in range(len(states))], power.shape[1]))
    features, labels, trials = np.concatenate(features), np.concatenate(labels), np.concatenate(trials)
    predicted = cross_val_predict(model, features, labels, cv=list(splitter.split(features, labels, trials)))
    per_trial = {trial: (predicted[trials == trial] == labels[trials == trial]).mean() for trial in np.unique(trials)}
    return (predicted == labels).mean(), sum(share > 0.5 for share in per_trial.values()), len(per_trial)


def grouped(seed=0):
    return StratifiedGroupKFold(5, shuffle=True, random_state=seed)


def test_trials_are_baseline_and_stimulus():
    recordings, truths = simulate_emotion(2, 2, 6, stimulus_s=10.0)
    assert [(r.subject, r.session) for r in recordings] == [("01", "01"), ("01", "02"), ("02", "01"), ("02", "02")]
    for recording, truth in zip(recordings, truths, strict=True):
        events = recording.events
        assert events["trial"].tolist() == np.repeat(np.arange(6), 2).tolist()
        assert events["label"].iloc[::2].tolist() == ["baseline"] * 6
        assert events["label"].iloc[1::2].tolist() == truth.labels.tolist()
        assert sorted(truth.labels) == ["high"] * 3 + ["low"] * 3
        np.testing.assert_allclose(events["onset"].iloc[1::2], events["onset"].iloc[::2].to_numpy() + 3.0)
        assert recording.stream("eeg")["channel"].values.tolist() == list(DEAP32)
        assert recording.stream("eeg").attrs["sfreq"] == 128.0
    X = windows(recordings, labels=["low", "high"])
    assert X.shape == (24, 32, 1280)


def test_marginal_gains_are_those_of_the_card():
    _, truths = simulate_emotion(1, n_trials=10, eff=0.2)
    sign = np.where(truths[0].labels == "high", 1, -1)
    np.testing.assert_allclose(truths[0].state_gains, 0.2 * np.outer(sign, WEIGHTS))


def test_marginal_effect_appears_in_the_power_and_not_in_the_baseline():
    """Without background and drift the power of T7 in gamma changes by exp(2 x 2 x 0.8 eff) between the states."""
    settings = {"bg_uV": 0.0, "alpha_uV": 0.0, "drift": 0.0, "emg_rate": 0.0, "noise_uV": 0.0, "line_uV": 0.0}
    recordings, truths = simulate_emotion(
        3, n_trials=24, eff=0.3, stimulus_s=16.0, eye_rate=0.0, blink_rate=0.0, **settings
    )
    temporal = [DEAP32.index("T7"), DEAP32.index("T8")]
    stimulus, baseline = [], []
    for recording, truth in zip(recordings, truths, strict=True):
        high = truth.labels == "high"
        for store, label in ((stimulus, "stimulus"), (baseline, "baseline")):
            power = log_power(recording, GAMMA, label)[:, temporal]
            store.append(power[high].mean() - power[~high].mean())
    assert np.mean(stimulus) == pytest.approx(4 * 0.8 * 0.3, abs=0.1)
    assert abs(np.mean(baseline)) < 0.15


def test_interaction_has_no_marginal_effect_and_a_product_effect():
    settings = {"bg_uV": 0.0, "alpha_uV": 0.0, "drift": 0.0, "emg_rate": 0.0, "noise_uV": 0.0, "line_uV": 0.0}
    recordings, truths = simulate_emotion(
        6, n_trials=40, eff=0.0, inter=0.6, eye_rate=0.0, blink_rate=0.0, stimulus_s=10.0, **settings
    )
    left, right, states = [], [], []
    for recording, truth in zip(recordings, truths, strict=True):
        power = log_power(recording, GAMMA)
        power = power - power.mean(axis=0)
        left.append(power[:, DEAP32.index("T7")])
        right.append(power[:, DEAP32.index("T8")])
        states.append(truth.labels == "high")
        np.testing.assert_allclose(np.abs(truth.state_gains[:, 2:4]), 0.6)
        np.testing.assert_allclose(truth.state_gains[:, [0, 1, 4, 5]], 0.0)
        np.testing.assert_array_equal(np.sign(truth.state_gains[:, 2]), truth.interaction_sign)
    left, right, states = np.concatenate(left), np.concatenate(right), np.concatenate(states)
    for power in (left, right):
        difference = power[states].mean() - power[~states].mean()
        standard_error = power.std() * np.sqrt(1 / states.sum() + 1 / (~states).sum())
        assert abs(difference) < 4 * standard_error
    assert ((left * right > 0) == states).mean() > 0.95


def test_drift_is_of_the_designed_size_and_class_free():
    _, truths = simulate_emotion(3, n_trials=40, ch_names=["F3", "T7"], stimulus_s=4.0)
    drift = np.concatenate([truth.drift for truth in truths] + [truth.background_drift for truth in truths], axis=1)
    assert drift.std() == pytest.approx(0.25, rel=0.03)
    high = np.concatenate([truth.labels == "high" for truth in truths])
    own = np.concatenate([truth.drift for truth in truths])
    assert np.abs(own[high].mean(axis=0) - own[~high].mean(axis=0)).max() < 4 * 0.25 * np.sqrt(2 / 60)


def test_null_has_no_information_but_random_windows_pretend_so():
    recordings, truths = simulate_emotion(3, n_trials=20, preset="null", seed=0)
    assert all((truth.state_gains == 0).all() for truth in truths)
    _, hits, total = decode(recordings, grouped())
    assert binomtest(hits, total, 0.5).pvalue > 1e-3
    bands = ((4, 8), ALPHA, (14, 31), GAMMA)
    random_windows = StratifiedKFold(5, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn says that it ignores the trials, which is the point
        leaking, _, _ = decode(recordings, random_windows, NEAREST, bands)
    assert leaking > 0.8


def test_marginal_effect_can_be_decoded_and_the_interaction_cannot_linearly():
    recordings, _ = simulate_emotion(3, n_trials=24, eff=0.3, stimulus_s=16.0, seed=1)
    _, hits, total = decode(recordings, grouped())
    assert binomtest(hits, total, 0.5, alternative="greater").pvalue < 1e-3
    recordings, _ = simulate_emotion(3, n_trials=24, eff=0.0, inter=0.6, stimulus_s=16.0, seed=1)
    _, hits, total = decode(recordings, grouped())
    assert binomtest(hits, total, 0.5).pvalue > 1e-3


def test_determinism():
    few, _ = simulate_emotion(1, 1, 4, stimulus_s=5.0, seed=4)
    many, _ = simulate_emotion(2, 2, 4, stimulus_s=5.0, seed=4)
    other, _ = simulate_emotion(1, 1, 4, stimulus_s=5.0, seed=5)
    assert few[0].identical(many[0])
    assert not few[0].identical(other[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_trials": 1}, "at least the number of classes"),
        ({"ch_names": "deap32"}, "A montage is one of"),
        ({"sfreq": 80.0}, "above 90 Hz"),
        ({"stimulus_s": 0.0}, "stimulus_s must be positive"),
        ({"effect": 1.0}, "no parameter 'effect'"),
    ],
)
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(UsageError, match=message):
        simulate_emotion(**({"n_subjects": 1, "n_trials": 4} | arguments))
