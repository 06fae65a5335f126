"""Simulated populations: stationary states, rates by hand, Poisson counts, repeats, messages."""

import numpy as np
import pytest

from neuropil.errors import UsageError
from neuropil.simulate.populations import (
    cosine_rates,
    place_field_rates,
    simulate_cosine_tuning,
    simulate_place_fields,
    turning_states,
)

SIMULATORS = [simulate_place_fields, simulate_cosine_tuning]


def test_states_turn_decay_and_are_stationary():
    states, A = turning_states(200_000, decay=0.9, angle=30.0, random_state=0)
    np.testing.assert_allclose(np.cov(states.T), np.eye(2), atol=0.03)
    np.testing.assert_allclose(A, 0.9 * np.array([[np.sqrt(3) / 2, -0.5], [0.5, np.sqrt(3) / 2]]), atol=1e-15)
    fitted = np.linalg.lstsq(states[:-1], states[1:], rcond=None)[0].T
    np.testing.assert_allclose(fitted, A, atol=0.01)


def test_rates_by_hand():
    rates = place_field_rates(np.array([[0.0, 0.0], [0.6, 0.0]]), np.zeros((1, 2)), width=0.6, peak=2.0, baseline=0.1)
    np.testing.assert_allclose(rates[:, 0], [2.1, 2 * np.exp(-0.5) + 0.1])
    directions = np.array([[1.0, 0.0], [0.0, 1.0]])
    states = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, -9.0]])
    rates = cosine_rates(states, directions, np.log([1.0, 2.0]), modulation=1.2, top_speed=2.0)
    np.testing.assert_allclose(rates, [[1, 2], [1, 2 * np.exp(1.2)], [1, 2 * np.exp(-2.4)]])


@pytest.mark.parametrize("simulate", SIMULATORS)
def test_counts_are_poisson_given_the_states_and_repeat(simulate):
    found = simulate(20_000, 12, random_state=3)
    assert found.counts.shape == found.rates.shape == (20_000, 12)
    np.testing.assert_allclose((found.counts - found.rates).mean(axis=0), 0, atol=0.02)
    scaled = (found.counts - found.rates) / np.sqrt(found.rates)
    assert scaled.var() == pytest.approx(1.0, abs=0.02)
    residual = np.corrcoef((found.counts - found.rates).T) - np.eye(12)
    assert np.abs(residual).max() < 0.04
    again = simulate(20_000, 12, random_state=3)
    np.testing.assert_array_equal(again.counts, found.counts)
    assert not np.array_equal(simulate(20_000, 12, random_state=4).states, found.states)


def test_the_truth_gives_the_rates():
    fields = simulate_place_fields(50, 9, width=0.4, random_state=0)
    np.testing.assert_array_equal(place_field_rates(fields.states, fields.tuning, width=0.4), fields.rates)
    cosine = simulate_cosine_tuning(50, 9, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(cosine.tuning, axis=1), 1.0)
    at_rest = np.log(cosine.rates) - 1.2 * np.clip(2 / np.linalg.norm(cosine.states, axis=1), 0, 1)[:, None] * (
        cosine.states @ cosine.tuning.T
    )
    np.testing.assert_allclose(at_rest, np.tile(at_rest[0], (50, 1)), atol=1e-12)


def test_as_a_recording():
    found = simulate_place_fields(40, 5, random_state=0)
    recording = found.recording(bin_width=0.05)
    assert recording.duration == pytest.approx(2.0)
    np.testing.assert_array_equal(recording.stream("spikes").values, found.counts)
    np.testing.assert_array_equal(recording.stream("state").values, found.states)
    assert recording.stream("spikes").attrs["sfreq"] == pytest.approx(20.0)


def test_messages():
    with pytest.raises(UsageError, match=r"a decay in \[0, 1\), got 10 and 1"):
        turning_states(10, decay=1.0)
    with pytest.raises(UsageError, match="one neuron or more, got 0"):
        simulate_place_fields(10, 0)
    with pytest.raises(UsageError, match="a positive width"):
        simulate_place_fields(10, 5, width=0.0)
    with pytest.raises(UsageError, match="baseline must be positive"):
        simulate_cosine_tuning(10, 5, baseline=0.0)
    with pytest.raises(UsageError, match="top_speed must be positive"):
        simulate_cosine_tuning(10, 5, top_speed=0.0)
    with pytest.raises(UsageError, match="bin_width must be a positive"):
        simulate_place_fields(10, 5).recording(0.0)
