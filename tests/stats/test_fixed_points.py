"""Fixed points and dynamics of networks whose answers are known on paper."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from neuropil.errors import DataError, UsageError
from neuropil.stats.fixed_points import eigenvalues, find_fixed_points, jacobians
from neuropil.stats.rnn_dynamics import (
    autonomous_endpoints,
    consistency,
    jacobian_spectrum,
    noise_orbit,
    noise_sensitivity,
    residency_times,
    trajectories,
    turns,
)
from neuropil.stats.rnn_neurons import find_kick_neurons, gain_sweep, integrating_populations, switch_rate


def linear(weights, bias):
    weights, bias = torch.as_tensor(weights), torch.as_tensor(bias)
    return lambda h: h @ weights.T + bias


def two_wells(h):
    """The first unit has wells at +-0.9575 and a ridge at 0; the second decays."""
    return torch.stack([torch.tanh(2 * h[:, 0]), 0.5 * h[:, 1]], dim=1)


def rotation(angle, radius=1.0):
    return radius * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_a_linear_network_rests_at_the_solution_of_its_equation():
    rng = np.random.default_rng(0)
    weights, bias = rng.standard_normal((20, 20)) / 5, rng.standard_normal(20)
    found = find_fixed_points(linear(weights, bias), rng.standard_normal((15, 20)) * 3)
    assert len(found.points) == 1
    assert found.counts.tolist() == [15]
    assert found.n_lost == 0
    assert_allclose(found.points[0], np.linalg.solve(np.eye(20) - weights, bias), atol=1e-5)
    assert_allclose(np.sort(np.abs(found.eigenvalues[0])), np.sort(np.abs(np.linalg.eigvals(weights))), atol=1e-10)


def test_a_bistable_network_has_two_stable_points_and_a_saddle_between():
    rng = np.random.default_rng(1)
    found = find_fixed_points(two_wells, rng.uniform(-1.5, 1.5, (60, 2)))
    order = np.argsort(found.points[:, 0])
    well = 0.9575040240772687
    assert_allclose(found.points[order], [[-well, 0], [0, 0], [well, 0]], atol=1e-5)
    assert found.n_unstable[order].tolist() == [0, 1, 0]
    assert found.counts.sum() + found.n_lost == 60
    assert_allclose(found.eigenvalues[order[1]].real, [2.0, 0.5])
    assert_allclose(found.eigenvalues[order[0]].real, [0.5, 2 * (1 - well**2)], atol=1e-5)


def test_slow_points_are_told_from_fixed_ones():
    """h + 0.001 + h^2 / 10 is slowest at 0, where it does not stand still."""

    def ghost(h):
        return h + 0.001 + h**2 / 10

    found = find_fixed_points(ghost, np.array([[0.5], [-0.5]]), slow=1e-4)
    assert_allclose(found.points[:, 0], 0, atol=1e-2)
    assert_allclose(found.speeds, 0.001**2 / 2, rtol=1e-3)
    assert len(find_fixed_points(ghost, np.array([[0.5]]), slow=1e-8).points) == 0


def test_fixed_points_do_not_depend_on_the_order_of_units():
    rng = np.random.default_rng(2)
    weights, bias = rng.standard_normal((6, 6)) * 0.9, rng.standard_normal(6)

    def find(order):
        step = linear(weights[np.ix_(order, order)], bias[order])
        starts = np.random.default_rng(3).standard_normal((30, 6))[:, order]
        found = find_fixed_points(lambda h: torch.tanh(step(h)), starts)
        return found.points[np.argsort(found.points[:, list(order).index(0)])][:, np.argsort(order)]

    assert_allclose(find(np.arange(6)), find(np.array([3, 1, 5, 0, 2, 4])), atol=1e-5)


def test_starts_must_be_finite_and_steps_keep_their_shape():
    with pytest.raises(DataError, match="finite state"):
        find_fixed_points(two_wells, np.array([[np.nan, 0.0]]))
    with pytest.raises(UsageError, match="shape it takes"):
        jacobians(lambda h: h[:, :1], np.zeros((3, 2)))


def test_jacobians_are_finite_differences():
    rng = np.random.default_rng(4)
    weights = torch.as_tensor(rng.standard_normal((5, 5)))
    states = rng.standard_normal((3, 5))

    def step(h):
        return torch.tanh(h @ weights.T)

    found = jacobians(step, states)
    for k in range(5):
        move = 1e-6 * np.eye(5)[k]
        slope = (step(torch.as_tensor(states + move)) - step(torch.as_tensor(states - move))).numpy() / 2e-6
        assert_allclose(found[:, :, k], slope, atol=1e-8)


def test_eigenvalues_are_sorted_by_modulus():
    assert_allclose(np.abs(eigenvalues(np.diag([0.1, -3.0, 2.0])[None])), [[3.0, 2.0, 0.1]])


def test_trajectories_are_the_steps_one_by_one():
    weights = rotation(0.3, 0.9)
    inputs = np.random.default_rng(5).standard_normal((2, 4, 2))
    found = trajectories(lambda h, x: h @ torch.as_tensor(weights).T + x, np.ones((2, 2)), inputs)
    h = np.ones((2, 2))
    for t in range(4):
        h = h @ weights.T + inputs[:, t]
        assert_allclose(found[:, t], h)


def test_one_well_is_told_from_two():
    starts = np.random.default_rng(6).uniform(-1, 1, (50, 2))
    two = autonomous_endpoints(lambda h, x: two_wells(h), starts, 1)
    one = autonomous_endpoints(lambda h, x: 0.9 * h, starts, 1)
    assert two.relative_spread > 0.5
    assert one.relative_spread < 1e-10
    assert one.relative_norm == pytest.approx(0.9**500, rel=1e-6)
    assert one.norms[1] == pytest.approx(0.9 * one.norms[0])
    with pytest.raises(DataError, match="start at zero"):
        autonomous_endpoints(lambda h, x: h, np.zeros((2, 2)), 1)


@pytest.mark.parametrize(("angle", "expected"), [(2 * np.pi / 50, 2.0), (-2 * np.pi / 25, -4.0)])
def test_a_rotation_turns_as_often_as_its_angle_says(angle, expected):
    step = lambda h, x: h @ torch.as_tensor(rotation(angle)).T  # noqa: E731
    paths = trajectories(step, np.array([[1.0, 0.0], [0.0, 2.0]]), np.zeros((2, 101, 1)))
    assert_allclose(turns(paths[:, :]), expected, atol=1e-9)
    orbit = noise_orbit(np.concatenate([paths, 1e-3 * paths[..., :1]], axis=-1), n_components=2)
    assert_allclose(np.abs(orbit.turns), abs(expected), atol=0.02)
    assert orbit.consistency == 1.0
    assert orbit.variance_ratio.sum() > 0.999


def test_an_orbit_is_the_principal_components_of_scikit_learn():
    from sklearn.decomposition import PCA

    states = np.random.default_rng(7).standard_normal((3, 40, 6)) * np.arange(1, 7)
    orbit = noise_orbit(states)
    pca = PCA(3).fit(states.reshape(-1, 6))
    assert_allclose(orbit.variance_ratio, pca.explained_variance_ratio_)
    assert_allclose(np.abs((orbit.components * pca.components_).sum(axis=1)), 1.0)
    assert_allclose(
        orbit.paths @ orbit.components + orbit.mean,
        pca.inverse_transform(pca.transform(states.reshape(-1, 6))).reshape(states.shape),
    )


def test_consistency_is_one_half_where_nothing_is_preferred():
    assert consistency(np.array([1.0, -1.0, 0.5, -3.0])) == 0.5
    assert consistency(np.zeros(4)) == 0.5
    assert consistency(np.array([-1.0, -2.0])) == 1.0


def test_residency_follows_the_odds_of_leaving():
    """A walk that leaves with probability p at every step stays 1 / p steps."""
    from scipy.stats import norm

    step = lambda h, x: torch.where(x > norm.ppf(0.75), -h, h)  # noqa: E731
    read = lambda h: np.concatenate([h, -h], axis=-1) * 5  # noqa: E731
    found = residency_times(step, read, np.ones((400, 1)), 1, n_draws=10, max_steps=200, random_state=0)
    assert found.times.mean() == pytest.approx(4.0, abs=0.15)
    assert set(found.groups.tolist()) <= {0, 1, 2, -1}


def test_states_are_grouped_by_residency_and_certainty():
    step = lambda h, x: h - 1.0  # noqa: E731
    sure = lambda h: np.concatenate([h, -h], axis=-1)  # noqa: E731
    unsure = lambda h: np.concatenate([h, -h], axis=-1) / 1000  # noqa: E731
    states = np.array([[0.5], [4.5], [20.5]])
    assert residency_times(step, sure, states, 1, n_draws=1).groups.tolist() == [0, 1, 2]
    assert residency_times(step, unsure, states, 1, n_draws=1).groups.tolist() == [0, 1, -1]
    assert residency_times(step, sure, states, 1, n_draws=1).times.tolist() == [1.0, 5.0, 21.0]


def test_sign_changes_of_the_logit_are_counted():
    """The logit goes up and down in turn: its increment changes sign at every step but the first."""
    step = lambda h, x: torch.stack([h[:, 0] + h[:, 1], -h[:, 1]], dim=1)  # noqa: E731
    read = lambda h: np.stack([h[:, 0], np.full(len(h), -9.0)], axis=-1)  # noqa: E731
    found = residency_times(step, read, np.array([[1.0, 0.5]]), 1, n_draws=1, max_steps=10)
    assert found.times.tolist() == [10.0]
    assert found.sign_changes.tolist() == [9.0]


def test_unstable_and_near_critical_directions_are_counted_as_the_mobius_map_does():
    blocks = np.zeros((7, 7))
    blocks[:2, :2] = rotation(0.5, 1.02)
    blocks[2:4, 2:4] = rotation(0.5, 0.5)
    blocks[4:, 4:] = np.diag([1.5, -1.5, 0.2])
    spectrum = jacobian_spectrum(lambda h, x: h @ torch.as_tensor(blocks).T, np.zeros((2, 7)), 1)
    values = np.linalg.eigvals(blocks)
    assert spectrum.n_unstable.tolist() == [int((((values - 1) / (values + 1)).real > 0).sum())] * 2 == [4, 4]
    assert spectrum.n_critical.tolist() == [1, 1]


def test_the_spectrum_of_a_rectified_network_is_that_of_its_active_rows():
    rng = np.random.default_rng(8)
    weights = rng.standard_normal((8, 8))
    states = np.abs(rng.standard_normal((5, 8)))
    spectrum = jacobian_spectrum(lambda h, x: torch.relu(h @ torch.as_tensor(weights).T), states, 1)
    for state, found in zip(states, spectrum.eigenvalues, strict=True):
        by_hand = np.linalg.eigvals(np.diag((weights @ state > 0).astype(float)) @ weights)
        assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(by_hand)), atol=1e-9)


def test_replays_part_as_far_as_their_noise_is_fresh():
    step = lambda h, x: 0.5 * h + x  # noqa: E731
    recorded = np.random.default_rng(9).standard_normal((6, 3))
    spread = noise_sensitivity(step, np.zeros(3), recorded, (0.0, 0.5, 1.0), n_replays=4000, random_state=0)
    expected = 3 * (1 - 0.25 ** np.arange(1, 7)) / 0.75
    assert_allclose(spread[0], 0, atol=1e-12)
    assert_allclose(spread[2], expected, rtol=0.05)
    assert_allclose(spread[1], spread[2] / 4)


def planted_kicks(seed=0):
    rng = np.random.default_rng(seed)
    labels = np.tile(np.repeat([0, 1], 25), 20).reshape(2, 500)
    states = rng.uniform(0, 0.3, (2, 500, 12))
    states[..., 7] = labels
    for path in range(2):
        for time in np.flatnonzero(np.diff(labels[path])) + 1:
            neuron = 2 if labels[path, time] == 1 else 9
            states[path, time - 2 : time + 1, neuron] = 1.5
            states[path, time - 1, neuron + 1] = 1.0
    return states, labels


def test_planted_kick_neurons_are_found_for_each_direction():
    states, labels = planted_kicks()
    kicks = find_kick_neurons(states, labels, n_neurons=2)
    assert sorted(kicks.neurons[0, 1].tolist()) == [2, 3]
    assert sorted(kicks.neurons[1, 0].tolist()) == [9, 10]
    assert kicks.all.tolist() == [2, 3, 9, 10]
    assert kicks.n_transitions[0, 1] == 20
    permuted = np.random.default_rng(1).permutation(12)
    moved = find_kick_neurons(states[..., permuted], labels, n_neurons=2)
    assert sorted(permuted[moved.neurons[0, 1]].tolist()) == [2, 3]


def test_kick_neurons_need_states_away_from_transitions():
    with pytest.raises(DataError, match="lower the margin"):
        find_kick_neurons(np.zeros((1, 20, 2)), np.resize([0, 1], (1, 20)))


def test_integrating_populations_push_one_group_and_hold_the_other():
    weights = np.zeros((10, 10))
    weights[0, 4:6], weights[1, 4:6] = 1.0, -1.0
    weights[0, 6:8], weights[1, 6:8] = -0.5, 0.5
    weights[:2, 8] = 1.0
    towards_first, towards_second = integrating_populations(weights, np.array([0]), np.array([1]), 6)
    assert towards_first.tolist() == [4, 5]
    assert towards_second.tolist() == [6, 7]
    with pytest.raises(UsageError, match="1 or more"):
        integrating_populations(weights, np.array([0]), np.array([1]), 0)


def test_a_gain_sweep_runs_every_gain_under_the_same_noise():
    inputs = np.random.default_rng(10).standard_normal((4, 300, 1))
    read = lambda h: np.concatenate([h, -h], axis=-1)  # noqa: E731
    rates = gain_sweep(lambda gain: lambda h, x: 0.9 * h + gain * x, read, [0.5, 1.0, 2.0], inputs, 1)
    assert_allclose(rates, rates[0])
    assert 0.05 < rates[0] < 0.5
    grown = gain_sweep(lambda gain: lambda h, x: (gain * h + x) ** 3, read, [100.0], inputs * 100, 1)
    assert np.isnan(grown).all()
    with pytest.raises(UsageError, match="discarded"):
        gain_sweep(lambda gain: lambda h, x: x, read, [1.0], inputs[:, :20], 1)


def test_the_rate_of_switches_is_their_share():
    assert switch_rate(np.array([[0, 1, 1, 2], [2, 2, 2, 2]])) == pytest.approx(1 / 3)
