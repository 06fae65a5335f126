"""Discriminant analysis: the Bayes rate, scikit-learn's own pipeline, invariances, patterns."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neuropil.decoding.lda import BinnedLDA, XdawnLDA, bin_means, discriminants
from neuropil.errors import DataError, UsageError


def evoked(n=120, n_channels=6, n_times=60, seed=0, size=1.0, n_classes=2):
    """Noise mixed over channels, plus a wave with one topography a class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    topography = rng.normal(size=(n_classes, n_channels))
    wave = np.sin(np.linspace(0, np.pi, n_times))
    mixing = np.eye(n_channels) + 0.5 * rng.normal(size=(n_channels, n_channels))
    X = mixing @ rng.normal(size=(n, n_channels, n_times))
    return X + size * topography[y][:, :, None] * wave, np.array(["a", "b", "c", "d"])[y], topography, wave


def test_bin_means_by_hand():
    windows = np.arange(2 * 3 * 11, dtype=float).reshape(2, 3, 11)
    means = bin_means(windows, 3).reshape(2, 3, 3)
    np.testing.assert_allclose(
        means[1, 2], [windows[1, 2, :3].mean(), windows[1, 2, 3:6].mean(), windows[1, 2, 6:9].mean()]
    )
    np.testing.assert_allclose(bin_means(windows, 11).reshape(windows.shape), windows)
    with pytest.raises(UsageError, match="between 1 and the 11 samples"):
        bin_means(windows, 12)


def test_reaches_the_bayes_rate_of_gaussian_classes():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(3, 3))
    shift = np.array([1.0, -0.5, 0.3])
    y = rng.integers(0, 2, 6000)
    X = (rng.normal(size=(6000, 3)) @ mixing.T + y[:, None] * shift)[:, :, None]
    distance = np.sqrt(shift @ np.linalg.solve(mixing @ mixing.T, shift))
    bayes = norm.cdf(distance / 2)
    accuracy = BinnedLDA(n_bins=1).fit(X[:3000], y[:3000]).score(X[3000:], y[3000:])
    assert accuracy == pytest.approx(bayes, abs=3 * np.sqrt(bayes * (1 - bayes) / 3000))


def test_agrees_with_scikit_learn_written_out():
    X, y, *_ = evoked(n_classes=3)
    by_hand = make_pipeline(
        FunctionTransformer(
            lambda windows: windows.reshape(len(windows), 6, 10, 6).mean(axis=3).reshape(len(windows), -1)
        ),
        LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"),
    ).fit(X[:80], y[:80])
    ours = BinnedLDA(n_bins=10).fit(X[:80], y[:80])
    np.testing.assert_allclose(ours.predict_proba(X[80:]), by_hand.predict_proba(X[80:]), atol=1e-9)


@pytest.mark.parametrize(
    "change", [lambda X: X + np.arange(6.0)[:, None], lambda X: 1e-6 * X, lambda X: X[:, ::-1], lambda X: X[..., ::-1]]
)
def test_offset_unit_channel_order_and_direction_of_time_do_not_matter(change):
    X, y, *_ = evoked()
    expected = BinnedLDA(n_bins=6).fit(X[:80], y[:80]).predict_proba(X[80:])
    np.testing.assert_allclose(
        BinnedLDA(n_bins=6).fit(change(X)[:80], y[:80]).predict_proba(change(X)[80:]), expected, atol=1e-6
    )


def test_patterns_show_topography_and_wave_in_the_unit_of_the_data():
    X, y, topography, wave = evoked(n=2000)
    fitted = BinnedLDA(n_bins=10).fit(X, y)
    assert fitted.patterns_.shape == (1, 6, 10)
    planted = np.outer(topography[1] - topography[0], wave.reshape(10, 6).mean(axis=1))
    assert np.corrcoef(fitted.patterns_[0].ravel(), planted.ravel())[0, 1] > 0.97
    np.testing.assert_allclose(BinnedLDA(n_bins=10).fit(3 * X, y).patterns_, 3 * fitted.patterns_, rtol=1e-5, atol=1e-9)


def test_patterns_ignore_a_channel_that_only_cancels_noise():
    rng = np.random.default_rng(0)
    y = np.arange(4000) % 2
    noise = rng.normal(size=(4000, 1, 5))
    X = np.concatenate([noise + 0.3 * y[:, None, None], noise + 0.1 * rng.normal(size=(4000, 1, 5))], axis=1)
    fitted = BinnedLDA(n_bins=1).fit(X, y)
    weights = discriminants(fitted.pipeline_[-1])[0]
    assert abs(weights[1]) > 0.5 * abs(weights[0])
    assert abs(fitted.patterns_[0, 1, 0]) < 0.1 * abs(fitted.patterns_[0, 0, 0])


def test_discriminants_of_several_classes_span_those_of_the_eigenvalue_solver():
    X, y, *_ = evoked(n=600, n_classes=4)
    features = bin_means(X, 2)
    ours = discriminants(LinearDiscriminantAnalysis(solver="lsqr").fit(features, y))
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(features, y).scalings_[:, :3].T
    for mine, other in zip(ours, theirs, strict=True):
        assert abs(mine @ other) / np.linalg.norm(mine) / np.linalg.norm(other) > 1 - 1e-6


def test_xdawn_finds_the_planted_topography():
    X, y, topography, _ = evoked(n=600, n_channels=8, size=0.5)
    fitted = XdawnLDA(n_filters=1, n_bins=10).fit(X, y)
    correlation = [
        abs(np.corrcoef(pattern, planted)[0, 1]) for pattern, planted in zip(fitted.patterns_, topography, strict=True)
    ]
    assert min(correlation) > 0.9
    assert cross_val_score(XdawnLDA(n_filters=2), X, y, cv=3).mean() > 0.85


def test_grid_search_and_clone():
    X, y, *_ = evoked(size=0.6)
    search = GridSearchCV(BinnedLDA(), {"n_bins": [1, 6], "shrinkage": ["auto", 0.1]}, cv=3).fit(X, y)
    assert search.best_estimator_.n_bins in (1, 6)
    assert search.best_score_ > 0.7
    assert clone(BinnedLDA(n_bins=3)).get_params() == {"n_bins": 3, "shrinkage": "auto"}


def test_too_little_data_is_refused_in_one_sentence():
    X, y, *_ = evoked()
    with pytest.raises(DataError, match="class 'b' has one"):
        BinnedLDA(n_bins=2).fit(X[[0, 2, 4, 1]], y[[0, 2, 4, 1]])
    with pytest.raises(UsageError, match="between 1 and the 1 samples"):
        BinnedLDA().fit(X[..., :1], y)
    with pytest.raises(DataError, match="two samples a window or more, got 1"):
        XdawnLDA().fit(X[..., :1], y)
    with pytest.raises(UsageError, match="got n_filters=0"):
        XdawnLDA(n_filters=0).fit(X, y)
