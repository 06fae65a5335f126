"""Bayesian bi-clustering: a joint test of the sampler, labels against quadrature, recovery on easy data, missing entries, bad input."""

import warnings

import numpy as np
import pytest
from scipy.stats import nbinom
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from neuropil.errors import DataError, UsageError
from neuropil.findings import Findings
from neuropil.latent.bayesian_biclustering import LAPTOP, BiClusteringSLDS
from neuropil.latent.biclustering_chain import Settings, run_chain, start_chain, sweep_once
from neuropil.latent.biclustering_labels import (
    _propose_all,
    add_cluster,
    keep_clusters,
    smooth_trajectory,
    update_labels,
)
from neuropil.latent.biclustering_model import Priors, log_likelihood
from neuropil.latent.biclustering_prior import draw_counts, draw_prior
from neuropil.latent.biclustering_starts import start_labels, start_states
from neuropil.latent.biclustering_states import step_log_likelihoods
from neuropil.latent.biclustering_summary import partition
from neuropil.latent.biclustering_trajectories import canonical, update_location
from neuropil.simulate.clustered import simulate_clustered
from neuropil.stats.joint_test import largest_quantile_error
from neuropil.stats.mixtures import log_mixture_coefficients
from neuropil.stats.negative_binomial import laplace_fits

SHORT = {"n_iter": 50, "burn_in": 20, "max_states": 3, "kappa": 50.0, "random_state": 0}


