"""The lagged ridge baseline: its algebra, scaling by scan, penalties by cross-validation."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from neuropil.decoding.bold_ridge import BoldRidge, lagged_log_spectra, ridge_by_cross_validation
from neuropil.errors import DataError, UsageError
from neuropil.lagged import make_lagged_epochs, targets
from neuropil.persistence import load_model
from neuropil.simulate.eeg import simulate_eeg_bold

RNG = np.random.default_rng(0)
SIZES = {"lag": 1.0, "n_scales": 2, "sfreq": 64.0}


def test_features_are_log_magnitudes_averaged_within_lags():
    X = (30 * RNG.normal(size=(3, 2, 256))).astype(np.float32)
    features = lagged_log_spectra(X, 64, [32, 64]).reshape(3, -1)
    assert features.shape == (3, 2 * 4 * (17 + 33))
    centred = X - X.mean(-1, keepdims=True)
    lag = centred[1, 1, 128:192]
    expected = np.log1p((np.abs(np.fft.rfft(lag[:32])) + np.abs(np.fft.rfft(lag[32:]))) / 2)
    short = features[:, : 2 * 4 * 17].reshape(3, 2, 4, 17)
    np.testing.assert_allclose(short[1, 1, 2], expected, rtol=1e-4)
    long = features[:, 2 * 4 * 17 :].reshape(3, 2, 4, 33)
    np.testing.assert_allclose(long[1, 1, 2], np.log1p(np.abs(np.fft.rfft(lag))), rtol=1e-4)


def test_windows_that_hold_no_whole_lags_are_refused():
    with pytest.raises(
        UsageError,
        match="A window of 100 samples must hold whole lags of 64, and a lag whole spectral windows of 32 samples",
    ):
        lagged_log_spectra(np.zeros((1, 1, 100), dtype=np.float32), 64, [32])


def test_weights_are_those_of_scikit_learn_and_penalties_the_best_ones():
    features, alphas = RNG.normal(size=(40, 90)), np.array([1.0, 30.0, 900.0])
    y = np.stack([features[:, 0] + 0.1 * RNG.normal(size=40), RNG.normal(size=40)], axis=1)
    folds = np.array_split(np.arange(40), 4)
    weights, chosen = ridge_by_cross_validation(features, y, alphas, folds)
    for k in range(2):
        errors = []
        for alpha in alphas:
            total = 0.0
            for held in folds:
                kept = np.setdiff1d(np.arange(40), held)
                model = Ridge(alpha=alpha, fit_intercept=False).fit(features[kept], y[kept, k])
                total += ((y[held, k] - model.predict(features[held])) ** 2).sum()
            errors.append(total)
        assert chosen[k] == alphas[int(np.argmin(errors))]
        expected = Ridge(alpha=chosen[k], fit_intercept=False).fit(features, y[:, k]).coef_
        np.testing.assert_allclose(weights[:, k], expected, atol=1e-8)


def test_scaling_by_scan_removes_the_gain_of_a_scan():
    X, y = 40 * RNG.normal(size=(60, 2, 256)), RNG.normal(size=60)
    scans = np.repeat(["a", "b", "c"], 20)
    model = BoldRidge(**SIZES, alphas=[1.0]).fit(X, y, groups=scans)
    louder = np.where((scans == "b")[:, None, None], 10 * X, X)
    np.testing.assert_allclose(model.predict(louder, groups=scans), model.predict(X, groups=scans), atol=0.02)
    by_training = BoldRidge(**SIZES, scaling="training", alphas=[1.0]).fit(X, y, groups=scans)
    assert np.abs(by_training.predict(louder) - by_training.predict(X)).max() > 0.1
    np.testing.assert_allclose(by_training.predict(X[:3]), by_training.predict(X)[:3], atol=1e-4)
    with pytest.raises(UsageError, match="scaling must be one of 'scan', 'training', got 'volume'"):
        BoldRidge(scaling="volume").fit(X, y)
    with pytest.raises(DataError, match="Expected one scan for each of the 60 windows, got 2"):
        BoldRidge(**SIZES).fit(X, y, groups=["a", "b"])


def test_it_predicts_simulated_regions_and_is_saved_whole(tmp_path):
    recordings, _ = simulate_eeg_bold(n_subjects=4, n_volumes=120, seed=3, bold_snr=4.0)
    X = make_lagged_epochs(recordings).load()
    train, test = X[np.flatnonzero(X["recording"] < 3)], X[np.flatnonzero(X["recording"] == 3)]
    model = BoldRidge().fit(train)
    assert model.score(test) > 0.35
    shuffled = BoldRidge().fit(train, np.roll(targets(train)[1], 40, axis=0))
    assert abs(shuffled.score(test)) < 0.25
    model.save(tmp_path / "ridge")
    np.testing.assert_array_equal(load_model(tmp_path / "ridge").predict(test), model.predict(test))
