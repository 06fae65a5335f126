"""Pólya-Gamma draws against their known moments and transform, augmentation against direct integration, tables against Stirling numbers."""

import numpy as np
import pytest
from scipy.stats import nbinom

from neuropil.errors import MissingExtraError, UsageError
from neuropil.stats.polya_gamma import augment_counts, draw_polya_gamma, draw_tables


@pytest.mark.parametrize(("shape", "tilt"), [(1.0, 0.0), (2.5, 1.3), (11.0, -2.0), (40.0, 0.4)])
def test_moments(shape, tilt):
    n = 100_000
    draws = draw_polya_gamma(np.full(n, shape), np.full(n, tilt), 0)
    if tilt == 0:
        mean, variance = shape / 4, shape / 24
    else:
        mean = shape / (2 * tilt) * np.tanh(tilt / 2)
        variance = shape / (4 * tilt**3) * (np.sinh(tilt) - tilt) / np.cosh(tilt / 2) ** 2
    # the library's rejection samplers for shapes of 1 to 8 are off by up to 2 % of a standard deviation
    assert abs(draws.mean() - mean) < 0.03 * np.sqrt(variance)
    assert abs(draws.var() / variance - 1) < 0.06


def test_laplace_transform_gives_the_negative_binomial_likelihood():
    """The identity that augmentation rests on, at y + r = 7: E exp(-omega psi²/2) = cosh(psi/2)^-(y + r)."""
    draws = draw_polya_gamma(np.full(200_000, 7.0), np.zeros(200_000), 1)
    for psi in (0.5, 1.5, -2.0):
        assert np.exp(-draws * psi**2 / 2).mean() == pytest.approx(np.cosh(psi / 2) ** -7, rel=5e-3)


def test_pseudo_observations_have_the_posterior_of_the_counts():
    """Gibbs draws of one log mean under a normal prior against a grid."""
    counts, r = np.array([3.0, 0.0, 5.0, 2.0, np.nan]), 4.0
    grid = np.linspace(-3, 4, 4001)
    log_posterior = -0.5 * grid**2
    for y in counts[:4]:
        log_posterior = log_posterior + nbinom(r, r / (r + np.exp(grid))).logpmf(y)
    weights = np.exp(log_posterior - log_posterior.max())
    weights /= weights.sum()
    mean = weights @ grid
    sd = np.sqrt(weights @ (grid - mean) ** 2)
    rng = np.random.default_rng(0)
    eta, draws = 0.0, []
    for _ in range(6000):
        pseudo = augment_counts(counts[:, None], np.full((5, 1), eta), np.array([r]), rng)
        precision = 1 + pseudo.precisions.sum()
        eta = pseudo.targets.sum() / precision + rng.standard_normal() / np.sqrt(precision)
        draws.append(eta)
    assert np.mean(draws) == pytest.approx(mean, abs=0.05 * sd)
    assert np.std(draws) == pytest.approx(sd, rel=0.05)


def test_tiny_shapes():
    """Beside ordinary ones, and with the right mean."""
    shape = np.concatenate([np.full(200_000, 5e-4), np.full(3, 2.0)])
    draws = draw_polya_gamma(shape, np.ones(len(shape)), 0)
    assert (draws[-3:] > 0.01).all()
    assert draws[:-3].mean() == pytest.approx(5e-4 / 2 * np.tanh(0.5), rel=0.15)


def test_missing_counts_weigh_nothing():
    pseudo = augment_counts(np.array([[np.nan, 2.0]]), np.zeros((1, 2)), np.array([10.0, 10.0]), 0)
    assert pseudo.precisions[0, 0] == 0
    assert pseudo.targets[0, 0] == 0
    assert pseudo.precisions[0, 1] > 0


def test_same_seed_same_draws():
    one, two = (draw_polya_gamma(np.full(10, 3.0), np.ones(10), 5) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_tables_follow_the_antoniak_distribution():
    """P(tables = m) = s(n, m) c^m Gamma(c) / Gamma(c + n) with n = 4: s = 6, 11, 6, 1."""
    c = 1.7
    tables = draw_tables(np.full(100_000, 4), np.full(100_000, c), 0)
    expected = np.array([6, 11, 6, 1]) * c ** np.arange(1, 5)
    np.testing.assert_allclose(np.bincount(tables, minlength=5)[1:] / 1e5, expected / expected.sum(), atol=0.006)


def test_tables_at_the_limits():
    assert draw_tables(np.array([0, 5, 5]), np.array([2.0, 0.0, 1e15]), 0).tolist() == [0, 1, 5]


def test_messages(monkeypatch):
    with pytest.raises(UsageError, match="dispersion must be positive"):
        augment_counts(np.ones((2, 1)), np.zeros((2, 1)), np.zeros(1), 0)
    with pytest.raises(UsageError, match="0 customers or more"):
        draw_tables(np.array([-1]), np.array([1.0]), 0)
    monkeypatch.setitem(__import__("sys").modules, "polyagamma", None)
    with pytest.raises(MissingExtraError, match=r"neuropil\[bayes\]"):
        draw_polya_gamma(np.ones(2), np.ones(2), 0)
