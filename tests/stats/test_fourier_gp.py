"""Gaussian processes in the Fourier domain: against dense covariances, and against scikit-learn's regression."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from neuropil.errors import UsageError
from neuropil.stats import fourier_gp
from neuropil.stats.fourier_gp import fourier_basis, log_density, regress, spectral_variances


def dense(n_times, lengthscale, variance=1.0):
    steps = np.subtract.outer(np.arange(n_times), np.arange(n_times))
    return variance * np.exp(-0.5 * (steps / lengthscale) ** 2)


def circular(n_times, n_circular, lengthscale):
    steps = np.subtract.outer(np.arange(n_times), np.arange(n_times))
    return sum(np.exp(-0.5 * ((steps + turn * n_circular) / lengthscale) ** 2) for turn in range(-5, 6))


@pytest.mark.parametrize(
    ("n_times", "minimum", "expected"),
    [
        (60, 10.0, 13),
        (100, 10.0, 2 * 11 + 1),
        (60, 5.0, 2 * 13 + 1),
        (40, 2.0, 2 * 23 + 1),
        (41, 1.0, 50),
        (1, 10.0, 1),
    ],
)
def test_number_of_frequencies(n_times, minimum, expected):
    basis = fourier_basis(n_times, minimum)
    assert basis.basis.shape == (expected, n_times)
    assert basis.n_circular == np.ceil(1.2 * n_times)
    assert (basis.frequencies[: expected // 2 + 1] >= 0).all()
    assert (basis.frequencies[expected // 2 + 1 :] < 0).all()


@pytest.mark.parametrize("n_times", [31, 32])
def test_the_whole_circle_has_an_orthonormal_basis(n_times):
    full = fourier_basis(n_times, 0.5, extension=0.0).basis
    np.testing.assert_allclose(full @ full.T, np.eye(n_times), atol=1e-12)
    few = fourier_basis(n_times, 6.0, extension=0.0).basis
    assert len(few) < n_times
    np.testing.assert_allclose(few @ few.T, np.eye(len(few)), atol=1e-12)


def test_kept_frequencies_are_those_above_the_threshold():
    basis = fourier_basis(200, 10.0, condition=1e6)
    kept = spectral_variances(basis.frequencies, 10.0)
    assert kept.max() / kept.min() <= 1e6
    faster = np.abs(basis.frequencies).max() + 2 * np.pi / basis.n_circular
    assert kept.max() / spectral_variances(np.array([faster]), 10.0)[0] > 1e6


@pytest.mark.parametrize("lengthscale", [10.0, 14.0])
def test_covariance_on_the_circle_and_on_a_line(lengthscale):
    basis = fourier_basis(60, 10.0)
    found = basis.basis.T @ np.diag(spectral_variances(basis.frequencies, lengthscale)) @ basis.basis
    np.testing.assert_allclose(found, circular(60, 72, lengthscale), atol=1e-6)
    # with a gap of 6 length-scales the circle is a line
    wide = fourier_basis(60, 10.0, extension=1.4)
    found = wide.basis.T @ np.diag(spectral_variances(wide.frequencies, lengthscale)) @ wide.basis
    np.testing.assert_allclose(found, dense(60, lengthscale), atol=1e-6)
    variances = spectral_variances(wide.frequencies, lengthscale)[:, None]
    np.testing.assert_allclose(fourier_gp.variance_in_time(wide.basis, variances), 1.0, atol=1e-6)


def test_arrays_and_tensors_agree():
    basis = fourier_basis(60, 10.0)
    lengthscales = np.array([[10.0], [25.0]])
    ours = spectral_variances(basis.frequencies, lengthscales, 2.0)
    tensors = spectral_variances(torch.as_tensor(basis.frequencies), torch.as_tensor(lengthscales), 2.0)
    np.testing.assert_allclose(ours, tensors.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours[0], 2 * np.sqrt(2 * np.pi) * 10 * np.exp(-0.5 * (basis.frequencies * 10) ** 2))
    coefficients = np.random.default_rng(0).normal(size=(3, 13, 2))
    paths = fourier_gp.to_time(basis.basis, coefficients)
    assert paths.shape == (3, 60, 2)
    np.testing.assert_allclose(paths, np.einsum("ft,nfk->ntk", basis.basis, coefficients))
    np.testing.assert_allclose(
        fourier_gp.to_time(torch.as_tensor(basis.basis), torch.as_tensor(coefficients)).numpy(), paths
    )


def test_log_density_is_that_of_independent_normals():
    rng = np.random.default_rng(1)
    variances, coefficients = rng.uniform(0.1, 3, 13), rng.normal(size=(4, 13))
    expected = multivariate_normal(np.zeros(13), np.diag(variances)).logpdf(coefficients)
    np.testing.assert_allclose(log_density(coefficients, variances), expected)


def test_draws_have_the_covariance_of_the_kernel():
    basis = fourier_basis(40, 8.0, extension=1.5)
    draws = fourier_gp.sample(basis, 8.0, 40_000, variance=2.0, random_state=0)
    np.testing.assert_allclose(draws.T @ draws / len(draws), dense(40, 8.0, 2.0), atol=0.06)
    again = fourier_gp.sample(basis, 8.0, 40_000, variance=2.0, random_state=0)
    np.testing.assert_array_equal(draws, again)


def smooth_noisy(n_times, n_series, seed):
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(dense(n_times, 12.0, 1.5) + 1e-9 * np.eye(n_times))
    return root @ rng.normal(size=(n_times, n_series)) + 0.3 * rng.normal(size=(n_times, n_series))


def test_regression_agrees_with_scikit_learn():
    y = smooth_noisy(80, 3, 2)
    found = regress(fourier_basis(80, 10.0, extension=1.0), y, 12.0, 0.09, variance=1.5)
    t = np.arange(80.0)[:, None]
    kernel = ConstantKernel(1.5, "fixed") * RBF(12.0, "fixed")
    for k in range(3):
        peer = GaussianProcessRegressor(kernel, alpha=0.09, optimizer=None).fit(t, y[:, k])
        mean, sd = peer.predict(t, return_std=True)
        np.testing.assert_allclose(found.mean[:, k], mean, atol=1e-5)
        np.testing.assert_allclose(found.variance, sd**2, atol=1e-6)
        assert found.log_evidence[k] == pytest.approx(peer.log_marginal_likelihood_value_, abs=1e-4)


def test_near_the_ends_the_default_circle_deviates_by_the_covariance_through_its_gap():
    y = smooth_noisy(100, 1, 3)
    covariance = dense(100, 10.0) + 0.09 * np.eye(100)
    expected = dense(100, 10.0) @ np.linalg.solve(covariance, y)
    found = regress(fourier_basis(100, 10.0), y, 10.0, 0.09).mean
    difference = np.abs(found - expected)[:, 0]
    assert difference[40:60].max() < 1e-3  # 4 length-scales from either end
    assert difference[[0, -1]].min() > 1e-2


def test_missing_bins_are_left_out_and_predicted():
    y = smooth_noisy(80, 1, 4)
    seen = np.ones(80, dtype=bool)
    seen[30:38] = False
    gapped = np.where(seen[:, None], y, np.nan)
    found = regress(fourier_basis(80, 10.0, extension=1.0), gapped, 12.0, 0.09)
    K = dense(80, 12.0)
    expected = K[:, seen] @ np.linalg.solve(K[np.ix_(seen, seen)] + 0.09 * np.eye(seen.sum()), y[seen])
    np.testing.assert_allclose(found.mean, expected, atol=1e-5)
    density = multivariate_normal(np.zeros(seen.sum()), K[np.ix_(seen, seen)] + 0.09 * np.eye(seen.sum()))
    assert found.log_evidence[0] == pytest.approx(density.logpdf(y[seen, 0]), abs=1e-4)
    inverse = np.linalg.inv(K[np.ix_(seen, seen)] + 0.09 * np.eye(seen.sum()))
    variance = 1 - np.einsum("ts,su,tu->t", K[:, seen], inverse, K[:, seen])
    np.testing.assert_allclose(found.variance, variance, atol=1e-6)


def test_evidence_finds_the_length_scale():
    root = np.linalg.cholesky(dense(200, 20.0) + 1e-9 * np.eye(200))
    rng = np.random.default_rng(5)
    y = root @ rng.normal(size=(200, 20)) + 0.3 * rng.normal(size=(200, 20))
    basis = fourier_basis(200, 5.0, extension=0.5)
    tried = np.array([5.0, 10.0, 15.0, 20.0, 27.0, 40.0])
    evidence = [regress(basis, y, length, 0.09).log_evidence.sum() for length in tried]
    assert tried[int(np.argmax(evidence))] == 20.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fourier_basis(0), "one bin or more"),
        (lambda: fourier_basis(10, -1.0), "positive min_lengthscale"),
        (lambda: fourier_basis(10, condition=1.0), "a condition above 1"),
        (lambda: fourier_gp.sample(fourier_basis(10), 0.0), "positive length-scale"),
        (lambda: regress(fourier_basis(10), np.zeros((10, 1)), 10.0, 0.0), "must be positive, got 10.0, 0.0 and 1.0"),
        (lambda: regress(fourier_basis(10), np.zeros((9, 1)), 10.0, 1.0), "has 10 bins, the values 9"),
        (lambda: regress(fourier_basis(2), np.array([[1.0, np.nan], [0, 0]]), 10.0, 1.0), "for all series or for none"),
        (lambda: regress(fourier_basis(2), np.full((2, 1), np.nan), 10.0, 1.0), "at least one has to be there"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
