"""Reaching data from Matlab files of the published structure: trials, spikes, velocity, decoding, registry, what is refused."""

import pickle

import numpy as np
import pytest
from scipy.io import savemat

from neuropil import datasets
from neuropil.datasets.flint import load_flint
from neuropil.decoding.discriminative_kalman_filter import DiscriminativeKalmanFilter, KalmanFilterDecoder
from neuropil.decoding.state_recordings import state_trials
from neuropil.errors import DataError
from neuropil.simulate.populations import simulate_cosine_tuning

N_UNITS, TRIALS = 30, (180, 240, 150, 300, 210, 260)


def structure(entries):
    """Dictionaries of one sort as Matlab's structure array."""
    made = np.empty(len(entries), dtype=[(name, object) for name in entries[0]])
    for k, entry in enumerate(entries):
        for name, value in entry.items():
            made[name][k] = value
    return made


def session(seed, trials=TRIALS):
    """Trials of uneven length at 100 Hz, whose clocks go on; spikes of tuned neurons."""
    rng = np.random.default_rng(seed)
    found = simulate_cosine_tuning(sum(trials) // 10, N_UNITS, baseline=1.0, random_state=rng)
    made, clock, row = [], 5.0, 0
    for n in trials:
        bins = slice(row, row + n // 10)
        times = clock + 0.01 * np.arange(n)
        neurons = []
        for k in range(N_UNITS):
            counts = found.counts[bins, k]
            spikes = clock + 0.1 * (np.repeat(np.arange(n // 10), counts) + rng.uniform(0.01, 0.99, counts.sum()))
            neurons.append({"Spike": np.sort(spikes)[:, None]})
        velocity = np.column_stack([np.repeat(found.states[bins], 10, axis=0), np.zeros(n)])
        made.append({"Time": times[:, None], "HandVel": velocity, "Neuron": structure(neurons)})
        clock, row = clock + n / 100 + 1.5, row + n // 10
    return made, found


def write(path, sessions):
    savemat(path, {"Subject": structure([{"Trial": structure(trials)} for trials in sessions])})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("flint")
    for number in (1, 2):
        write(place / f"Flint_2012_e{number}.mat", [session(10 * number)[0], session(10 * number + 1)[0]])
    return place


def test_sessions_trials_spikes_and_velocities(folder):
    recordings = load_flint(folder)
    assert [(r.subject, r.session) for r in recordings] == [
        ("Flint_2012_e1", "1"), ("Flint_2012_e1", "2"), ("Flint_2012_e2", "1"), ("Flint_2012_e2", "2"),
    ]  # fmt: skip
    found = session(11)[1]
    second = recordings[1]
    np.testing.assert_allclose(second.events["duration"], np.array(TRIALS) / 100)
    np.testing.assert_allclose(second.events["onset"], np.cumsum([0, *TRIALS[:-1]]) / 100)
    assert second.stream("velocity").attrs["sfreq"] == 100.0
    read = state_trials(second)
    assert [len(trial) for trial in read.features] == [n // 10 for n in TRIALS]
    order = [read.names.index(f"{k:03d}") for k in range(1, N_UNITS + 1)]
    np.testing.assert_array_equal(np.concatenate(read.features)[:, order], found.counts)
    np.testing.assert_allclose(np.concatenate(read.states), found.states, atol=1e-12)


def test_a_decoder_takes_sessions_as_they_are(folder):
    recording = load_flint(folder / "Flint_2012_e1.mat")[0]
    early = recording.copy(events=recording.events.iloc[:4])
    late = recording.copy(events=recording.events.iloc[4:])
    for decoder in (KalmanFilterDecoder(), DiscriminativeKalmanFilter("nn", "constant", random_state=0)):
        assert decoder.fit(early).score(late) > 0.2
        assert [len(mean) for mean in decoder.predict(late)] == [21, 26]


def test_the_registry_names_it(folder):
    assert len(datasets.load("flint-reaching", path=folder)) == 4
    assert "Flint_2012_e1.mat" in datasets.describe("flint-reaching")["provenance"]
    places = datasets.load("sim-place-fields", n_times=50, n_neurons=5)
    assert places.stream("spikes").shape == (50, 5)
    assert datasets.load("sim-cosine-tuning", n_times=50).dataset == "sim-cosine-tuning"
    assert {"worm-recordings", "flint-reaching"} <= set(datasets.names())


def changed(**changes):
    trials, _ = session(0, (60, 60))
    trials[1].update(changes)
    return trials


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        (
            changed(HandVel=np.zeros((50, 3))),
            r"Trial\(2\) must have times and as many velocities of two axes, got 60 times",
        ),
        (changed(HandVel=np.zeros((60, 1))), "velocities of shape"),
        (changed(Time=np.zeros((60, 1))), "must increase in even steps"),
        (changed(Time=0.02 * np.arange(60)[:, None]), "has 50 samples a second, the trials before have 100"),
        (changed(Neuron=structure([{"Spike": np.zeros((0, 1))}] * 3)), "has 3 neurons, the trials before have 30"),
        (
            changed(Neuron=structure([{"Spikes": np.zeros((0, 1))}] * 30)),
            r"Neuron\(1\) must be a structure with Spike, it holds Spikes",
        ),
    ],
)
def test_other_structures_are_refused_in_one_sentence(tmp_path, trials, words):
    write(tmp_path / "Flint_2012_e1.mat", [trials])
    with pytest.raises(DataError, match=words) as caught:
        load_flint(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_of_these(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected files such as"):
        load_flint(tmp_path)
    savemat(tmp_path / "Flint_2012_e1.mat", {"x": 1.0})
    with pytest.raises(DataError, match="must hold the structure Subject, it holds x"):
        load_flint(tmp_path)
    (tmp_path / "Flint_2012_e1.mat").write_bytes(pickle.dumps({"Subject": [1, 2, 3]}))
    with pytest.raises(DataError, match="no readable Matlab file"):
        load_flint(tmp_path)
