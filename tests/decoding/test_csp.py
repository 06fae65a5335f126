"""Common spatial patterns: planted sources, MNE-Python's own pipeline, several classes, bands."""

import numpy as np
import pytest
import xarray as xr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from neuropil.decoding.csp import CSPLDA, FilterBankCSP
from neuropil.decoding.preparation import filter_windows
from neuropil.errors import DataError, UsageError


def sources(n=90, n_channels=6, n_times=150, seed=0, gain=2.0, n_classes=2, mix=True):
    """Mixed white sources; source k is `gain` times stronger in class k."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    S = rng.normal(size=(n, n_channels, n_times))
    for k in range(n_classes):
        S[y == k, k] *= gain
    mixing = rng.normal(size=(n_channels, n_channels)) if mix else np.eye(n_channels)
    return mixing @ S, np.array(["left", "right", "feet"])[y], mixing


def rhythm(frequency, n=60, n_times=250, sfreq=125.0, seed=0):
    """Noise in three channels; in class "on" channel 0 has a burst at `frequency` with a random phase."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2, "on", "off")
    X = rng.normal(size=(n, 3, n_times))
    t = np.arange(n_times) / sfreq
    phase = rng.uniform(0, 2 * np.pi, (n, 1))
    X[:, 0] += (y == "on")[:, None] * 0.8 * np.sin(2 * np.pi * frequency * t + phase)
    return X, y


def test_recovers_planted_sources_up_to_sign():
    X, y, mixing = sources(n=200)
    fitted = CSPLDA(n_components=2).fit(X, y)
    assert fitted.patterns_.shape == fitted.filters_.shape == (2, 6)
    correlation = np.abs(np.corrcoef(fitted.patterns_, mixing[:, :2].T)[:2, 2:])
    assert correlation.max(axis=1).min() > 0.98
    assert set(correlation.argmax(axis=1)) == {0, 1}


def test_agrees_with_mne_written_out():
    from mne.decoding import CSP

    X, y, _ = sources()
    X -= X.mean(axis=-1, keepdims=True)
    by_hand = make_pipeline(
        CSP(4, reg="ledoit_wolf", rank="full"), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    )
    by_hand.fit(X[:60], (y[:60] == "right").astype(int))
    ours = CSPLDA(n_components=4).fit(X[:60], y[:60])
    np.testing.assert_allclose(ours.predict_proba(X[60:]), by_hand.predict_proba(X[60:]), atol=1e-6)


def test_unit_and_mixing_of_the_channels_hardly_matter():
    X, y, _ = sources()
    ours = CSPLDA(n_components=4)
    expected = ours.fit(X[:60], y[:60]).predict_proba(X[60:])
    np.testing.assert_allclose(ours.fit(1e-6 * X[:60], y[:60]).predict_proba(1e-6 * X[60:]), expected, atol=1e-6)
    again = np.random.default_rng(5).normal(size=(6, 6)) @ X
    np.testing.assert_allclose(ours.fit(again[:60], y[:60]).predict_proba(again[60:]), expected, atol=0.02)


def test_three_classes_one_of_them_without_a_pattern_of_its_own():
    X, y, _ = sources(n=240, gain=1.5, n_classes=2)
    rng = np.random.default_rng(1)
    idle = np.random.default_rng(0).normal(size=(120, 6, 150))
    _, _, mixing = sources()
    X, y = np.concatenate([X, mixing @ idle]), np.concatenate([y, np.full(120, "idle")])
    order = rng.permutation(len(X))
    fitted = CSPLDA(n_components=2).fit(X[order[:240]], y[order[:240]])
    assert fitted.filters_.shape == (6, 6)
    assert fitted.score(X[order[240:]], y[order[240:]]) > 0.8
    assert fitted.predict_proba(X).shape == (360, 3)


def test_the_band_is_cut_within_the_window():
    X, y = rhythm(20.0)
    inside = cross_val_score(CSPLDA(n_components=2, band=(17.0, 23.0), sfreq=125.0), X, y, cv=3).mean()
    outside = cross_val_score(CSPLDA(n_components=2, band=(35.0, 45.0), sfreq=125.0), X, y, cv=3).mean()
    assert inside > 0.9
    assert outside < 0.7


def test_filtering_within_windows_passes_the_band_and_stops_the_rest():
    t = np.arange(500) / 125.0
    slow, fast = np.sin(2 * np.pi * 12 * t), np.sin(2 * np.pi * 45 * t)
    out = filter_windows((slow + fast + 3.0)[None, None], (8.0, 30.0), 125.0)[0, 0]
    np.testing.assert_allclose(out[60:-60], slow[60:-60], atol=0.05)
    np.testing.assert_allclose(
        filter_windows(slow[None, None, ::-1], (8.0, 30.0), 125.0)[0, 0, ::-1],
        out + filter_windows(-(fast + 3.0)[None, None], (8.0, 30.0), 125.0)[0, 0],
        atol=1e-3,
    )


def test_the_filter_bank_chooses_the_band_of_the_rhythm():
    X, y = rhythm(22.0)
    fitted = FilterBankCSP(sfreq=125.0, n_features=1).fit(X, y)
    assert fitted.bands_[0] == (4.0, 8.0)
    assert fitted.bands_[-1] == (36.0, 40.0)
    assert {fitted.bands_[band] for band in fitted.chosen_[:, 0]} == {(20.0, 24.0)}
    assert cross_val_score(FilterBankCSP(sfreq=125.0), X, y, cv=3).mean() > 0.85


def test_the_filter_bank_takes_several_classes_and_stays_below_nyquist():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.normal(size=(90, 4, 120))
    t = np.arange(120) / 60.0
    for k, frequency in enumerate((10.0, 14.0, 22.0)):
        X[y == k, k] += np.sin(2 * np.pi * frequency * t + rng.uniform(0, 6, (30, 1)))
    windows = xr.DataArray(X, dims=("window", "channel", "time"), attrs={"sfreq": 60.0})
    fitted = FilterBankCSP().fit(windows[:60], y[:60])
    assert fitted.bands_[-1] == (24.0, 28.0)
    assert fitted.score(windows[60:], y[60:]) > 0.8


def test_messages():
    X, y = rhythm(20.0)
    with pytest.raises(UsageError, match="pass sfreq"):
        CSPLDA(band=(8.0, 30.0)).fit(X, y)
    with pytest.raises(DataError, match="more than 27 samples, got 20; filter the recording before"):
        CSPLDA(band=(8.0, 30.0), sfreq=125.0).fit(X[..., :20], y)
    with pytest.raises(UsageError, match="half the sampling rate"):
        CSPLDA(band=(8.0, 70.0), sfreq=125.0).fit(X, y)
    with pytest.raises(UsageError, match="got n_components=0"):
        CSPLDA(n_components=0).fit(X, y)
    windows = xr.DataArray(X, dims=("window", "channel", "time"), attrs={"sfreq": 125.0})
    with pytest.raises(UsageError, match="125 Hz, but sfreq=250"):
        FilterBankCSP(sfreq=250.0).fit(windows, y)
    with pytest.raises(DataError, match="class 'off' has one"):
        FilterBankCSP(sfreq=125.0).fit(X[[0, 1, 3]], y[[0, 1, 3]])
    flat = X.copy()
    flat[7] = 2.0
    with pytest.raises(DataError, match=r"flat in 1 of 60 windows \(first: window 7"):
        CSPLDA().fit(flat, y)
    with pytest.raises(DataError, match=r"flat in 1 of 60 windows \(first: window 7"):
        CSPLDA().fit(X, y).predict(flat)
