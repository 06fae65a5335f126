"""Markov chains without observations: linear algebra's answers, and matching by trying every permutation."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import DataError, UsageError
from neuropil.stats.chains import forecast, match_states, relabel, simulate, stationary_distribution


def chain(seed, n_states=4):
    return np.random.default_rng(seed).dirichlet(np.ones(n_states), size=n_states)


class TestStationaryDistribution:
    @given(st.integers(0, 2**31), st.integers(1, 8))
    def test_is_the_left_eigenvector(self, seed, n_states):
        transition = chain(seed, n_states)
        values, vectors = np.linalg.eig(transition.T)
        settled = vectors[:, np.argmin(np.abs(values - 1))].real
        np.testing.assert_allclose(stationary_distribution(transition), settled / settled.sum(), rtol=1e-8, atol=1e-12)

    def test_of_a_random_walk_on_a_ring_with_drift_is_uniform(self):
        walk = 0.5 * np.eye(6) + 0.3 * np.roll(np.eye(6), 1, axis=1) + 0.2 * np.roll(np.eye(6), -1, axis=1)
        np.testing.assert_allclose(stationary_distribution(walk), np.full(6, 1 / 6), rtol=1e-14)

    def test_entries_of_very_different_size(self):
        """Two states that exchange with rates 1e-14 and 1: an eigenvector would have lost the small one."""
        slow = 1e-14
        np.testing.assert_allclose(
            stationary_distribution(np.array([[1 - slow, slow], [1.0, 0.0]])),
            [1 / (1 + slow), slow / (1 + slow)],
            rtol=1e-12,
        )

    def test_periodic_chains_have_one(self):
        np.testing.assert_allclose(stationary_distribution(np.roll(np.eye(3), 1, axis=1)), np.full(3, 1 / 3))

    def test_chains_in_parts_are_refused(self):
        with pytest.raises(UsageError, match=r"falls into 2 parts .*\[0, 0, 1\]|\[1, 1, 0\]"):
            stationary_distribution(np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1.0]]))
        with pytest.raises(UsageError, match=r"square.*got shape \(2, 3\)"):
            stationary_distribution.__wrapped__(np.full((2, 3), 1 / 3))


class TestForecast:
    def test_is_a_power_of_the_matrix_and_settles(self):
        transition = chain(0)
        start = np.random.default_rng(1).dirichlet(np.ones(4), size=3)
        ahead = forecast(start, transition, 200)
        np.testing.assert_allclose(ahead[:, 6], start @ np.linalg.matrix_power(transition, 7), rtol=1e-12)
        np.testing.assert_allclose(ahead[:, -1], np.tile(stationary_distribution(transition), (3, 1)), rtol=1e-10)

    def test_needs_a_step(self):
        with pytest.raises(UsageError, match="n_steps=0"):
            forecast(np.array([[1.0, 0, 0, 0]]), chain(0), 0)


class TestSimulate:
    def test_frequencies(self):
        initial, transition = np.array([0.2, 0.5, 0.3, 0.0]), chain(2)
        transition[1] = [0.6, 0.0, 0.4, 0.0]
        states = simulate(initial, transition, 4000, 50, 0)
        np.testing.assert_allclose(np.bincount(states[:, 0], minlength=4) / 4000, initial, atol=0.03)
        counts = np.zeros((4, 4))
        np.add.at(counts, (states[:, :-1].ravel(), states[:, 1:].ravel()), 1)
        np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), transition, atol=0.01)
        assert counts[1, 1] == counts[1, 3] == 0
        assert (states[:, 0] != 3).all()

    def test_repeats_with_its_seed(self):
        runs = [simulate(np.full(4, 0.25), chain(3), 2, 30, k) for k in (0, 0, 1)]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert (runs[0] != runs[2]).any()

    def test_messages(self):
        with pytest.raises(UsageError, match="initial has 2 states, transition 4"):
            simulate.__wrapped__(np.array([0.5, 0.5]), chain(0), 1, 1)
        with pytest.raises(UsageError, match="got 0 and 5"):
            simulate(np.full(4, 0.25), chain(0), 0, 5)


class TestMatching:
    @given(st.integers(0, 2**31))
    def test_no_permutation_agrees_more(self, seed):
        rng = np.random.default_rng(seed)
        true, inferred = rng.integers(4, size=(2, 3, 20))
        order = match_states(true, inferred, 4)
        best = max((np.array(p)[inferred] == true).sum() for p in permutations(range(4)))
        assert sorted(order.tolist()) == [0, 1, 2, 3]
        assert (relabel(inferred, order) == true).sum() == best

    @given(st.permutations(range(5)))
    def test_undoes_a_renaming(self, names):
        true = np.random.default_rng(0).integers(5, size=(4, 50))
        true[0, 40:] = -1
        inferred = np.where(true < 0, -1, np.array(names)[true])
        order = match_states(true, inferred, 5)
        np.testing.assert_array_equal(relabel(inferred, order), true)
        weights = np.random.default_rng(1).standard_normal((5, 2))
        renamed = np.empty_like(weights)
        renamed[np.array(names)] = weights
        np.testing.assert_array_equal(renamed[np.argsort(order)], weights)

    def test_states_that_never_occur_take_what_is_left(self):
        assert match_states(np.array([0, 2, 2]), np.array([1, 0, 0]), 3).tolist() == [2, 0, 1]

    def test_messages(self):
        with pytest.raises(DataError, match=r"got shapes \(2,\) and \(3,\)"):
            match_states.__wrapped__(np.zeros(2, int), np.zeros(3, int), 2)
        with pytest.raises(UsageError, match="States run to 3, so n_states must be more than that, got 3"):
            match_states(np.array([0, 3]), np.array([0, 1]), 3)
        with pytest.raises(DataError, match="No step has both"):
            match_states(np.array([-1, 0]), np.array([0, -1]), 1)
