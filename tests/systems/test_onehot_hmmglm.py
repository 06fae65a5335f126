"""Switching regressions: likelihood and M step against plain numpy, the single state against one regression, EM never falls, states are
found, and what is refused."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp
from scipy.stats import poisson
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from torch.distributions import RelaxedOneHotCategorical

from neuropil.errors import DataError, UsageError
from neuropil.latent import onehot_hmmglm_fitting as fitting
from neuropil.latent.onehot_hmmglm import SwitchingGLM
from neuropil.simulate.switching import simulate_switching
from neuropil.stats.bases import coupling_design, exponential_basis
from neuropil.stats.chains import match_states
from neuropil.stats.convergence import check_never_falls
from neuropil.stats.glm import fit_glm

LINKS = {"exp": np.exp, "softplus": lambda eta: np.logaddexp(0, eta), "logistic": expit}


@pytest.fixture(scope="module")
def population():
    return simulate_switching(8, 300, n_neurons=6, n_states=2, density=0.5, random_state=3)


@pytest.fixture(scope="module")
def gaussian(population):
    return SwitchingGLM(2, prior="gaussian", link="logistic", n_init=3, random_state=0).fit(population.counts)


@pytest.fixture(scope="module")
def onehot(population):
    model = SwitchingGLM(2, link="logistic", n_init=3, class_iter=20, random_state=0)
    return model.fit(population.counts)


def log_likelihood_by_hand(model, sequences):
    """Sum over paths in logarithms, rates from filters, with nothing of the package's."""
    total = 0.0
    for x in sequences:
        n_times, n_lags = len(x), model.filters_.shape[-1]
        alpha = np.full(model.n_states, -np.log(model.n_states))
        for t in range(n_times):
            if t > 0:
                with np.errstate(divide="ignore"):
                    alpha = logsumexp(alpha[:, None] + np.log(model.transition_), axis=0)
            for s in range(model.n_states):
                eta = model.bias_[s].copy()
                for k in range(1, min(t, n_lags) + 1):
                    eta += model.filters_[s, :, :, k - 1] @ x[t - k]
                alpha[s] += poisson.logpmf(x[t], LINKS[model.link](eta)).sum()
        total += logsumexp(alpha)
    return total


@pytest.mark.parametrize("link", ["exp", "softplus", "logistic"])
@pytest.mark.parametrize("autapses", ["coupled", "zero", "free"])
def test_score_is_the_sum_over_all_paths(link, autapses):
    rng = np.random.default_rng(0)
    sequences = [rng.poisson(0.4, (n, 3)) for n in (60, 45)]
    model = SwitchingGLM(
        2, prior="gaussian", link=link, autapses=autapses, history=3, n_init=1, max_iter=40, tol=1e-4, random_state=0
    ).fit(sequences)
    assert model.score(sequences) * 105 == pytest.approx(log_likelihood_by_hand(model, sequences), abs=1e-6)
    diagonal = model.filters_[:, np.arange(3), np.arange(3)]
    assert (diagonal == 0).all() == (autapses == "zero")


