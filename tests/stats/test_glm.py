"""Regressions of many neurons: against scikit-learn, least squares and scipy's optimisers, weights as repetition, and what is refused."""

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import nbinom, norm, poisson
from sklearn.linear_model import PoissonRegressor

from neuropil.errors import DataError, UsageError
from neuropil.stats.glm import fit_glm, log_likelihoods

T, D, N = 600, 4, 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    design = rng.poisson(0.5, (T, D)).astype(float)
    coefficients, intercepts = 0.4 * rng.standard_normal((N, D)), np.array([-1.0, 0.0, 0.5])
    return design, rng.poisson(np.exp(design @ coefficients.T + intercepts)).astype(float)


MEANS = {"exp": np.exp, "softplus": lambda eta: np.logaddexp(0, eta), "logistic": expit}


def directly(design, y, log_density, ridge=0.0, extra=0):
    """Coefficients, intercept and further parameters by quasi-Newton on numerical gradients."""

    def loss(theta):
        eta = design @ theta[:D] + theta[D]
        return -log_density(y, eta, theta[D + 1 :]).sum() + 0.5 * ridge * (theta[:D] ** 2).sum()

    start = np.zeros(D + 1 + extra)
    best = minimize(loss, start, method="BFGS", options={"gtol": 1e-5})
    return minimize(loss, best.x, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 20_000}).x


@pytest.mark.parametrize("ridge", [0.0, 5.0])
def test_poisson_agrees_with_scikit_learn(data, ridge):
    design, counts = data
    fit = fit_glm(design, counts, ridge=ridge)
    assert fit.converged.all()
    for n in range(N):
        peer = PoissonRegressor(alpha=ridge / T, tol=1e-10, max_iter=500, solver="newton-cholesky")
        peer.fit(design, counts[:, n])
        np.testing.assert_allclose(fit.coefficients[n], peer.coef_, atol=1e-7)
        np.testing.assert_allclose(fit.intercepts[n], peer.intercept_, atol=1e-7)
        expected = poisson.logpmf(counts[:, n], peer.predict(design)).sum()
        assert fit.log_likelihood[n] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("link", ["softplus", "logistic"])
def test_other_links_reach_the_optimum_of_the_likelihood(data, link):
    design, counts = data
    counts = np.minimum(counts[:, :1], 1) if link == "logistic" else counts[:, :1]
    fit = fit_glm(design, counts, link=link, ridge=1.0)
    expected = directly(design, counts[:, 0], lambda y, eta, _: poisson.logpmf(y, MEANS[link](eta)), ridge=1.0)
    np.testing.assert_allclose(np.append(fit.coefficients[0], fit.intercepts[0]), expected, atol=1e-4)


def test_negative_binomial_agrees_with_direct_optimisation():
    rng = np.random.default_rng(1)
    design = rng.standard_normal((T, D))
    means = np.exp(design @ np.array([0.5, -0.3, 0.0, 0.2]) + 0.5)
    counts = rng.poisson(means * rng.gamma(2.0, 0.5, T)).astype(float)[:, None]

    def log_density(y, eta, log_alpha):
        size = np.exp(-log_alpha[0])
        return nbinom.logpmf(y, size, size / (size + np.exp(eta)))

    fit = fit_glm(design, counts, family="negative_binomial")
    expected = directly(design, counts[:, 0], log_density, extra=1)
    np.testing.assert_allclose(np.append(fit.coefficients[0], fit.intercepts[0]), expected[:-1], atol=1e-4)
    assert np.log(fit.dispersion[0]) == pytest.approx(expected[-1], abs=1e-3)
    assert fit.dispersion[0] == pytest.approx(0.5, abs=0.15)
    assert fit.log_likelihood[0] == pytest.approx(
        log_density(counts[:, 0], design @ fit.coefficients[0] + fit.intercepts[0], [np.log(fit.dispersion[0])]).sum()
    )


def test_negative_binomial_without_dispersion_is_poisson(data):
    design, counts = data
    near = fit_glm(design, counts, family="negative_binomial", dispersion=1e-7)
    exact = fit_glm(design, counts)
    np.testing.assert_allclose(near.coefficients, exact.coefficients, atol=1e-5)
    np.testing.assert_allclose(near.log_likelihood, exact.log_likelihood, atol=1e-3)


def test_gaussian_is_least_squares(data):
    design, _ = data
    rng = np.random.default_rng(2)
    traces = design @ rng.standard_normal((N, D)).T + rng.standard_normal((T, N))
    fit = fit_glm(design, traces, family="gaussian")
    extended = np.column_stack([design, np.ones(T)])
    solved = np.linalg.lstsq(extended, traces, rcond=None)[0]
    np.testing.assert_allclose(fit.coefficients, solved[:-1].T, atol=1e-10)
    residual = traces - extended @ solved
    np.testing.assert_allclose(fit.dispersion, (residual**2).mean(axis=0))
    expected = norm.logpdf(residual, scale=np.sqrt(fit.dispersion)).sum(axis=0)
    np.testing.assert_allclose(fit.log_likelihood, expected)


