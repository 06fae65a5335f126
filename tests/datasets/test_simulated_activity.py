"""Simulated populations with hidden structure, by name."""

import numpy as np
import pytest

from neuropil import datasets
from neuropil.activity import check_counts, check_traces, read_activity
from neuropil.errors import UsageError

SMALL = {
    "sim-switching-spikes": ({"n_trials": 3, "n_times": 60}, "spikes", 3, 12),
    "sim-clustered-spikes": ({"n_times": 80}, "spikes", 1, 30),
    "sim-motifs": ({"n_animals": 3, "n_times": 290}, "calcium", 3, 30),
    "sim-spikes-images": ({"n_trials": 3, "n_neurons": 8}, "spikes", 3, 8),
    "sim-coupled-spikes": ({"n_times": 3000}, "spikes", 1, 20),
}


@pytest.mark.parametrize("name", SMALL)
def test_every_population_is_activity(name):
    options, stream, n_sequences, n_units = SMALL[name]
    activity = read_activity(datasets.load(name, **options), stream=stream)
    assert len(activity.sequences) == n_sequences
    assert len(activity.names) == n_units
    (check_counts if stream == "spikes" else check_traces)(activity)
    assert activity.sfreq == datasets.information(name).sfreq


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_data(name):
    options, stream, _, _ = SMALL[name]
    one, two, other = (
        read_activity(datasets.load(name, **options, seed=seed), stream=stream).stacked for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_the_truth_lies_beside_the_spikes():
    recording = datasets.load("sim-switching-spikes", n_trials=2, n_times=50)
    assert set(np.unique(recording.stream("state"))) <= {0, 1, 2, 3}


def test_a_speed_drives_half_of_the_neurons():
    recording = datasets.load("sim-coupled-spikes", n_times=20_000, speed=True)
    speed, spikes = recording.stream("speed").values[:, 0], recording.stream("spikes").values
    r = np.array([np.corrcoef(speed, unit)[0, 1] for unit in spikes.T])
    assert r[:10].min() > 0.02
    assert np.abs(r[10:]).mean() < r[:10].mean() / 2


@pytest.mark.parametrize("family", ["linear_chain", "fully_connected", "cyclic"])
def test_symbols_come_from_every_family(family):
    recording = datasets.load("sim-symbols", n_sequences=20, n_times=30, family=family)
    activity = read_activity(recording, stream="symbol")
    assert activity.lengths == [30] * 20
    assert set(np.unique(activity.stacked)) <= {0, 1, 2}


def test_an_unknown_family_is_refused():
    with pytest.raises(UsageError, match="one of linear_chain"):
        datasets.load("sim-symbols", family="star")
