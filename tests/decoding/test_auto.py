"""The ensemble that chooses its descriptions, and the descriptions themselves."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge

from neuropil.decoding.auto import AutoDecoder, ridge_path
from neuropil.decoding.features import log_covariances, octave_covariances, octave_powers, potentials, rhythms, trends
from neuropil.errors import DataError, UsageError
from neuropil.signal.covariance import inv_sqrtm


def noise(n=100, n_channels=4, n_times=200, seed=0, n_classes=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_channels, n_times)), np.arange(n) % n_classes, rng


def test_ridge_path_agrees_with_scikit_learn_in_both_shapes():
    rng = np.random.default_rng(0)
    for n_windows, n_features in ((40, 6), (12, 30)):
        features, targets = rng.normal(size=(n_windows, n_features)) + 2, rng.normal(size=(n_windows, 3))
        coefficients, intercepts = ridge_path(features, targets, (0.01, 1.0))
        for k, penalty in enumerate((0.01, 1.0)):
            theirs = Ridge(alpha=penalty * n_windows).fit(features, targets)
            np.testing.assert_allclose(coefficients[k], theirs.coef_.T, atol=1e-8)
            np.testing.assert_allclose(intercepts[k], theirs.intercept_, atol=1e-8)


def test_cosines_hold_a_straight_line_in_two_terms():
    windows = np.linspace(-1, 1, 50)[None, None] + 3
    terms = trends(windows, 8)[0]
    np.testing.assert_allclose(terms[0], 3 * np.sqrt(50))
    assert terms[1] ** 2 > 0.98 * (terms[1:] ** 2).sum()
    assert abs(terms[2]) < 1e-10


def test_power_is_seen_in_its_octave():
    t = np.arange(512)
    windows = np.random.default_rng(0).normal(size=(1, 1, 512))
    tone = 10 * np.sin(2 * np.pi * 0.09 * t)
    increase = octave_powers(windows + tone, [0, 1, 2, 3])[0] - octave_powers(windows, [0, 1, 2, 3])[0]
    assert increase.argmax() == 2
    assert abs(increase[[0, 3]]).max() < 0.05 * increase[2]
    assert octave_powers(windows[..., :8], [3, 4, 5]) is None


def random_covariances(n=6, n_channels=5, seed=0):
    factors = np.random.default_rng(seed).normal(size=(n, n_channels, 9))
    return factors @ factors.transpose(0, 2, 1)


def test_tangent_vectors_agree_with_pyriemann_at_the_same_point():
    from pyriemann.utils.tangentspace import tangent_space

    covariances = random_covariances()
    mean = covariances.mean(axis=0)
    whitening = inv_sqrtm(mean)
    shrunk = np.stack([0.9 * c + 0.1 * np.trace(whitening @ c @ whitening) / 5 * mean for c in covariances])
    ours = log_covariances(covariances, whitening)
    np.testing.assert_allclose(ours @ ours.T, (theirs := tangent_space(shrunk, mean)) @ theirs.T, atol=1e-6)


def test_tangent_vectors_keep_their_distances_under_mixing():
    covariances = random_covariances()
    mixing = np.random.default_rng(1).normal(size=(5, 5))
    vectors = [log_covariances(c, inv_sqrtm(c.mean(axis=0))) for c in (covariances, mixing @ covariances @ mixing.T)]
    np.testing.assert_allclose(vectors[0] @ vectors[0].T, vectors[1] @ vectors[1].T, atol=1e-7)


def test_covariances_by_octave_tell_in_which_octave_channels_go_together():
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(1, 2, 4096))
    shared = 3 * np.sin(2 * np.pi * 0.18 * np.arange(4096))
    together = octave_covariances(windows + shared, [0, 1])
    apart = octave_covariances(windows, [0, 1])
    assert together.shape == (2, 1, 2, 2)
    np.testing.assert_allclose(together[0], apart[0], rtol=1e-3, atol=1e-3 * apart.max())
    correlation = together[1, 0, 0, 1] / np.sqrt(together[1, 0, 0, 0] * together[1, 0, 1, 1])
    assert correlation > 0.8
    assert octave_covariances(windows[..., :4], [3, 4]) is None


def test_short_windows_have_fewer_descriptions():
    X, *_ = noise(n=3, n_times=1)
    assert set(potentials(X)) == {"1 bins"}
    X, *_ = noise(n=3, n_times=40)
    assert set(potentials(X)) == {"5 bins", "10 bins", "25 bins", "4 cosines", "8 cosines", "16 cosines"}
    assert len(rhythms(X, X)) >= 4


def description_of(decoder):
    return {name for member in decoder.members_ for name, _ in member["blocks"]}


def test_finds_a_slow_potential():
    X, y, _ = noise()
    X[:, 1] += np.where(y, 0.3, -0.3)[:, None] * np.sin(np.linspace(0, np.pi, 200))
    fitted = AutoDecoder().fit(X[:70], y[:70])
    assert fitted.score(X[70:], y[70:]) > 0.9
    shares = dict(fitted.members_[0]["blocks"])
    assert sum(share for name, share in shares.items() if name.endswith(("bins", "cosines"))) >= 0.7


def test_finds_a_rhythm_that_no_potential_shows():
    X, y, rng = noise()
    t = np.arange(200)
    X[:, 2] += (y == 1)[:, None] * 1.5 * np.sin(2 * np.pi * 0.1 * t + rng.uniform(0, 6, (100, 1)))
    fitted = AutoDecoder().fit(X[:70], y[:70])
    assert fitted.score(X[70:], y[70:]) > 0.9
    assert any(name.startswith(("power", "covariance")) for name in description_of(fitted))


def test_adds_up_potentials_and_power():
    X, y, _ = noise(n=400, seed=3)
    X[:, 0] += np.where(y, 0.08, -0.08)[:, None]
    X[y == 1, 1] *= 1.08
    without_power, without_potential = X.copy(), X.copy()
    without_power[y == 1, 1] /= 1.08
    without_potential[:, 0] -= np.where(y, 0.08, -0.08)[:, None]
    both, power_only, potential_only = (
        AutoDecoder(n_folds=3).fit(data[:200], y[:200]).score(data[200:], y[200:])
        for data in (X, without_potential, without_power)
    )
    assert min(power_only, potential_only) > 0.6
    assert both > max(power_only, potential_only) + 0.03


def test_several_classes_one_missing_from_a_group():
    X, y, _ = noise(n=120, n_classes=3)
    for k in range(3):
        X[y == k, k] += 0.4
    labels = np.array(["a", "b", "c"])[y]
    groups = np.arange(120) // 30
    keep = ~((groups == 0) & (labels == "c"))
    fitted = AutoDecoder().fit(X[keep], labels[keep], groups=groups[keep])
    assert fitted.score(X, labels) > 0.9
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1.0)


def test_noise_stays_at_chance_and_probabilities_say_so():
    X, y, _ = noise(n=200)
    fitted = AutoDecoder().fit(X[:100], y[:100])
    assert abs(fitted.score(X[100:], y[100:]) - 0.5) < 0.15
    confidence = fitted.predict_proba(X[100:]).max(axis=1)
    assert confidence.mean() < 0.7


def test_unit_of_the_data_does_not_matter_and_the_seed_is_none():
    X, y, _ = noise()
    X[:, 1] += 0.2 * y[:, None]
    fitted = AutoDecoder().fit(X[:70], y[:70])
    np.testing.assert_array_equal(clone(fitted).fit(X[:70], y[:70]).predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_allclose(
        AutoDecoder().fit(1e-6 * X[:70], y[:70]).predict_proba(1e-6 * X), fitted.predict_proba(X), atol=1e-5
    )


def test_many_channels_are_reduced_and_missing_rank_is_named():
    X, y, rng = noise(n=300, n_channels=30, n_times=64)
    X[:, 0] += 0.5 * y[:, None]
    fitted = AutoDecoder(max_directions=8).fit(X[:280], y[:280])
    assert fitted.subspace_.basis_.shape == (30, 8)
    assert fitted.score(X[280:], y[280:]) > 0.9
    referenced = X - X.mean(axis=1, keepdims=True)
    with pytest.warns(UserWarning, match="rank 29 in 30 channels"):
        AutoDecoder().fit(referenced[:60], y[:60])
    assert rng is not None


def test_messages():
    X, y, _ = noise(n=20)
    with pytest.raises(DataError, match="class 1 has 1 of 11 windows"):
        AutoDecoder().fit(X[:11], [0] * 10 + [1])
    with pytest.raises(UsageError, match="must be 1 or more, got 0"):
        AutoDecoder(n_members=0).fit(X, y)
    with pytest.raises(DataError, match="class 2 is in one; pass other groups"):
        AutoDecoder().fit(X, np.r_[y[:16], [2] * 4], groups=np.repeat(np.arange(5), 4))
    flat = X.copy()
    flat[4] = 1.0
    with pytest.raises(DataError, match="flat in 1 of 20 windows"):
        AutoDecoder().fit(flat, y)
    assert AutoDecoder().fit(X[..., :1], y).predict(X[:1, :, :1]).shape == (1,)