def test_gaussian_ridge_has_its_closed_form(data):
    design, _ = data
    traces, ridge, centre = np.random.default_rng(3).standard_normal((T, 1)), 3.0, np.full((1, D), 0.7)
    fit = fit_glm(design, traces, family="gaussian", dispersion=2.0, ridge=ridge, centre=centre, covariance=True)
    extended = np.column_stack([design, np.ones(T)])
    precision = extended.T @ extended / 2 + np.diag([ridge] * D + [0])
    solved = np.linalg.solve(precision, extended.T @ traces[:, 0] / 2 + ridge * np.append(centre[0], 0))
    np.testing.assert_allclose(np.append(fit.coefficients[0], fit.intercepts[0]), solved, atol=1e-9)
    np.testing.assert_allclose(fit.covariance[0], np.linalg.inv(precision), rtol=1e-7)


def test_covariance_is_the_inverse_information(data):
    design, counts = data
    fit = fit_glm(design, counts, covariance=True)
    extended = np.column_stack([design, np.ones(T)])
    for n in range(N):
        rate = np.exp(design @ fit.coefficients[n] + fit.intercepts[n])
        np.testing.assert_allclose(fit.covariance[n], np.linalg.inv(extended.T @ (rate[:, None] * extended)), rtol=1e-6)


@pytest.mark.parametrize("family", ["poisson", "negative_binomial", "gaussian"])
def test_weights_are_repetitions(data, family):
    design, counts = data
    weights = np.random.default_rng(4).integers(0, 4, T)
    once = fit_glm(design, counts, family=family, weights=weights)
    rows = np.repeat(np.arange(T), weights)
    repeated = fit_glm(design[rows], counts[rows], family=family)
    np.testing.assert_allclose(once.coefficients, repeated.coefficients, atol=1e-5)
    np.testing.assert_allclose(once.log_likelihood, repeated.log_likelihood, rtol=1e-8)
    np.testing.assert_allclose(once.dispersion, repeated.dispersion, rtol=1e-3, atol=1e-7)


def test_weights_of_single_neurons_leave_missing_bins_out(data):
    design, counts = data
    weights = np.ones((T, N))
    weights[:100, 1] = 0
    fit = fit_glm(design, np.where(weights > 0, counts, 17), weights=weights)
    np.testing.assert_allclose(fit.coefficients[1], fit_glm(design[100:], counts[100:]).coefficients[1], atol=1e-7)
    np.testing.assert_allclose(fit.coefficients[[0, 2]], fit_glm(design, counts).coefficients[[0, 2]], atol=1e-7)


def test_an_offset_takes_the_part_of_a_feature(data):
    design, counts = data
    full = fit_glm(design, counts)
    fixed = design[:, :1] * full.coefficients[:, 0]
    rest = fit_glm(design[:, 1:], counts, offset=fixed)
    np.testing.assert_allclose(rest.coefficients, full.coefficients[:, 1:], atol=1e-6)
    one = fit_glm(design[:, :2], counts, offset=np.full(T, 0.3))
    np.testing.assert_allclose(one.intercepts, fit_glm(design[:, :2], counts).intercepts - 0.3, atol=1e-7)


def test_order_of_time_features_and_neurons_does_not_matter(data):
    design, counts = data
    rng = np.random.default_rng(5)
    times, features, neurons = rng.permutation(T), rng.permutation(D), rng.permutation(N)
    fit = fit_glm(design, counts, ridge=1.0)
    other = fit_glm(design[times][:, features], counts[times][:, neurons], ridge=1.0)
    np.testing.assert_allclose(other.coefficients, fit.coefficients[np.ix_(neurons, features)], atol=1e-8)


def test_scale_of_features_goes_into_coefficients(data):
    design, counts = data
    scale = np.array([1e-3, 1.0, 10.0, 300.0])
    fit, other = fit_glm(design, counts), fit_glm(design * scale, counts)
    np.testing.assert_allclose(other.coefficients * scale, fit.coefficients, atol=1e-6)


def test_a_ridge_may_differ_between_features(data):
    design, counts = data
    strict = fit_glm(design, counts, ridge=np.array([0.0, 0.0, 0.0, 1e9]))
    np.testing.assert_allclose(strict.coefficients[:, :3], fit_glm(design[:, :3], counts).coefficients, atol=1e-5)
    np.testing.assert_allclose(strict.coefficients[:, 3], 0, atol=1e-6)


def test_without_features_the_intercept_is_the_mean(data):
    _, counts = data
    fit = fit_glm(np.empty((T, 0)), counts)
    np.testing.assert_allclose(np.exp(fit.intercepts), counts.mean(axis=0))


