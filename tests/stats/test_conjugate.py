"""The conjugate prior of linear dynamics against scipy's distributions, the chain rule and its own moments."""

import numpy as np
import pytest
from scipy.stats import invwishart, matrix_normal

from neuropil.errors import UsageError
from neuropil.stats.conjugate import (
    MatrixNormalInverseWishart,
    inverse_wishart_root,
    log_density,
    log_marginal_likelihood,
    sample,
    update,
)


@pytest.fixture
def prior():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((2, 2))
    columns = rng.standard_normal((3, 3))
    return MatrixNormalInverseWishart(
        rng.standard_normal((2, 3)), columns @ columns.T + np.eye(3), 6.5, root @ root.T + np.eye(2)
    )


@pytest.fixture
def pairs():
    rng = np.random.default_rng(1)
    return rng.standard_normal((12, 3)), rng.standard_normal((12, 2))


def test_density_is_that_of_scipy(prior):
    rng = np.random.default_rng(2)
    B, Q = rng.standard_normal((2, 3)), np.array([[1.3, 0.2], [0.2, 0.8]])
    expected = invwishart(prior.degrees, prior.scale).logpdf(Q) + matrix_normal(
        prior.mean, Q, np.linalg.inv(prior.precision)
    ).logpdf(B)
    assert log_density(prior, B, Q) == pytest.approx(expected)


def test_bayes_rule_holds_for_any_parameters(prior, pairs):
    """log prior + log likelihood - log posterior is the marginal likelihood, whatever B and Q."""
    x, y = pairs
    posterior = update(prior, x, y)
    rng = np.random.default_rng(3)
    for _ in range(3):
        B, Q = sample(prior, rng)
        likelihood = matrix_normal(x @ B.T, np.eye(len(x)), Q).logpdf(y)
        value = log_density(prior, B, Q) + likelihood - log_density(posterior, B, Q)
        assert value == pytest.approx(log_marginal_likelihood(prior, x, y), abs=1e-8)


def test_updates_chain(prior, pairs):
    x, y = pairs
    step = update(update(prior, x[:5], y[:5]), x[5:], y[5:])
    for one, two in zip(step, update(prior, x, y), strict=True):
        np.testing.assert_allclose(one, two)
    parts = log_marginal_likelihood(prior, x[:5], y[:5]) + log_marginal_likelihood(
        update(prior, x[:5], y[:5]), x[5:], y[5:]
    )
    assert log_marginal_likelihood(prior, x, y) == pytest.approx(parts)


def test_nothing_seen_leaves_the_prior(prior):
    posterior = update(prior, np.empty((0, 3)), np.empty((0, 2)))
    for one, two in zip(posterior, prior, strict=True):
        np.testing.assert_allclose(one, two)


def test_draws_have_the_right_moments(prior):
    prior = prior._replace(degrees=20.0)
    rng = np.random.default_rng(4)
    draws = [sample(prior, rng) for _ in range(20_000)]
    B, Q = np.stack([draw[0] for draw in draws]), np.stack([draw[1] for draw in draws])
    mean_q = prior.scale / 17
    np.testing.assert_allclose(Q.mean(axis=0), mean_q, rtol=0.05, atol=0.002)
    np.testing.assert_allclose(B.mean(axis=0), prior.mean, atol=0.03)
    centred = (B - prior.mean).reshape(len(B), -1)
    np.testing.assert_allclose(centred.T @ centred / len(B), np.kron(mean_q, np.linalg.inv(prior.precision)), atol=0.05)


def test_wishart_root_against_scipy():
    rng = np.random.default_rng(5)
    scale = np.array([[2.0, 0.5], [0.5, 1.0]])
    roots = np.stack([inverse_wishart_root(7.0, scale, rng) for _ in range(20_000)])
    draws = roots @ roots.swapaxes(1, 2)
    expected = invwishart(7.0, scale)
    np.testing.assert_allclose(draws.mean(axis=0), expected.mean(), rtol=0.05, atol=0.01)
    np.testing.assert_allclose(draws[:, 0, 0].var(), expected.var()[0, 0], rtol=0.25)


def test_messages(prior):
    with pytest.raises(UsageError, match="degrees must be more than 1"):
        sample(prior._replace(degrees=1.0), 0)
    with pytest.raises(UsageError, match=r"precision must have shape \(3, 3\)"):
        update(prior._replace(precision=np.eye(2)), np.zeros((1, 3)), np.zeros((1, 2)))
