"""Switching dynamics in information form against the moment filter, dense Gaussian algebra and exact posteriors of states."""

import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from neuropil.errors import UsageError
from neuropil.stats import kalman
from neuropil.stats import kalman_information as info

D, T, N, L = 2, 6, 3, 2


@pytest.fixture
def dynamics():
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((L, D, D))
    return info.SwitchingDynamics(
        0.7 * rng.standard_normal((L, D, D)),
        rng.standard_normal((L, D)),
        0.3 * roots @ roots.swapaxes(1, 2) + 0.2 * np.eye(D),
        rng.standard_normal(D),
        np.array([[1.0, 0.3], [0.3, 0.8]]),
    )


@pytest.fixture
def seen():
    """Design, weights (0 where missing), values."""
    rng = np.random.default_rng(1)
    weights = rng.gamma(2.0, size=(T, N))
    weights[1] = 0.0
    weights[3, 1:] = 0.0
    return rng.standard_normal((N, D)), weights, rng.standard_normal((T, N))


STATES = np.array([0, 1, 1, 0, 1, 0])


def dense_prior(dynamics, states):
    """Mean and covariance of the whole trajectory."""
    mean, covariance = np.zeros((T, D)), np.zeros((T, D, T, D))
    mean[0], covariance[0, :, 0] = dynamics.initial_mean, dynamics.initial_covariance
    for t in range(1, T):
        A = dynamics.transition[states[t]]
        mean[t] = A @ mean[t - 1] + dynamics.offset[states[t]]
        for s in range(t):
            covariance[t, :, s] = A @ covariance[t - 1, :, s]
            covariance[s, :, t] = covariance[t, :, s].T
        covariance[t, :, t] = A @ covariance[t - 1, :, t - 1] @ A.T + dynamics.covariance[states[t]]
    return mean.ravel(), covariance.reshape(T * D, T * D)


def dense_posterior(dynamics, evidence, states):
    """Mean, covariance and log evidence by one big Gaussian."""
    mean, covariance = dense_prior(dynamics, states)
    J = np.zeros((T, D, T, D))
    J[np.arange(T), :, np.arange(T)] = evidence.precision
    J, h = J.reshape(T * D, T * D), evidence.potential.ravel()
    prior_precision = np.linalg.inv(covariance)
    precision = prior_precision + J
    total = prior_precision @ mean + h
    posterior = np.linalg.solve(precision, total)
    log_evidence = 0.5 * (
        total @ posterior
        - mean @ prior_precision @ mean
        - np.linalg.slogdet(precision)[1]
        + np.linalg.slogdet(prior_precision)[1]
    )
    return posterior, np.linalg.inv(precision), log_evidence


def test_gather_sums_channels(seen):
    design, weights, values = seen
    evidence = info.gather(design, weights, weights * values)
    for t in range(T):
        np.testing.assert_allclose(evidence.precision[t], design.T @ np.diag(weights[t]) @ design)
        np.testing.assert_allclose(evidence.potential[t], design.T @ (weights[t] * values[t]))


def test_filter_and_smoother_are_the_moment_filters(dynamics, seen):
    """One state, no offset: agreement with neuropil.stats.kalman, whose missing entries are NaN."""
    design, weights, values = seen
    still = dynamics._replace(offset=np.zeros((L, D)))
    stay = np.zeros(T, dtype=int)
    noise = np.stack([np.diag(1 / np.where(w > 0, w, 1.0)) for w in weights])[None]
    model = kalman.LinearGaussian(
        still.initial_mean, still.initial_covariance, still.transition[0], still.covariance[0], design, noise
    )
    observed = np.where(weights > 0, values, np.nan)[None]
    evidence = info.gather(design, weights, weights * values)
    filtered, expected = info.filter(still, evidence, stay), kalman.filter(model, observed)
    np.testing.assert_allclose(filtered.means, expected.means[0], atol=1e-10)
    np.testing.assert_allclose(filtered.covariances, expected.covariances[0], atol=1e-10)
    there = weights > 0
    constant = 0.5 * (np.log(weights[there] / (2 * np.pi)) - weights[there] * values[there] ** 2).sum()
    assert filtered.log_evidence + constant == pytest.approx(expected.log_likelihood[0])
    smoothed, expected_smoothed = info.smooth(still, evidence, stay), kalman.smooth(model, observed)
    np.testing.assert_allclose(smoothed.means, expected_smoothed.means[0], atol=1e-10)
    np.testing.assert_allclose(smoothed.covariances, expected_smoothed.covariances[0], atol=1e-10)


def test_switching_against_dense_algebra(dynamics, seen):
    design, weights, values = seen
    evidence = info.gather(design, weights, weights * values)
    mean, covariance, log_evidence = dense_posterior(dynamics, evidence, STATES)
    smoothed = info.smooth(dynamics, evidence, STATES)
    np.testing.assert_allclose(smoothed.means.ravel(), mean, atol=1e-9)
    blocks = covariance.reshape(T, D, T, D)[np.arange(T), :, np.arange(T)]
    np.testing.assert_allclose(smoothed.covariances, blocks, atol=1e-9)
    assert smoothed.log_evidence == pytest.approx(log_evidence)