def quick_fit(counts, **changed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # far too short to converge
        return BiClusteringSLDS(**(SHORT | changed)).fit(counts)


@pytest.fixture(scope="module")
def truth():
    return simulate_clustered(
        2, 8, 200, baseline=2.0, decay=0.5, growth=0.99, angle=22.5, noise=(0.05, 0.2), random_state=0
    )


@pytest.fixture(scope="module")
def masked(truth):
    holes = np.random.default_rng(1).random(truth.counts.shape) < 0.1
    return np.where(holes, np.nan, truth.counts.astype(float))


@pytest.fixture(scope="module")
def fitted(masked):
    return quick_fit(masked)


def priors_of(n_neurons, n_factors=1, n_states=2):
    mixture = log_mixture_coefficients(n_neurons, n_neurons)
    return Priors(n_factors, n_states, 3.0, 3.0, 1.0, mixture, 1.0, n_neurons)


@pytest.mark.slow
def test_joint_distribution_of_all_moves_but_labels():
    """Geweke's test: sweeps in turn with draws of counts keep the prior of everything."""
    rng, together, priors = np.random.default_rng(5), np.zeros(3, dtype=np.int64), priors_of(3)

    def quantities(state):
        return [
            state.baselines[0], abs(state.loadings[0, 0]), state.dispersion[0], state.path[0, 0], state.path[-1, 0],
            state.dynamics.transition[0, 0, 0], state.dynamics.covariance[0, 0, 0], state.base_weights[0],
        ]  # fmt: skip

    prior = np.array([quantities(draw_prior(12, together, priors, rng)) for _ in range(4000)])
    settings = Settings(4000, 0, n_candidates=3, block_lengths=(3, 7), hold=("labels",))
    state, swept = draw_prior(12, together, priors, rng), []
    for sweep in range(4000):
        sweep_once(draw_counts(state.log_means(), state.dispersion, rng), state, priors, settings, sweep, rng)
        swept.append(quantities(state))
    assert largest_quantile_error(prior, np.array(swept)[None]) < 4.5


def test_labels_and_loadings_have_their_exact_posterior():
    """One neuron between two equally large clusters whose trajectories are known, against quadrature over baseline and loading."""
    rng = np.random.default_rng(0)
    n, r = 12, 2.0
    designs = 0.5 * rng.standard_normal((2, n, 2))
    y = rng.negative_binomial(r, r / (r + np.exp(0.3 + designs[0, :, 0]))).astype(float)
    grid = np.linspace(-4.5, 4.5, 241)
    d, c = np.meshgrid(grid, grid, indexing="ij")
    masses, means = [], []
    for design in designs:
        values = -0.5 * (d**2 + c**2)
        for t in range(n):
            values += nbinom(r, r / (r + np.exp(d + design[t, 0] + c * design[t, 1]))).logpmf(int(y[t]))
        weights = np.exp(values + 20)
        masses.append(weights.sum())
        means.append([(weights * d).sum(), (weights * c).sum()])
    expected = masses[1] / sum(masses)
    expected_mean = np.sum(means, axis=0) / sum(masses)
    assert 0.03 < expected < 0.97
    fits = laplace_fits(y[:, None], np.array([r]), designs)
    labels, coefficients = np.zeros(1, dtype=np.int64), np.zeros((1, 2))
    sizes, drawn = np.array([3, 2]), []
    for _ in range(20_000):
        _propose_all(
            y[None], np.array([r]), designs, *fits, np.zeros(6), 1.0, 1.0, False, labels, coefficients, sizes,
            rng.random((1, 2)), rng.standard_normal((1, 2)),
        )  # fmt: skip
        drawn.append([labels[0], *coefficients[0]])
    drawn = np.array(drawn)
    assert drawn[:, 0].mean() == pytest.approx(expected, abs=0.02)
    np.testing.assert_allclose(drawn[:, 1:].mean(axis=0), expected_mean, atol=0.03)


def test_location_moves_change_no_rate():
    rng = np.random.default_rng(1)
    state = draw_prior(30, np.array([0, 0, 1, 1]), priors_of(4), rng)
    rates, steps, path = state.log_means(), step_log_likelihoods(state), state.path
    update_location(state, rng)
    np.testing.assert_allclose(state.log_means(), rates, atol=1e-9)
    np.testing.assert_allclose(step_log_likelihoods(state), steps, atol=1e-6)
    assert np.abs(state.path - path).max() > 1e-3


def test_canonical_trajectories_are_centred_orthogonal_and_give_the_same_rates():
    rng = np.random.default_rng(2)
    blocks, loadings = rng.standard_normal((2, 50, 3)), rng.standard_normal((4, 2))
    turned, turns = canonical(blocks)
    np.testing.assert_allclose(turned.mean(axis=1), 0, atol=1e-12)
    for k in range(2):
        gram = turned[k, :, 1:].T @ turned[k, :, 1:]
        assert abs(gram[0, 1]) < 1e-9
        assert gram[0, 0] >= gram[1, 1]
        centred = blocks[k] - blocks[k].mean(axis=0)
        np.testing.assert_allclose(turned[k, :, 1:] @ (loadings @ turns[k]).T, centred[:, 1:] @ loadings.T, atol=1e-9)


def test_clusters_come_and_go():
    rng = np.random.default_rng(3)
    state = draw_prior(40, np.array([0, 0, 1, 1]), priors_of(4), rng)
    rates, transition = state.log_means(), state.dynamics.transition
    add_cluster(state, smooth_trajectory(40, state.width, rng))
    assert state.n_clusters == 3
    np.testing.assert_allclose(state.log_means(), rates)
    np.testing.assert_array_equal(state.dynamics.transition[:, 4:, :4], 0)
    keep_clusters(state, state.labels, np.array([0, 1]))
    np.testing.assert_allclose(state.log_means(), rates)
    np.testing.assert_array_equal(state.dynamics.transition, transition)


def test_a_flattened_label_step_keeps_clusters_in_use(truth):
    priors = BiClusteringSLDS(**LAPTOP).priors(16)
    counts = truth.counts.astype(float)
    state = start_chain(counts, priors, Settings(10, 5), 0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        update_labels(counts, state, priors, rng, temperature=50.0)
        assert sorted(set(state.labels.tolist())) == list(range(state.n_clusters))
        assert state.path.shape[1] == 3 * state.n_clusters
        assert state.dynamics.offset.shape[1] == 3 * state.n_clusters


def test_starts_see_clusters_and_states(truth):
    priors = BiClusteringSLDS(**LAPTOP).priors(16)
    counts = truth.counts.astype(float)
    labels = start_labels(counts, priors, np.random.default_rng(0))
    assert adjusted_rand_score(truth.labels, labels) == 1.0
    states = start_states(truth.paths, 2, np.random.default_rng(0))
    assert adjusted_rand_score(truth.states, states) > 0.5


def test_recovers_clusters_states_and_rates(truth, fitted):
    assert adjusted_rand_score(truth.labels, fitted.labels_) == 1.0
    assert adjusted_rand_score(truth.states, fitted.states_) > 0.6
    assert fitted.acceptance_ > 0.9
    centred = [np.log(rates) - np.log(rates).mean(axis=0) for rates in (fitted.rates_, truth.rates)]
    assert np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1] > 0.9
    np.testing.assert_allclose(fitted.baseline_, np.log(truth.rates).mean(axis=0), atol=0.25)


def test_shapes(truth, fitted):
    n_times, n_neurons = truth.counts.shape
    assert fitted.coclustering_.shape == (n_neurons, n_neurons)
    assert fitted.state_similarity_.shape == (n_times, n_times)
    np.testing.assert_allclose(np.diag(fitted.coclustering_), 1)
    assert [block.shape for block in fitted.trajectories_] == [(n_times, 3)] * 2
    assert fitted.loadings_.shape == (n_neurons, 2)
    assert fitted.paths_.shape == (n_times, 2)
    assert (fitted.paths_lower_ <= fitted.paths_upper_).all()
    assert (fitted.dispersion_interval_[0] <= fitted.dispersion_interval_[1]).all()
    assert fitted.trace_["log_likelihood"].shape == (2, 50)
    assert fitted.draws_["n_clusters"].shape == (2, 30)


def test_paths_follow_the_truth(truth, fitted):
    """Log rates averaged over a cluster, within their band most of the time."""
    logs = np.log(truth.rates)
    for k in range(2):
        members = fitted.labels_ == k
        true = logs[:, members].mean(axis=1)
        true -= true.mean()
        assert np.corrcoef(true, fitted.paths_[:, k])[0, 1] > 0.95
        inside = (true >= fitted.paths_lower_[:, k]) & (true <= fitted.paths_upper_[:, k])
        assert inside.mean() > 0.8


def test_held_out_counts_are_scored(truth, fitted):
    score = fitted.score(truth.counts)
    r = 10.0
    y, rates = (
        truth.counts[fitted.missing_.T[0], fitted.missing_.T[1]],
        truth.rates[fitted.missing_.T[0], fitted.missing_.T[1]],
    )
    best = nbinom(r, r / (r + rates)).logpmf(y).mean()
    means = truth.counts.mean(axis=0)[fitted.missing_.T[1]]
    constant = nbinom(r, r / (r + means)).logpmf(y).mean()
    assert constant < score < best + 0.05


def test_missing_entries_count_for_nothing(masked):
    """Neither in the likelihood nor in the draws, where a stretch without any count is filled by the dynamics."""
    priors, settings = BiClusteringSLDS(**LAPTOP).priors(16), Settings(6, 2)
    state = start_chain(masked, priors, settings, 3)
    seen = ~np.isnan(masked)
    rates, r = np.exp(state.log_means()), np.broadcast_to(state.dispersion, masked.shape)
    expected = nbinom(r[seen], (r / (r + rates))[seen]).logpmf(masked[seen].astype(int)).sum()
    assert log_likelihood(masked, state, priors) == pytest.approx(expected)
    silent = masked.copy()
    silent[50:80] = np.nan
    draws = run_chain(silent, priors, settings, 3)
    assert np.isfinite(draws.log_means).all()
    spread = draws.log_means.std(axis=0)
    assert spread[55:75].mean() > spread[100:].mean()


def test_same_seed_same_draws(masked):
    small = masked[:80]
    one, two = (quick_fit(small, n_iter=12, burn_in=4) for _ in range(2))
    np.testing.assert_array_equal(one.rates_, two.rates_)
    np.testing.assert_array_equal(one.trace_["log_likelihood"], two.trace_["log_likelihood"])
    other = quick_fit(small, n_iter=12, burn_in=4, random_state=9)
    assert not np.array_equal(one.rates_, other.rates_)


def test_poisson_counts(truth):
    model = quick_fit(truth.counts[:100], likelihood="poisson", n_chains=1, n_iter=40)
    np.testing.assert_array_equal(model.dispersion_, 100.0)
    assert np.ptp(model.trace_["log_likelihood"][0, 20:]) > 0
    centred = [np.log(rates) - np.log(rates).mean(axis=0) for rates in (model.rates_, truth.rates[:100])]
    assert np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1] > 0.8


