"""Simulated switching populations: rates follow from truth and past, states switch as often as asked, planted connections are where they
are said to be."""

import numpy as np
import pytest
from scipy.special import expit

from neuropil.activity import read_activity
from neuropil.errors import DataError, UsageError
from neuropil.simulate.switching import simulate_planted, simulate_switching, switching_transition
from neuropil.stats.spike_trains import sample_spike_trains


@pytest.fixture(scope="module")
def population():
    return simulate_switching(4, 400, n_neurons=10, n_states=3, random_state=0)


def test_rates_follow_from_the_truth_bin_by_bin(population):
    kernel = np.exp(-np.arange(1.0, 6.0))
    kernel /= kernel.sum()
    for q in range(4):
        for t in (0, 1, 3, 57, 399):
            past = sum(kernel[k - 1] * population.counts[q, t - k] for k in range(1, 6) if t - k >= 0)
            eta = population.bias + population.weights[population.states[q, t]] @ (past + np.zeros(10))
            np.testing.assert_allclose(population.rates[q, t], expit(eta))


def test_counts_are_poisson_around_the_rates(population):
    difference = population.counts - population.rates
    spread = np.sqrt(population.rates.sum())
    assert abs(difference.sum()) < 4 * spread
    assert (difference**2).sum() == pytest.approx(population.rates.sum(), rel=0.05)


def test_mean_rate_is_that_of_the_published_study():
    rates = [simulate_switching(2, 300, 20, 5, random_state=seed).rates.mean() for seed in range(5)]
    assert np.mean(rates) == pytest.approx(0.46, abs=0.05)


def test_weights_are_classes_times_strengths(population):
    np.testing.assert_array_equal(np.sign(population.weights), population.adjacency)
    strengths = np.abs(population.weights[population.adjacency != 0])
    assert strengths.min() > 0
    assert strengths.max() <= np.log(4)


def test_classes_are_as_frequent_as_the_shared_prior_says():
    population = simulate_switching(1, 1, n_neurons=30, n_states=200, stay=0.9, random_state=1)
    for k, c in enumerate((-1, 0, 1)):
        often = (population.adjacency == c).mean(axis=0)
        assert np.abs(often - population.prior[..., k]).max() < 0.2
        assert np.abs(often - population.prior[..., k]).mean() < 0.02
    assert (population.adjacency != 0).mean() == pytest.approx(0.2, abs=0.03)


def test_states_stay_as_long_as_asked():
    states = simulate_switching(20, 500, n_neurons=2, n_states=4, random_state=2).states
    assert (states[:, 1:] == states[:, :-1]).mean() == pytest.approx(0.98, abs=0.005)
    assert np.bincount(states.ravel(), minlength=4).min() > 1000


def test_planted_connections():
    population = simulate_planted(1, 10, n_neurons=20, n_states=4, random_state=3)
    here = population.adjacency != 0
    assert (here[:, population.constant]).all()
    assert (np.ptp(population.weights, axis=0)[population.constant] == 0).all()
    assert (here[:, population.single].sum(axis=0) == 1).all()
    assert not here[:, ~(population.constant | population.single)].any()
    assert not (population.constant & population.single).any()
    np.testing.assert_allclose(population.prior.sum(axis=-1), 1)


def test_the_recording_gives_the_same_sequences_back(population):
    activity = read_activity(population.recording())
    np.testing.assert_array_equal(np.stack(activity.sequences), population.counts)
    assert activity.sfreq == pytest.approx(50)


def test_seeds():
    first, second = (simulate_switching(2, 50, random_state=7) for _ in range(2))
    np.testing.assert_array_equal(first.counts, second.counts)
    assert (simulate_switching(2, 50, random_state=8).counts != first.counts).any()


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="one state or more and stay"):
        switching_transition(0)
    with pytest.raises(UsageError, match="density and excitation must lie between"):
        simulate_switching(density=0.0)
    with pytest.raises(UsageError, match="one neuron or more"):
        simulate_switching(n_neurons=0)
    with pytest.raises(UsageError, match="parts of the connections"):
        simulate_planted(constant=0.8, single=0.4)
    with pytest.raises(UsageError, match="positive number of seconds"):
        simulate_switching(1, 10).recording(0.0)
    states = np.zeros((1, 200), dtype=int)
    with pytest.raises(DataError, match="grows without bound"):
        sample_spike_trains(np.full((1, 2, 2), 3.0), np.zeros((1, 2)), np.ones((1, 1)), states, random_state=0)
    with pytest.raises(UsageError, match="States must lie between 0 and 0"):
        sample_spike_trains(np.zeros((1, 2, 2)), np.zeros((1, 2)), np.ones((1, 1)), states + 1)
    with pytest.raises(UsageError, match="make 2 features, got 3"):
        sample_spike_trains(np.zeros((1, 2, 3)), np.zeros((1, 2)), np.ones((1, 1)), states)
