"""The coupled network: wiring, delays and direction of effects, drive, speed, movie, recordings, messages."""

import numpy as np
import pytest

from neuropil.errors import UsageError
from neuropil.simulate.coupled_logistic import (
    bar_drive,
    moving_bar,
    random_wiring,
    simulate_coupled_logistic,
    slow_speed,
    speed_drive,
)
from neuropil.stats.connectivity import edge_auroc, lagged_correlation


def test_every_neuron_listens_to_as_many_others_within_the_ranges():
    weights, delays = random_wiring(9, 3, weight=(1.0, 2.0), delay=(2, 4), random_state=0)
    assert ((weights != 0).sum(axis=1) == 3).all()
    assert (np.diag(weights) == 0).all()
    on = weights != 0
    assert weights[on].min() >= 1 and weights[on].max() <= 2  # noqa: PT018
    assert set(np.unique(delays[on])) <= {2, 3, 4}
    assert (delays[~on] == 0).all()


def test_a_neuron_at_rest_fires_as_its_logit_says():
    spikes = simulate_coupled_logistic(50_000, 4, 0, base_logit=-2.0, random_state=0).spikes
    np.testing.assert_allclose(spikes.mean(axis=0), 1 / (1 + np.exp(2.0)), atol=0.005)


def test_a_spike_raises_its_targets_by_the_weight_after_the_delay_and_not_before():
    network = simulate_coupled_logistic(60_000, 6, 1, weight=(2.0, 2.0), base_logit=-3.0, random_state=1)
    for post, pre in np.argwhere(network.edges):
        source, target = network.spikes[:, pre].astype(bool), network.spikes[:, post]
        delay = network.delays[post, pre]
        after = target[delay:][source[:-delay]].mean()
        assert after == pytest.approx(1 / (1 + np.exp(1.0)), abs=0.03)
        earlier = target[delay - 1 :][: len(source) - delay + 1][source[: len(source) - delay + 1]].mean()
        assert earlier < after - 0.1


def test_truth_has_the_order_post_pre_and_lagged_correlation_finds_it():
    network = simulate_coupled_logistic(30_000, random_state=2)
    score = lagged_correlation(network.spikes, range(2, 6)).sum(axis=0)
    assert edge_auroc(score, network.edges) > 0.98
    assert edge_auroc(score.T, network.edges) < 0.7


def test_a_seed_repeats():
    one, same, other = (simulate_coupled_logistic(500, random_state=seed).spikes for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_speed_is_stationary_and_forgets_in_its_time():
    speed = slow_speed(400_000, time_constant=0.2, random_state=0)
    assert speed.std() == pytest.approx(1.0, abs=0.03)
    assert np.corrcoef(speed[20:], speed[:-20])[0, 1] == pytest.approx(np.exp(-1), abs=0.03)
    drive = speed_drive(speed[:2000], 6, n_driven=2, gain=2.0)
    np.testing.assert_array_equal(drive[:, 1], 2 * speed[:2000])
    assert (drive[:, 2:] == 0).all()
    network = simulate_coupled_logistic(2000, 6, drive=drive, random_state=0)
    np.testing.assert_array_equal(network.drive, drive)


def test_the_bar_is_where_the_movie_says_and_drives_its_neurons():
    movie = moving_bar(60, random_state=3)
    middle = (movie.frames[:, 0] * np.arange(16)).sum(axis=1) / movie.frames[:, 0].sum(axis=1)
    inside = (movie.places > 1.5) & (movie.places < 13.5)
    np.testing.assert_allclose(middle[inside], movie.places[inside], atol=1e-6)
    steps = np.diff(movie.places).reshape(-1)
    same = np.arange(1, 60) % 20 != 0
    assert (np.sign(steps[same]) == np.where(movie.directions[1:][same] == 1, 1, -1)).all()
    drive = bar_drive(movie, 300, 6, gain=1.0, place_gain=2.0)
    right = np.repeat(movie.directions, 5) == 1
    assert (drive[right][:, 3:] == 0).all()
    assert (drive[~right][:, :3] == 0).all()
    assert drive[right][:, :3].min() >= 1
    assert drive.max() == pytest.approx(3.0, abs=0.15)


def test_as_a_recording():
    movie, speed = moving_bar(20, random_state=0), slow_speed(100, random_state=0)
    recording = simulate_coupled_logistic(100, 4, random_state=0).recording(speed=speed, movie=movie)
    assert list(recording.streams) == ["spikes", "speed", "frames"]
    assert recording.stream("spikes").attrs["sfreq"] == 100
    np.testing.assert_array_equal(recording.stream("frames").values, movie.frames)
    np.testing.assert_array_equal(recording.stream("speed").values[:, 0], speed)
    assert recording.duration == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_wiring(3, 3), "0 to 2 others"),
        (lambda: random_wiring(3, 1, delay=(0, 2)), "Delays"),
        (lambda: simulate_coupled_logistic(0), "one bin"),
        (lambda: simulate_coupled_logistic(10, 3, drive=np.zeros((9, 3))), "drive must have shape"),
        (lambda: slow_speed(10, time_constant=0.0), "positive times"),
        (lambda: speed_drive(np.zeros(3), 4, n_driven=5), "Between 0 and 4"),
        (lambda: moving_bar(0), "needs frames"),
        (lambda: bar_drive(moving_bar(2), 100), "make more frames"),
    ],
)
def test_messages(call, message):
    with pytest.raises(UsageError, match=message):
        call()
