"""Negative-binomial counts: likelihood against scipy, Laplace's evidence against quadrature, dispersions against a grid."""

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import gamma, nbinom

from neuropil.errors import UsageError
from neuropil.stats.negative_binomial import draw_dispersion, laplace_fits, log_likelihood


def counts_of(log_means, r, rng):
    return rng.negative_binomial(r, r / (r + np.exp(log_means))).astype(float)


def test_likelihood_is_scipys():
    rng = np.random.default_rng(0)
    eta, r = rng.standard_normal((20, 3)), np.array([0.5, 3.0, 40.0])
    y = counts_of(eta, r, rng)
    expected = nbinom(r, r / (r + np.exp(eta))).logpmf(y.astype(int))
    np.testing.assert_allclose(log_likelihood(y, eta, r), expected)
    y[3, 1] = np.nan
    assert log_likelihood(y, eta, r)[3, 1] == 0


def test_laplace_evidence_against_quadrature():
    """Baseline and one loading on a grid; two designs, of which the true one has the larger evidence."""
    rng = np.random.default_rng(1)
    n, r = 80, 6.0
    designs = rng.standard_normal((2, n, 2))
    y = counts_of(0.6 + designs[0, :, 0] + 0.7 * designs[0, :, 1], r, rng)
    y[:5] = np.nan
    fits = laplace_fits(y[:, None], np.array([r]), designs)
    grid = np.linspace(-3, 3, 301)
    d, c = np.meshgrid(grid, grid, indexing="ij")
    constant = np.nansum(gammaln(y + r) - gammaln(r) + r * np.log(r) - gammaln(y + 1))
    for k in range(2):
        values = -0.5 * (d**2 + c**2) - np.log(2 * np.pi)
        for t in range(5, n):
            values += nbinom(r, r / (r + np.exp(d + designs[k, t, 0] + c * designs[k, t, 1]))).logpmf(int(y[t]))
        top = values.max()
        exact = top + np.log(np.exp(values - top).sum() * (grid[1] - grid[0]) ** 2)
        assert fits.log_evidence[0, k] + constant == pytest.approx(exact, abs=0.03)
        weights = np.exp(values - top) / np.exp(values - top).sum()
        covariance = np.linalg.inv(fits.roots[0, k] @ fits.roots[0, k].T)
        assert fits.modes[0, k, 1] == pytest.approx((weights * c).sum(), abs=0.03)
        assert covariance[1, 1] == pytest.approx((weights * c**2).sum() - (weights * c).sum() ** 2, rel=0.1)
    assert fits.log_evidence[0, 0] > fits.log_evidence[0, 1] + 5


def test_missing_counts_are_as_if_absent():
    rng = np.random.default_rng(2)
    designs = rng.standard_normal((1, 50, 3))
    y = counts_of(0.5 + designs[0, :, 0], 5.0, rng)[:, None]
    holes = y.copy()
    holes[10:20] = np.nan
    kept = np.r_[0:10, 20:50]
    whole = laplace_fits(holes, np.array([5.0]), designs)
    part = laplace_fits(y[kept], np.array([5.0]), np.ascontiguousarray(designs[:, kept]))
    np.testing.assert_allclose(whole.modes, part.modes, atol=1e-6)
    np.testing.assert_allclose(whole.log_evidence, part.log_evidence, atol=1e-6)


def test_extreme_counts_stay_finite():
    designs = np.random.default_rng(3).standard_normal((1, 40, 3)) * 5
    y = np.zeros((40, 2))
    y[:, 1] = 5000
    fits = laplace_fits(y, np.array([0.05, 200.0]), designs)
    assert np.isfinite(fits.log_evidence).all()
    assert np.isfinite(draw_dispersion(y, np.full((40, 2), 3.0), np.array([0.05, 200.0]), 0)).all()


def test_dispersion_has_its_exact_posterior():
    """Slices against a grid over r, and missing counts left out."""
    rng = np.random.default_rng(4)
    eta = rng.standard_normal((40, 1)) + 1
    y = counts_of(eta, 2.0, rng)
    y[30:] = np.nan
    grid = np.linspace(0.05, 15, 3000)
    log_posterior = gamma(2.0, scale=1 / 0.5).logpdf(grid)
    for t in range(30):
        log_posterior = log_posterior + nbinom(grid, grid / (grid + np.exp(eta[t, 0]))).logpmf(int(y[t, 0]))
    weights = np.exp(log_posterior - log_posterior.max())
    weights /= weights.sum()
    r, draws = np.ones(1), []
    for _ in range(4000):
        r = draw_dispersion(y, eta, r, rng, shape=2.0, rate=0.5)
        draws.append(r[0])
    mean = weights @ grid
    sd = np.sqrt(weights @ (grid - mean) ** 2)
    assert np.mean(draws) == pytest.approx(mean, abs=0.1 * sd)
    assert np.std(draws) == pytest.approx(sd, rel=0.1)


def test_messages():
    with pytest.raises(UsageError, match="dispersion must be positive, got 0"):
        laplace_fits(np.ones((5, 1)), np.zeros(1), np.zeros((1, 5, 2)))
