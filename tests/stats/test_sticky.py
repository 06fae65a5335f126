"""Weak-limit sticky HDP-HMM: transition counts, conjugate draws against moments, a joint test of prior and conditional draws."""

import numpy as np
import pytest

from neuropil.errors import UsageError
from neuropil.stats.sticky import count_transitions, draw_base_weights, draw_transitions


def test_counts():
    states = np.array([2, 2, 0, 1, 1, 1])
    assert count_transitions(states, 3).tolist() == [[0, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert count_transitions(states[:1], 3).sum() == 0
    with pytest.raises(UsageError, match="from 0 to 1, got 0 to 2"):
        count_transitions(states, 2)


def test_transitions_have_the_dirichlet_mean():
    counts, weights = np.array([[3, 1], [0, 2]]), np.array([0.3, 0.7])
    rng = np.random.default_rng(0)
    draws = np.stack([draw_transitions(counts, weights, alpha=2.0, kappa=1.5, random_state=rng) for _ in range(20_000)])
    concentration = 2.0 * weights + 1.5 * np.eye(2) + counts
    np.testing.assert_allclose(draws.mean(axis=0), concentration / concentration.sum(axis=1, keepdims=True), atol=0.005)
    np.testing.assert_allclose(draws.sum(axis=2), 1)
    assert draws.min() > 0


def test_joint_distribution():
    """Geweke (2004): prior weights, and weights redrawn in turn with transitions and states, have the same distribution."""
    n_states, alpha, gamma, kappa, n_times = 3, 3.0, 2.0, 4.0, 25
    settings = {"alpha": alpha, "kappa": kappa}
    rng = np.random.default_rng(1)
    prior = rng.dirichlet(np.full(n_states, gamma / n_states), 20_000)
    weights, drawn = prior[0], []
    for _ in range(8_000):
        nothing = np.zeros((n_states, n_states), dtype=int)
        transition = draw_transitions(nothing, weights, **settings, random_state=rng)
        states = [int(rng.integers(n_states))]
        for _ in range(n_times):
            states.append(int(rng.choice(n_states, p=transition[states[-1]])))
        counts = count_transitions(np.array(states), n_states)
        for _ in range(3):
            weights = draw_base_weights(counts, weights, gamma=gamma, **settings, random_state=rng)
        drawn.append(weights)
    drawn = np.array(drawn)
    # independent within a few dozen sweeps: 0.02 is four standard errors
    np.testing.assert_allclose(drawn.mean(axis=0), prior.mean(axis=0), atol=0.02)
    np.testing.assert_allclose((drawn**2).mean(axis=0), (prior**2).mean(axis=0), atol=0.02)


def test_messages():
    with pytest.raises(UsageError, match="alpha and gamma must be positive"):
        draw_base_weights(np.zeros((2, 2), dtype=int), np.full(2, 0.5), alpha=0.0, gamma=1.0, kappa=0.0)