def test_single_structures(truth):
    model = quick_fit(truth.counts[:100], max_states=1, max_clusters=1, n_chains=1, n_iter=30)
    assert set(model.labels_) == {0}
    assert set(model.states_) == {0}


def test_findings_and_persistence(truth, masked, fitted, tmp_path):
    found = fitted.findings(masked)
    assert isinstance(found, Findings)
    assert found.summary["clusters"] == 2
    assert len(found.tables["units"]) == 16
    assert {"coclustering", "raster", "trajectories", "baselines", "dispersion", "trace_n_clusters"} <= set(
        found.panels
    )
    order = found.panels["raster"].order
    assert (np.diff(fitted.labels_[order]) >= 0).all()
    again = BiClusteringSLDS.load(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.rates_, fitted.rates_)
    assert again.score(truth.counts) == fitted.score(truth.counts)


def test_recordings_are_taken(truth):
    recording = truth.recording(0.1)
    model = quick_fit(recording, n_chains=1, n_iter=12, burn_in=4)
    assert model.sfreq_ == pytest.approx(10)
    assert model.rates_.shape == truth.counts.shape


def test_warns_where_chains_have_not_converged(masked):
    with pytest.warns(UserWarning, match="have not converged"):
        model = BiClusteringSLDS(**SHORT | {"n_iter": 14, "burn_in": 4}).fit(masked[:60])
    assert not model.converged_


