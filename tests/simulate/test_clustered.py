"""Clustered populations: what the truth says is what the counts show."""

import numpy as np
import pytest

from neuropil.errors import UsageError
from neuropil.simulate.clustered import EASIER, PUBLISHED, plane_rotation, simulate_clustered


def test_shapes_and_the_published_defaults():
    one, two = simulate_clustered(random_state=3), simulate_clustered(**PUBLISHED, random_state=3)
    np.testing.assert_array_equal(one.counts, two.counts)
    assert one.counts.shape == (400, 30)
    assert one.paths.shape == (400, 9)
    np.testing.assert_allclose(one.paths.mean(axis=0), 0, atol=1e-12)
    assert not np.array_equal(one.counts, simulate_clustered(random_state=4).counts)


def test_rates_follow_from_paths_and_loadings():
    truth = simulate_clustered(**EASIER, random_state=0)
    i = 45
    block = truth.paths[:, 3 * truth.labels[i] : 3 * truth.labels[i] + 3]
    np.testing.assert_allclose(
        np.log(truth.rates[:, i]), truth.baselines[i] + block[:, 0] + block[:, 1:] @ truth.loadings[i]
    )


def test_counts_are_negative_binomial():
    """Mean and variance of standardised counts over the whole simulation."""
    truth = simulate_clustered(**(EASIER | {"n_times": 2000, "dispersion": 4.0}), random_state=1)
    scores = (truth.counts - truth.rates) / np.sqrt(truth.rates + truth.rates**2 / 4)
    assert abs(scores.mean()) < 0.01
    assert scores.var() == pytest.approx(1, abs=0.03)


def test_paths_obey_their_dynamics():
    """Least squares within the lively state gives its transition matrix back; the quiet state is quieter."""
    truth = simulate_clustered(**(EASIER | {"n_times": 4000}), random_state=2)
    lively = np.flatnonzero(truth.states[1:] == 1)
    fitted = np.linalg.lstsq(truth.paths[lively], truth.paths[lively + 1], rcond=None)[0].T
    np.testing.assert_allclose(fitted, truth.transitions[1], atol=0.06)
    assert truth.paths[truth.states == 0].std() < 0.4 * truth.paths[truth.states == 1].std()


def test_states_alternate_and_last():
    states = simulate_clustered(n_times=5000, random_state=0).states
    lengths = np.diff(np.flatnonzero(np.diff(states, prepend=-1)))
    assert set(np.unique(states)) == {0, 1}
    assert lengths[1:].mean() == pytest.approx(51, abs=3)


def test_rotation_keeps_lengths_and_turns_by_the_angle():
    turn = plane_rotation(5, 30.0, 1)
    np.testing.assert_allclose(turn @ turn.T, np.eye(5), atol=1e-12)
    angles = np.degrees(np.abs(np.angle(np.linalg.eigvals(turn))))
    np.testing.assert_allclose(np.sort(angles), [0, 0, 0, 30, 30], atol=1e-5)


def test_recording():
    truth = simulate_clustered(2, 3, 50, random_state=0)
    recording = truth.recording(0.5)
    np.testing.assert_array_equal(recording.stream("spikes").values, truth.counts)
    assert recording.stream("state").attrs["sfreq"] == 2.0


def test_messages():
    with pytest.raises(UsageError, match="one cluster, neuron, bin and factor or more"):
        simulate_clustered(0)
    with pytest.raises(UsageError, match="two dimensions"):
        plane_rotation(1, 10.0)
    with pytest.raises(UsageError, match="positive number of seconds"):
        simulate_clustered(2, 3, 50, random_state=0).recording(0.0)
