"""Extended and unscented filters: equal to the Kalman filter for lines, to a grid for one dimension, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import DataError, UsageError
from neuropil.stats import kalman
from neuropil.stats.kalman_nonlinear import (
    NonlinearGaussian,
    extended_filter,
    sigma_weights,
    unscented_filter,
    unscented_transform,
)

FILTERS = [extended_filter, unscented_filter]


def linear(seed=0, d=3, n=5):
    rng = np.random.default_rng(seed)
    A = 0.9 * np.linalg.qr(rng.standard_normal((d, d)))[0]
    root = rng.standard_normal((n, n))
    model = kalman.LinearGaussian(
        rng.standard_normal(d), np.eye(d), A, 0.2 * np.eye(d), rng.standard_normal((n, d)), root @ root.T + np.eye(n)
    )
    return model, kalman.simulate(model, 4, 60, rng).observations


def as_functions(model, *, moving=False):
    C, A = model.observation, model.transition
    return NonlinearGaussian(
        model.initial_mean, model.initial_covariance, (lambda z: z @ A.T) if moving else A, model.transition_covariance,
        lambda z: z @ C.T, model.observation_covariance,
    )  # fmt: skip


@pytest.mark.parametrize("run", FILTERS)
@pytest.mark.parametrize("moving", [False, True])
def test_a_linear_model_is_filtered_as_by_the_kalman_filter_whatever_is_missing(run, moving):
    model, y = linear()
    y[np.random.default_rng(1).random(y.shape) < 0.2] = np.nan
    y[0, 3:9] = np.nan
    lengths = np.array([60, 17, 60, 1])
    expected, found = kalman.filter(model, y, lengths), run(as_functions(model, moving=moving), y, lengths)
    np.testing.assert_allclose(found.means, expected.means, atol=1e-8)
    np.testing.assert_allclose(found.covariances, expected.covariances, atol=1e-8)
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-9)
    listed = run(as_functions(model, moving=moving), [y[0], y[1, :17]])
    np.testing.assert_allclose(listed.means[1], expected.means[1, :17], atol=1e-8)


@pytest.mark.parametrize("run", FILTERS)
def test_singular_covariances_are_allowed(run):
    model, y = linear()
    model = model._replace(initial_covariance=np.diag([1.0, 0.0, 0.0]), transition_covariance=np.diag([0.3, 0.0, 0.0]))
    np.testing.assert_allclose(run(as_functions(model), y).means, kalman.filter(model, y).means, atol=1e-7)


def grid_filter(log_density, y, a, q, v):
    """Mean and variance of one state on a dense grid."""
    grid = np.linspace(-6, 6, 1201)
    step = np.exp(-((grid[:, None] - a * grid) ** 2) / (2 * q))
    step /= step.sum(axis=0)
    prior = np.exp(-(grid**2) / (2 * v))
    means, variances = [], []
    for t, value in enumerate(y):
        prior = prior / prior.sum() if t == 0 else step @ prior
        logs = log_density(value, grid[:, None]).sum(axis=1)
        prior = prior * np.exp(logs - logs.max())
        prior /= prior.sum()
        means.append(prior @ grid)
        variances.append(prior @ grid**2 - means[-1] ** 2)
    return np.array(means), np.array(variances)


@pytest.mark.parametrize("run", FILTERS)
@pytest.mark.parametrize("poisson", [False, True])
def test_the_less_curved_the_closer_to_a_dense_grid(run, poisson):
    rng = np.random.default_rng(0)
    a, q = 0.95, 1 - 0.95**2
    z = np.zeros(400)
    for t in range(1, 400):
        z[t] = a * z[t - 1] + np.sqrt(q) * rng.standard_normal()
    apart = []
    for curvature in (0.05, 0.1, 0.5):
        gains = curvature * np.linspace(-1, 1, 8)

        def observe(states, gains=gains):
            return np.exp(1.5 + states @ gains[None])

        def log_density(value, states, observe=observe):
            rates = observe(states)
            return value * np.log(rates) - rates if poisson else -((value - rates) ** 2) / 4.0

        rates = observe(z[:, None])
        y = rng.poisson(rates) * 1.0 if poisson else rates + np.sqrt(2.0) * rng.standard_normal(rates.shape)
        model = NonlinearGaussian(
            np.zeros(1), np.eye(1), a * np.eye(1), q * np.eye(1), observe, observe if poisson else 2.0 * np.eye(8)
        )
        found = run(model, y[None])
        means, variances = grid_filter(log_density, y, a, q, 1.0)
        apart.append(np.sqrt(np.mean((found.means[0, :, 0] - means) ** 2) / variances.mean()))
        assert np.mean(found.covariances[0, :, 0, 0]) == pytest.approx(variances.mean(), rel=0.1)
    assert apart[0] < apart[1] < apart[2]
    assert apart[0] < 0.06
    assert apart[2] < 0.6
    # an approximation that errs little: the state is told nearly as well as by the grid
    error, least = (np.sqrt(np.mean((m - z) ** 2)) for m in (found.means[0, :, 0], means))
    assert error < 1.1 * least


def test_given_slopes_and_differences_agree():
    model, y = linear(d=2, n=3)
    C = model.observation
    curved = NonlinearGaussian(
        model.initial_mean, model.initial_covariance, np.sin, model.transition_covariance, lambda z: np.tanh(z @ C.T),
        model.observation_covariance,
    )  # fmt: skip
    sloped = curved._replace(
        observe_slope=lambda z: (1 - np.tanh(z @ C.T) ** 2)[:, :, None] * C,
        transition_slope=lambda z: np.cos(z)[:, :, None] * np.eye(2),
    )
    for a, b in zip(extended_filter(curved, y), extended_filter(sloped, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


@given(st.integers(1, 6), st.floats(0.3, 2.0), st.floats(0.0, 2.0), st.floats(0.0, 3.0))
def test_the_transform_of_a_line_is_exact(d, alpha, beta, kappa):
    rng = np.random.default_rng(d)
    A, root = rng.standard_normal((4, d)), rng.standard_normal((d, d))
    P, m = root @ root.T, rng.standard_normal(d)
    moved = unscented_transform(lambda z: z @ A.T + 1, m[None], P[None], alpha=alpha, beta=beta, kappa=kappa)
    np.testing.assert_allclose(moved.mean[0], A @ m + 1, atol=1e-8)
    np.testing.assert_allclose(moved.covariance[0], A @ P @ A.T, atol=1e-8)
    np.testing.assert_allclose(moved.cross[0], P @ A.T, atol=1e-8)
    weights = sigma_weights(d, alpha, beta, kappa)
    assert weights.middle + 2 * d * weights.other == pytest.approx(1)


def test_long_sequences_stay_positive_definite():
    model, _ = linear(d=4, n=2)
    y = np.random.default_rng(0).standard_normal((1, 3000, 2))
    C = model.observation
    curved = as_functions(model)._replace(observe=lambda z: np.sin(z @ C.T), observation_covariance=1e-6 * np.eye(2))
    for run in FILTERS:
        np.linalg.cholesky(run(curved, y).covariances[0])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"initial_mean": np.zeros((2, 2))}, UsageError, "initial_mean must be finite numbers of shape"),
        ({"transition": np.eye(2)}, UsageError, r"a function or have shape \(3, 3\)"),
        ({"observe": np.eye(3)}, UsageError, "observe must be a function"),
        ({"observe": lambda z: z}, DataError, "observe gives 3 channels, the observations have 5"),
        ({"observe": lambda z: z[:, 0]}, UsageError, "give one row each"),
        ({"observation_covariance": np.eye(4)}, UsageError, r"observation_covariance must have shape \(5, 5\)"),
        ({"observation_covariance": lambda z: 0 * z @ np.ones((3, 5))}, UsageError, "5 positive variances"),
        ({"observation_covariance": np.zeros((5, 5))}, UsageError, "not positive definite"),
        ({"observe": lambda z: np.full((len(z), 5), np.inf) * z[:, :1]}, DataError, "left what its functions"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_refused(change, error, words):
    model, y = linear()
    with pytest.raises(error, match=words) as caught:
        extended_filter(as_functions(model)._replace(**change), y)
    assert "\n" not in str(caught.value)


def test_infinite_observations_and_bad_points_are_refused():
    model, y = linear()
    with pytest.raises(UsageError, match="Points need alpha > 0"):
        unscented_filter(as_functions(model), y, alpha=0.0)
    y[0, 0, 0] = np.inf
    with pytest.raises(DataError, match="observations are infinite"):
        unscented_filter(as_functions(model), y)