def test_partitions_do_not_depend_on_names():
    draws = np.array([[0, 0, 1], [1, 1, 0], [2, 2, 5]])
    assert partition(draws).labels.tolist() == [0, 0, 1]
    np.testing.assert_allclose(partition(draws).similarity, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_bad_input(truth, fitted):
    counts = truth.counts.astype(float)
    with pytest.raises(DataError, match="takes one long sequence, got 2"):
        BiClusteringSLDS().fit([counts, counts])
    with pytest.raises(DataError, match="negative"):
        BiClusteringSLDS().fit(-counts)
    with pytest.raises(DataError, match="fitted on 200 bins"):
        fitted.score(counts[:100])
    with pytest.raises(DataError, match="fitted on 16 units"):
        fitted.score(counts[:, :4])
    with pytest.raises(DataError, match="entries that were NaN"):
        fitted.score(np.where(np.isnan(fitted.rates_), 0, np.where(np.ones_like(counts, bool), np.nan, counts)))
    for wrong, message in (
        ({"init": "x"}, "init must be 'evidence' or 'kmeans'"),
        ({"likelihood": "x"}, "likelihood must be 'nb' or 'poisson'"),
        ({"max_states": 0}, "max_states must be a whole number, 1 or more"),
        ({"n_iter": 10, "burn_in": 8}, "burn_in must leave 4"),
        ({"temperature": 0.5}, "temperature must be 1 or more"),
    ):
        with pytest.raises(UsageError, match=message):
            BiClusteringSLDS(**wrong).fit(counts)


def test_is_an_estimator():
    model = clone(BiClusteringSLDS(kappa=30.0))
    assert model.get_params()["kappa"] == 30.0
    assert model.get_params()["n_iter"] == 10_000
