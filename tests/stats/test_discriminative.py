"""The discriminative Kalman filter against its equations, the Kalman filter and values by hand; kernel averages against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import eigh
from sklearn.metrics.pairwise import rbf_kernel

from neuropil.errors import DataError, UsageError
from neuropil.stats import kalman
from neuropil.stats.discriminative import discriminative_kalman_filter
from neuropil.stats.kernel_regression import (
    N_LEFT_OUT,
    leave_one_out_bandwidth,
    leave_one_out_errors,
    nadaraya_watson,
)

ONE = np.ones((1, 1))
inv = np.linalg.inv


def dynamics(rng, d):
    A = rng.standard_normal((d, d))
    A *= 0.95 / np.abs(np.linalg.eigvals(A)).max()
    G = rng.standard_normal((d, 2 * d)) / d
    G = G @ G.T
    return A, G, kalman.stationary_covariance(A, G)


def regression(rng, n_times, S, scale):
    """Means and covariances, of which some exceed S in some direction if `scale` is large."""
    root = rng.standard_normal((n_times, len(S), 2 * len(S)))
    Q = np.linalg.cholesky(S) @ (root @ root.swapaxes(1, 2)) @ np.linalg.cholesky(S).T * scale / (2 * len(S))
    return rng.standard_normal((n_times, len(S))), (Q + Q.swapaxes(1, 2)) / 2


def as_written(f, Q, A, G, S, correction):
    """The recursion with inverses, as in the paper."""
    means, covariances, corrected = [], [], []
    for t in range(len(f)):
        values, vectors = eigh(Q[t], S)
        exceeds, q, prior = values[-1] > 1, Q[t], inv(S)
        if correction == "clip":
            q = S @ vectors @ np.diag(np.minimum(values, 1)) @ inv(vectors)
        elif correction == "additive" and exceeds:
            q = inv(inv(q) + inv(S))
        elif correction == "robust":
            prior, exceeds = 0, False
        if t == 0:
            mean, P = f[0], q
        else:
            M = A @ P @ A.T + G
            P = inv(inv(M) + inv(q) - prior)
            mean = P @ (inv(M) @ A @ mean + inv(q) @ f[t])
        means.append(mean)
        covariances.append(P)
        corrected.append(exceeds)
    return np.array(means), np.array(covariances), np.array(corrected)


@pytest.mark.parametrize("correction", ["clip", "additive", "robust"])
@pytest.mark.parametrize(("d", "scale"), [(1, 1.0), (2, 0.7), (4, 0.6), (10, 0.5)])
def test_equals_the_recursion_as_written(correction, d, scale):
    rng = np.random.default_rng(d)
    A, G, S = dynamics(rng, d)
    f, Q = regression(rng, 60, S, scale)
    found = discriminative_kalman_filter(f[None], Q[None], A, G, S, correction)
    means, covariances, corrected = as_written(f, Q, A, G, S, correction)
    np.testing.assert_allclose(found.means[0], means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.covariances[0], covariances, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found.corrected[0], corrected)
    assert correction == "robust" or 0 < corrected.sum() < 60 or d == 10


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_is_the_kalman_filter_for_gaussian_data(seed, d):
    rng = np.random.default_rng(seed)
    A, G, S = dynamics(rng, d)
    C = rng.standard_normal((4, d))
    model = kalman.LinearGaussian(np.zeros(d), S, A, G, C, np.eye(4))
    x = kalman.simulate(model, 2, 50, rng).observations
    gain = np.linalg.solve(C @ S @ C.T + np.eye(4), C @ S).T
    Q = S - gain @ C @ S
    found = discriminative_kalman_filter(x @ gain.T, (Q + Q.T) / 2, A, G, S)
    expected = kalman.filter(model, x)
    np.testing.assert_allclose(found.means, expected.means, atol=1e-8)
    np.testing.assert_allclose(found.covariances, expected.covariances, atol=1e-8)


def test_by_hand():
    # A = 0.6, G = 0.64, S = 1; Q = 0.5 says a precision of 2 - 1 = 1
    f = np.array([[[1.0], [np.nan], [1.0]]])
    found = discriminative_kalman_filter(f, 0.5 * ONE, 0.6 * ONE, 0.64 * ONE, ONE)
    M = 0.36 * (0.36 * 0.5 + 0.64) + 0.64
    P = 1 / (1 / M + 1)
    np.testing.assert_allclose(found.covariances[0, :, 0, 0], [0.5, 0.82, P], rtol=1e-14)
    np.testing.assert_allclose(found.means[0, :, 0], [1.0, 0.6, P * (0.36 / M + 2.0)], rtol=1e-14)


def test_a_regression_that_knows_nothing_changes_nothing():
    # Q = S: p(z | x) is the prior, f = 0; and everything beyond S is clipped to it
    rng = np.random.default_rng(0)
    A, G, S = dynamics(rng, 3)
    f, Q = np.zeros((1, 6, 3)), np.tile(S, (1, 6, 1, 1))
    f[0, 0], Q[0, 0] = 1.0, 0.1 * S
    Q[0, 3:] *= 5
    found = discriminative_kalman_filter(f, Q, A, G, S)
    assert found.corrected[0].tolist() == [False, False, False, True, True, True]
    silent = f.copy()
    silent[0, 1:] = np.nan
    expected = discriminative_kalman_filter(silent, Q, A, G, S)
    np.testing.assert_allclose(found.means, expected.means, atol=1e-12)
    np.testing.assert_allclose(found.covariances, expected.covariances, atol=1e-12)


@pytest.mark.parametrize("correction", ["clip", "additive", "robust"])
def test_stays_positive_definite_for_a_hundred_thousand_steps(correction):
    rng = np.random.default_rng(1)
    A, G, S = dynamics(rng, 2)
    A, G = 0.9999 * np.eye(2), np.zeros((2, 2))  # nothing is forgotten: the covariance shrinks all the time
    f, Q = regression(rng, 100_000, S, 0.9)
    found = discriminative_kalman_filter(f[None], Q[None], A, G, S, correction)
    assert np.isfinite(found.means).all()
    np.linalg.cholesky(found.covariances[0])
    np.testing.assert_array_equal(found.covariances, found.covariances.swapaxes(-1, -2))


def test_trials_of_any_length_are_filtered_by_themselves_and_can_be_gone_on_with():
    rng = np.random.default_rng(2)
    A, G, S = dynamics(rng, 3)
    f, Q = regression(rng, 30, S, 0.8)
    cuts = [slice(0, 12), slice(12, 13), slice(13, 30)]
    listed = discriminative_kalman_filter([f[c] for c in cuts], [Q[c] for c in cuts], A, G, S)
    padded_f, padded_Q = np.zeros((3, 17, 3)), np.zeros((3, 17, 3, 3))
    for k, c in enumerate(cuts):
        padded_f[k, : c.stop - c.start], padded_Q[k, : c.stop - c.start] = f[c], Q[c]
    lengths = np.array([12, 1, 17])
    padded = discriminative_kalman_filter(padded_f, padded_Q, A, G, S, lengths=lengths)
    assert np.isnan(padded.means[1, 1:]).all()
    for k, c in enumerate(cuts):
        alone = discriminative_kalman_filter(f[None, c], Q[None, c], A, G, S)
        np.testing.assert_array_equal(listed.means[k], alone.means[0])
        np.testing.assert_array_equal(padded.covariances[k, : lengths[k]], alone.covariances[0])
    ahead = kalman.predict(listed.means[0][5], listed.covariances[0][5], A, G)
    rest = discriminative_kalman_filter(f[None, 6:12], Q[None, 6:12], A, G, S, initial=ahead)
    np.testing.assert_allclose(rest.means[0], listed.means[0][6:], atol=1e-12)


def test_messages_of_the_filter():
    f, Q = np.zeros((1, 4, 2)), np.tile(np.eye(2), (1, 4, 1, 1))
    ok = (0.5 * np.eye(2), 0.75 * np.eye(2), np.eye(2))
    with pytest.raises(UsageError, match=r"correction must be one of 'clip', 'additive', 'robust', got 'clamp'"):
        discriminative_kalman_filter(f, Q, *ok, "clamp")
    with pytest.raises(UsageError, match="S must be symmetric and positive definite"):
        discriminative_kalman_filter(f, Q, *ok[:2], np.diag([1.0, 0.0]))
    with pytest.raises(UsageError, match="G must be a covariance"):
        discriminative_kalman_filter(f, Q, ok[0], np.diag([1.0, -1.0]), ok[2])
    with pytest.raises(UsageError, match=r"A must be finite and of shape \(2, 2\)"):
        discriminative_kalman_filter(f, Q, np.full((2, 2), np.nan), *ok[1:])
    with pytest.raises(DataError, match="Q must have one covariance for each step of f, got 3 steps for 4"):
        discriminative_kalman_filter(f, Q[:, :3], *ok)
    with pytest.raises(DataError, match="f must be finite, got infinity"):
        discriminative_kalman_filter(np.full_like(f, np.inf), Q, *ok)
    with pytest.raises(DataError, match="finite and symmetric"):
        discriminative_kalman_filter(f, Q + np.array([[0, 1], [0, 0]]), *ok)
    Q[0, 2] = np.diag([1.0, 0.0])
    with pytest.raises(DataError, match="Q of sequence 0 is not positive definite at step 2"):
        discriminative_kalman_filter(f, Q, *ok)


@given(st.integers(0, 1000), st.floats(0.2, 3.0))
def test_kernel_averages_are_scikit_learns_kernel_normalised(seed, bandwidth):
    rng = np.random.default_rng(seed)
    X, Y, queries = rng.standard_normal((40, 3)), rng.standard_normal((40, 2)), rng.standard_normal((7, 3))
    weights = rbf_kernel(queries, X, gamma=0.5 / bandwidth**2)
    found = nadaraya_watson(X, Y, queries, bandwidth)
    np.testing.assert_allclose(found.values, weights @ Y / weights.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.n_effective, weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1), rtol=1e-9)


def test_an_average_far_from_all_data_is_the_nearest_sample():
    X, Y = np.array([[0.0], [1.0]]), np.array([[3.0], [5.0]])
    found = nadaraya_watson(X, Y, np.array([[1e8], [-1e8]]), 1e-3)
    assert found.values[:, 0].tolist() == [5.0, 3.0]
    assert found.n_effective.tolist() == [1.0, 1.0]


def test_leave_one_out_is_refitting_without_each_sample():
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((30, 2)), rng.standard_normal((30, 3))
    errors = leave_one_out_errors(X, Y, np.array([0.3, 1.5]))
    for bandwidth, error in zip((0.3, 1.5), errors, strict=True):
        left = [
            nadaraya_watson(np.delete(X, k, 0), np.delete(Y, k, 0), X[k : k + 1], bandwidth).values[0] - Y[k]
            for k in range(30)
        ]
        assert error == pytest.approx(np.mean(np.square(left)), rel=1e-12)


def test_the_bandwidth_is_the_best_one_and_scales_with_the_features():
    rng = np.random.default_rng(4)
    X = rng.uniform(-1, 1, (300, 1))
    Y = np.sin(5 * X) + 0.2 * rng.standard_normal((300, 1))
    best = leave_one_out_bandwidth(X, Y)
    around = leave_one_out_errors(X, Y, best * np.geomspace(0.2, 5, 60))
    assert leave_one_out_errors(X, Y, np.array([best]))[0] <= around.min() * 1.001
    assert leave_one_out_bandwidth(1000 * X, Y) == pytest.approx(1000 * best, rel=1e-6)


def test_of_many_samples_some_are_left_out_and_all_predict():
    rng = np.random.default_rng(5)
    X, Y = rng.standard_normal((N_LEFT_OUT + 500, 1)), rng.standard_normal((N_LEFT_OUT + 500, 1))
    assert leave_one_out_errors(X, Y, np.array([1e6]))[0] == pytest.approx(1.0, abs=0.1)


def test_messages_of_the_averages():
    X = np.zeros((3, 2))
    with pytest.raises(DataError, match="features that vary"):
        leave_one_out_bandwidth(X, X)
    with pytest.raises(DataError, match="got 2 for 3"):
        nadaraya_watson(X, X[:2], X, 1.0)
    with pytest.raises(DataError, match="the 2 features of the data, got 1"):
        nadaraya_watson(X, X, X[:, :1], 1.0)
    with pytest.raises(UsageError, match="positive and finite, got 0"):
        nadaraya_watson(X, X, X, 0.0)