def test_draws_have_the_posterior_of_the_whole_trajectory(dynamics, seen):
    design, weights, values = seen
    evidence = info.gather(design, weights, weights * values)
    mean, covariance, _ = dense_posterior(dynamics, evidence, STATES)
    rng = np.random.default_rng(2)
    n = 20_000
    draws = np.stack([info.sample_path(dynamics, evidence, STATES, rng).ravel() for _ in range(n)])
    errors = (draws.mean(axis=0) - mean) / np.sqrt(np.diag(covariance) / n)
    assert np.abs(errors).max() < 4
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.06 * np.diag(covariance).max())


def test_states_redrawn_in_blocks_have_their_exact_posterior(dynamics, seen):
    """All 2^6 sequences of states weighed by dense evidence, against the chain."""
    design, weights, values = seen
    evidence = info.gather(design, 0.3 * weights, 0.3 * weights * values)
    transition, jump = np.array([[0.8, 0.2], [0.35, 0.65]]), np.array([0.4, 0.6])
    weighed = {}
    for states in itertools.product(range(L), repeat=T):
        path = np.array(states)
        prior = np.log(transition[path[:-1], path[1:]]).sum()
        weighed[states] = prior + dense_posterior(dynamics, evidence, path)[2]
    probabilities = np.exp(np.array(list(weighed.values())) - max(weighed.values()))
    probabilities /= probabilities.sum()
    expected = probabilities @ np.array(list(weighed))
    rng = np.random.default_rng(3)
    states, drawn, paths = STATES, [], []
    for _ in range(12_000):
        states, path = info.sample_states_and_path(
            dynamics, evidence, states, transition, jump, rng, n_candidates=3, block_lengths=(2, 4)
        )
        drawn.append(states)
        paths.append(path)
    np.testing.assert_allclose(np.mean(drawn, axis=0), expected, atol=0.03)
    # probabilities of whole sequences, not of single steps only
    codes = np.array(drawn) @ 2 ** np.arange(T)[::-1]
    np.testing.assert_allclose(np.bincount(codes, minlength=2**T) / len(codes), probabilities, atol=0.025)
    means = np.stack([dense_posterior(dynamics, evidence, np.array(path))[0] for path in weighed])
    np.testing.assert_allclose(np.mean(paths, axis=0).ravel(), probabilities @ means, atol=0.06)


def test_one_candidate_leaves_states_alone(dynamics, seen):
    design, weights, values = seen
    evidence = info.gather(design, weights, weights * values)
    transition = np.full((L, L), 0.5)
    states, _ = info.sample_states_and_path(dynamics, evidence, STATES, transition, np.full(L, 0.5), 0, n_candidates=1)
    np.testing.assert_array_equal(states, STATES)


def test_same_seed_same_draw(dynamics, seen):
    design, weights, values = seen
    evidence = info.gather(design, weights, weights * values)
    np.testing.assert_array_equal(
        info.sample_path(dynamics, evidence, STATES, 7), info.sample_path(dynamics, evidence, STATES, 7)
    )


def test_long_sequences_stay_finite():
    """2,000 steps in 12 dimensions, growing dynamics, nearly exact observations now and then."""
    rng = np.random.default_rng(4)
    d, n = 12, 2000
    dynamics = info.SwitchingDynamics(
        1.01 * np.linalg.qr(rng.standard_normal((1, d, d)))[0],
        np.zeros((1, d)),
        1e-4 * np.eye(d)[None],
        np.zeros(d),
        np.eye(d),
    )
    evidence = info.Evidence(np.zeros((n, d, d)), np.zeros((n, d)))
    evidence.precision[::10] = 1e8 * np.eye(d)
    path = info.sample_path(dynamics, evidence, np.zeros(n, dtype=int), 0)
    assert np.isfinite(path).all()
    assert np.abs(path[::10]).max() < 1e-3


def test_density_of_a_path_is_the_gaussian_one(dynamics):
    """The dense prior above is itself right: its log density is the sum of the steps'."""
    rng = np.random.default_rng(5)
    path = rng.standard_normal((T, D))
    mean, covariance = dense_prior(dynamics, STATES)
    value = multivariate_normal(dynamics.initial_mean, dynamics.initial_covariance).logpdf(path[0])
    for t in range(1, T):
        s = STATES[t]
        step = multivariate_normal(dynamics.transition[s] @ path[t - 1] + dynamics.offset[s], dynamics.covariance[s])
        value += step.logpdf(path[t])
    assert multivariate_normal(mean, covariance).logpdf(path.ravel()) == pytest.approx(value)


def test_messages(dynamics, seen):
    design, weights, values = seen
    evidence = info.gather(design, weights, weights * values)
    with pytest.raises(UsageError, match="states from 0 to 1"):
        info.filter(dynamics, evidence, np.full(T, 2))
    with pytest.raises(UsageError, match=r"precision must have shape \(4, 2, 2\)"):
        info.filter(dynamics, evidence, np.zeros(4, dtype=int))
    with pytest.raises(UsageError, match="one candidate or more"):
        info.sample_states_and_path(dynamics, evidence, STATES, np.full((L, L), 0.5), np.full(L, 0.5), n_candidates=0)