@pytest.mark.parametrize("shared_bias", [True, False])
@pytest.mark.parametrize("prior", [None, "gaussian"])
def test_the_objective_never_falls(population, prior, shared_bias):
    counts = population.counts[:3]
    for link in ("exp", "softplus", "logistic"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = SwitchingGLM(
                3, prior=prior, link=link, shared_bias=shared_bias, n_init=1, max_iter=25, tol=0.0, random_state=1
            ).fit(counts)
        check_never_falls(model.objective_, rtol=0.0)
        assert len(model.objective_) > 5
        assert (np.ptp(model.bias_, axis=0) == 0).all() == shared_bias


def test_objective_is_likelihood_plus_priors(gaussian, population):
    likelihood = gaussian.score(population.counts) * population.states.size
    away = gaussian.coefficients_ - gaussian.prior_
    density = (np.log(3 / np.sqrt(2 * np.pi)) - 4.5 * away**2).sum() + 0.1 * np.log(gaussian.transition_).sum()
    assert gaussian.objective_[-1] == pytest.approx(likelihood + density, rel=1e-6)


@pytest.mark.parametrize("link", ["exp", "softplus"])
def test_one_state_is_a_regression(population, link):
    sequences = list(population.counts[:3])
    model = SwitchingGLM(1, prior=None, link=link, n_init=1, tol=1e-12, random_state=0).fit(sequences)
    expected = fit_glm(coupling_design(sequences, exponential_basis(5)), np.concatenate(sequences), link=link)
    np.testing.assert_allclose(model.weights_[0], expected.coefficients, atol=1e-4)
    np.testing.assert_allclose(model.bias_[0], expected.intercepts, atol=1e-4)
    assert model.score(sequences) * 900 == pytest.approx(expected.log_likelihood.sum(), abs=1e-6)
    assert (model.predict(sequences)[0] == 0).all()


def test_a_long_m_step_solves_every_states_weighted_regression(population):
    rng = np.random.default_rng(1)
    design = coupling_design(list(population.counts), exponential_basis(5))
    counts = population.counts.reshape(-1, 6).astype(float)
    posterior = rng.dirichlet(np.ones(2), len(counts))
    sequences = fitting.Sequences(design, counts, [300] * 8, np.zeros(len(counts)), 6, None)
    problem = fitting.weighted_problem(sequences, posterior, "exp", np.full(1, 2.0), np.zeros((2, 6, 6)))
    start = fitting.Point(np.zeros((2, 6, 6)), np.zeros((2, 6)))
    found = fitting.maximise(problem, start, max_iter=50, tol=1e-12).point
    for s in range(2):
        expected = fit_glm(design, counts, weights=posterior[:, s], ridge=2.0)
        np.testing.assert_allclose(found.coefficients[s], expected.coefficients, atol=1e-6)
        np.testing.assert_allclose(found.intercepts[s], expected.intercepts, atol=1e-6)


def test_a_shared_bias_is_at_its_optimum(population):
    design = coupling_design(list(population.counts), exponential_basis(5))
    counts = population.counts.reshape(-1, 6).astype(float)
    posterior = np.eye(2)[population.states.ravel()]
    sequences = fitting.Sequences(design, counts, [300] * 8, np.zeros(len(counts)), 6, None)
    problem = fitting.weighted_problem(sequences, posterior, "exp", np.zeros(1), np.zeros((2, 6, 6)))
    start = fitting.Point(np.zeros((2, 6, 6)), np.zeros((1, 6)))
    found = fitting.maximise(problem, start, max_iter=50, tol=1e-12).point
    by_state = np.hstack([design * posterior[:, [s]] for s in range(2)])
    expected = fit_glm(by_state, counts)
    np.testing.assert_allclose(np.hstack(list(found.coefficients)), expected.coefficients, atol=1e-6)
    np.testing.assert_allclose(found.intercepts[0], expected.intercepts, atol=1e-6)


def test_states_and_couplings_are_found(gaussian, onehot, population):
    for model in (gaussian, onehot):
        found = model.predict(population.counts)
        order = match_states(population.states, found, 2)
        assert (order[found] == population.states).mean() > 0.85
        weights = model.weights_[np.argsort(order)]
        assert np.corrcoef(weights.ravel(), population.weights.ravel())[0, 1] > 0.8
        proba = model.predict_proba(population.counts)
        np.testing.assert_allclose(proba.sum(axis=-1), 1)
        assert (proba.argmax(axis=-1) == found).mean() > 0.9
        truth = np.log(population.rates)
        best = (population.counts * truth - population.rates).sum() / truth[..., 0].size
        assert model.score(population.counts) > best - 3


def test_onehot_weights_have_one_class_each(onehot):
    assert onehot.adjacency_.shape == (2, 6, 6, 3)
    np.testing.assert_allclose(onehot.adjacency_.sum(axis=-1), 1)
    np.testing.assert_allclose(onehot.prior_.sum(axis=-1), 1)
    classes = onehot.adjacency_.argmax(axis=-1) - 1
    np.testing.assert_allclose(onehot.weights_, classes * onehot.strength_, atol=1e-12)
    assert (onehot.strength_ > 0).all()


def test_data_alone_lead_adam_to_newtons_optimum(population):
    """Without prior, noise or temperature in the way, the gradients that reach the classes must raise the expected log-likelihood."""
    design = coupling_design(list(population.counts), exponential_basis(5))
    counts = population.counts.reshape(-1, 6).astype(float)
    sequences = fitting.Sequences(design, counts, [300] * 8, np.zeros(len(counts)), 6, None)
    start = fitting.Parameters(0.1 * population.weights, population.bias[None], population.transition)
    settings = fitting.Settings("logistic", 0.1, 0.0, 15, 0.0)
    classes = fitting.ClassSettings(1.0, 0.5, 0.0, "categorical", 5, 0.05)
    _, _, objective = fitting.fit_classes(sequences, start, settings, classes, np.random.default_rng(0), "")
    assert objective[-1] > objective[0] + 50


def test_relaxed_density_is_that_of_torch():
    logits, tau = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double(), 0.4
    prior = logits.log_softmax(-1)
    classes = (logits * 0.3).softmax(-1)
    expected = RelaxedOneHotCategorical(torch.tensor(tau).double(), logits=prior).log_prob(classes)
    torch.testing.assert_close(fitting.relaxed_log_density(classes.log(), prior, tau), expected)


@pytest.mark.parametrize("density", ["categorical", "gumbel"])
def test_class_prior_by_hand(density):
    rng = np.random.default_rng(2)
    logits, prior_logits = torch.tensor(rng.standard_normal((2, 3, 3, 3))), torch.tensor(rng.standard_normal((3, 3, 3)))
    a, a0 = logits.softmax(-1).numpy(), prior_logits.softmax(-1).numpy()
    tau = 0.5
    if density == "categorical":
        expected = (a * np.log(a0)).sum()
    else:
        expected = (
            np.log(2)
            + 2 * np.log(tau)
            - 3 * np.log((a0 * a**-tau).sum(axis=-1))
            + (np.log(a0) - (tau + 1) * np.log(a)).sum(axis=-1)
        ).sum()
    settings = fitting.ClassSettings(3.0, tau, 0.7, density, 1, 0.1)
    found = float(fitting.class_log_prior(logits, prior_logits, settings))
    assert found == pytest.approx(3 * expected + 0.7 * (a * np.log(a)).sum())


def test_sequences_of_any_form_and_length(population, gaussian):
    cut = [population.counts[0], population.counts[1][:120], population.counts[2][:1]]
    paths = gaussian.predict(cut)
    assert [len(path) for path in paths] == [300, 120, 1]
    assert gaussian.predict(population.counts[0]).shape == (300,)
    assert gaussian.predict_proba(population.counts).shape == (8, 300, 2)
    total = sum(gaussian.score(part) * len(part) for part in cut)
    assert gaussian.score(cut) * 421 == pytest.approx(total)
    recorded = gaussian.predict(population.recording())
    assert len(recorded) == 8
    np.testing.assert_array_equal(recorded[0], gaussian.predict(population.counts[0]))


def test_a_state_permutation_changes_nothing_but_names(gaussian, population):
    turned = clone(gaussian).fit(population.counts)
    turned.coefficients_, turned.bias_ = gaussian.coefficients_[::-1].copy(), gaussian.bias_[::-1].copy()
    turned.transition_ = gaussian.transition_[::-1, ::-1].copy()
    assert turned.score(population.counts) == pytest.approx(gaussian.score(population.counts))
    np.testing.assert_array_equal(1 - turned.predict(population.counts), gaussian.predict(population.counts))


def test_the_same_seed_gives_the_same_fit(population):
    counts = population.counts[:2]
    options = {"prior": "gaussian", "link": "logistic", "n_init": 2, "max_iter": 60, "tol": 1e-4, "random_state": 5}
    first, second = (SwitchingGLM(2, **options).fit(counts) for _ in range(2))
    np.testing.assert_array_equal(first.weights_, second.weights_)
    assert first.restart_scores_.shape == (2,)
    assert first.restart_scores_.max() == first.objective_[-1]


def test_bases_with_several_functions(population):
    counts = population.counts[:3]
    model = SwitchingGLM(
        2, prior="gaussian", basis="raised_cosine", history=8, link="logistic", n_init=1, tol=1e-3, random_state=0
    ).fit(counts)
    assert model.filters_.shape == (2, 6, 6, 8)
    np.testing.assert_allclose(model.weights_, model.filters_.sum(axis=-1))
    with pytest.raises(UsageError, match="needs a basis of a single function, got 4"):
        SwitchingGLM(2, basis="raised_cosine", history=8).fit(counts)


def test_saving_keeps_everything(onehot, population, tmp_path):
    onehot.save(tmp_path / "model")
    again = SwitchingGLM.load(tmp_path / "model")
    assert again.score(population.counts) == onehot.score(population.counts)
    np.testing.assert_array_equal(again.prior_, onehot.prior_)


def test_sample_has_the_models_rates_and_transitions(gaussian, population):
    counts, states = gaussian.sample(20, 300, random_state=0)
    assert counts.shape == (20, 300, 6)
    np.testing.assert_allclose(counts.mean(axis=(0, 1)), population.counts.mean(axis=(0, 1)), rtol=0.2)
    stay = (states[:, 1:] == states[:, :-1]).mean()
    assert stay == pytest.approx(np.diag(gaussian.transition_).mean(), abs=0.02)


def test_findings(onehot, gaussian, population):
    for model in (onehot, gaussian):
        found = model.findings(population.counts)
        assert found.summary["n_bins"] == len(found.tables["states"]) == 2400
        np.testing.assert_allclose(found.tables["states"][["p_0", "p_1"]].sum(axis=1), 1, atol=1e-9)
        assert (found.tables["states"]["state"] == np.ravel(model.predict(population.counts))).all()
        assert found.tables["occupancy"]["occupancy"].sum() == pytest.approx(1)
        assert len(found.tables["connectivity"]) == 72
        assert len(found.tables["filters"]) == 360
        row = found.tables["connectivity"].query("state == 1 and post == 'unit002' and pre == 'unit004'")
        assert row["weight"].item() == model.weights_[1, 2, 4]
        assert {"raster", "transition", "connectivity_0", "connectivity_1", "filters", "objective"} <= set(found.panels)
        assert sorted(found.panels["raster"].order) == list(range(6))


def test_bad_data_are_refused_in_a_sentence(population, gaussian):
    counts = population.counts[0].astype(float)
    model = SwitchingGLM(2, n_init=1)
    with pytest.raises(DataError, match="is negative"):
        model.fit(np.where(counts > 0, -1, counts))
    with pytest.raises(DataError, match="is not whole"):
        model.fit(counts + 0.5)
    with pytest.raises(DataError, match="The unit unit003 never fires"):
        model.fit(counts * (np.arange(6) != 3))
    with pytest.raises(DataError, match="must be finite"):
        model.fit(np.where(counts > 0, np.nan, counts))
    with pytest.raises(DataError, match="9 states cannot be told apart in 8 bins"):
        SwitchingGLM(9).fit(np.ones((8, 2)))
    with pytest.raises(DataError, match="fitted on 6 units, these data have 5"):
        gaussian.predict(counts[:, :5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": "laplace"}, "prior must be one of 'onehot', 'gaussian', None"),
        ({"autapses": "none"}, "autapses must be one of"),
        ({"density": "beta"}, "density must be one of"),
        ({"link": "log"}, "link of the poisson family must be one of"),
        ({"basis": "spline"}, "basis must be 'exp'"),
        ({"n_states": 0}, "n_states must be a whole number, 1 or more"),
        ({"tau": 0.0}, "tau must be positive"),
        ({"prior_weight": -1.0}, "prior_weight must not be negative"),
        ({"n_init": 0}, "n_init must be a whole number, 1 or more"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(population, arguments, message):
    with pytest.raises(UsageError, match=message):
        SwitchingGLM(**arguments).fit(population.counts[0])


def test_a_fit_that_stops_early_says_so(population):
    with pytest.warns(ConvergenceWarning, match="has not converged in 2 rounds"):
        SwitchingGLM(2, prior=None, link="logistic", n_init=1, max_iter=2, random_state=0).fit(population.counts[:2])


def test_states_may_have_rates_and_no_couplings(population):
    """Without features the model is a Poisson hidden Markov model, whose M step has a closed form."""
    counts = population.counts.reshape(-1, 6).astype(float)
    sequences = fitting.Sequences(np.empty((2400, 0)), counts, [300] * 8, np.zeros(2400), 0, None)
    posterior = np.random.default_rng(0).dirichlet(np.ones(2), 2400)
    problem = fitting.weighted_problem(sequences, posterior, "exp", np.zeros(0), np.zeros((2, 6, 0)))
    start = fitting.Point(np.zeros((2, 6, 0)), np.zeros((2, 6)))
    found = fitting.maximise(problem, start, max_iter=50, tol=1e-12).point
    expected = posterior.T @ counts / posterior.sum(axis=0)[:, None]
    np.testing.assert_allclose(np.exp(found.intercepts), expected, rtol=1e-6)


def test_a_neuron_may_be_silent_in_held_out_data(gaussian, population):
    counts = population.counts[0].copy()
    counts[:, 2] = 0
    assert np.isfinite(gaussian.score(counts))


@pytest.mark.parametrize("n_biases", [1, 2])
def test_a_state_that_nothing_belongs_to_stays_where_it_is(population, n_biases):
    counts = population.counts.reshape(-1, 6).astype(float)
    design = coupling_design(list(population.counts), exponential_basis(5))
    sequences = fitting.Sequences(design, counts, [300] * 8, np.zeros(2400), 6, None)
    posterior = np.repeat([[1.0, 0.0]], 2400, axis=0)
    problem = fitting.weighted_problem(sequences, posterior, "exp", np.zeros(1), np.zeros((2, 6, 6)))
    start = fitting.Point(np.full((2, 6, 6), 0.1), np.zeros((n_biases, 6)))
    found = fitting.maximise(problem, start, max_iter=50, tol=1e-12).point
    np.testing.assert_array_equal(found.coefficients[1], start.coefficients[1])
    np.testing.assert_allclose(found.coefficients[0], fit_glm(design, counts).coefficients, atol=1e-6)


def test_many_states_for_few_bins_end_finite():
    counts = np.random.default_rng(0).poisson(0.5, (30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = SwitchingGLM(12, prior="gaussian", link="logistic", shared_bias=False, n_init=1, random_state=0)
        model.fit(counts)
    assert np.isfinite(model.score(counts))
    assert np.isfinite(model.weights_).all()