def test_features_that_repeat_or_are_empty_do_no_harm(data):
    design, counts = data
    wide = np.column_stack([design, design[:, 0], np.zeros(T)])
    fit, other = fit_glm(design, counts), fit_glm(wide, counts)
    np.testing.assert_allclose(other.log_likelihood, fit.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(other.coefficients[:, 0] + other.coefficients[:, 4], fit.coefficients[:, 0], atol=1e-6)
    np.testing.assert_array_equal(other.coefficients[:, 5], 0)


def test_a_hard_start_ends_at_the_same_optimum(data):
    design, counts = data
    fit = fit_glm(design, counts)
    far = fit_glm(design, counts, start=(np.full((N, D), 3.0), np.full(N, -4.0)))
    np.testing.assert_allclose(far.coefficients, fit.coefficients, atol=1e-6)


def test_separated_counts_end_finite():
    """A neuron that never fires after another's spike has no finite optimum; the likelihood approaches its bound."""
    design = np.tile([[0.0], [1.0]], (50, 1))
    counts = np.tile([[1.0], [0.0]], (50, 1))
    fit = fit_glm(design, counts)
    assert fit.coefficients[0, 0] < -10
    assert fit.log_likelihood[0] == pytest.approx(-50.0, abs=1e-3)


@pytest.mark.parametrize("link", ["exp", "softplus", "logistic"])
def test_log_likelihoods_of_states(data, link):
    design, counts = data
    rng = np.random.default_rng(6)
    coefficients, intercepts = rng.standard_normal((2, N, D)), rng.standard_normal((2, N))
    expected = [
        poisson.logpmf(counts, MEANS[link](design @ w.T + b)).sum(axis=1)
        for w, b in zip(coefficients, intercepts, strict=True)
    ]
    found = log_likelihoods(design, counts, coefficients, intercepts, link=link)
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-10)


@pytest.mark.parametrize(("link", "eta"), [("softplus", -200.0), ("logistic", -200.0), ("softplus", 500.0)])
def test_log_likelihoods_do_not_underflow(link, eta):
    found = log_likelihoods(np.ones((1, 1)), np.ones((1, 1)), np.full((1, 1, 1), eta), np.zeros((1, 1)), link=link)
    assert found[0, 0] == pytest.approx(np.log(500.0) - 500.0 if eta > 0 else eta)


def test_memory_grows_with_time_only_linearly():
    rng = np.random.default_rng(7)
    peaks = []
    for n_times in (4000, 16_000):
        design = rng.poisson(0.3, (n_times, 40)).astype(float)
        counts = rng.poisson(0.5, (n_times, 10)).astype(float)
        tracemalloc.start()
        fit_glm(design, counts)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 4.2 * peaks[0]
    assert peaks[1] < 2 * 16_000 * (40 + 10) * 8 * 2


def test_bad_input_is_refused_in_a_sentence(data):
    design, counts = data
    with pytest.raises(DataError, match="holds -1 at time 3, neuron 1: counts must be whole numbers"):
        fit_glm(design, np.where(np.arange(T * N).reshape(T, N) == 10, -1, counts))
    with pytest.raises(DataError, match=r"holds 0\.5 at time 0, neuron 0"):
        fit_glm(design, counts + 0.5)
    with pytest.raises(DataError, match="Neuron 2 never fires"):
        fit_glm(design, counts * [1, 1, 0])
    with pytest.raises(DataError, match="design holds nan at time 5, column 0"):
        fit_glm(np.where(np.arange(T)[:, None] == 5, np.nan, design), counts)
    with pytest.raises(DataError, match="give missing bins weight 0"):
        fit_glm(design, np.where(counts > 3, np.nan, counts))
    with pytest.raises(DataError, match=r"design has 599 bins, responses 600"):
        fit_glm(design[1:], counts)
    with pytest.raises(DataError, match="weights must be finite numbers from 0 on"):
        fit_glm(design, counts, weights=-np.ones(T))
    with pytest.raises(DataError, match="weights must have shape"):
        fit_glm(design, counts, weights=np.ones(T - 1))
    with pytest.raises(DataError, match="offset must be finite"):
        fit_glm(design, counts, offset=np.full(T, np.inf))
    with pytest.raises(DataError, match="Neuron 0 is constant"):
        fit_glm(design, np.ones((T, 1)), family="gaussian")
    with pytest.raises(UsageError, match="family must be one of poisson"):
        fit_glm(design, counts, family="binomial")
    with pytest.raises(UsageError, match="link of the gaussian family must be one of identity"):
        fit_glm(design, counts, family="gaussian", link="exp")
    with pytest.raises(UsageError, match="ridge must be a number from 0 on"):
        fit_glm(design, counts, ridge=-1.0)
    with pytest.raises(UsageError, match="Poisson counts have no dispersion"):
        fit_glm(design, counts, dispersion=1.0)
    with pytest.raises(UsageError, match="centre must have shape"):
        fit_glm(design, counts, centre=np.zeros((N, D + 1)))
