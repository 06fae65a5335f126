"""Plain arrays and .npz files."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neuropil.errors import DataError
from neuropil.io import from_array, from_trials, read_npz, write_npz
from neuropil.streams import irregular_stream
from neuropil.windowing import windows


def test_continuous_arrays():
    data = np.random.default_rng(0).normal(size=(3, 500))
    recording = from_array(data, 250.0, unit="uV", channels=["a", "b", "c"], subject="01", modality="ieeg")
    assert list(recording.streams) == ["ieeg"]
    np.testing.assert_array_equal(recording.stream().values, data.T)
    with pytest.raises(DataError, match=r"\(n_channels, n_times\), got shape \(3, 4, 5\)"):
        from_array(np.zeros((3, 4, 5)), 100.0)


def test_trials_come_back_as_windows():
    data = np.random.default_rng(0).normal(size=(7, 3, 123))
    labels = list("abacaba")
    recording = from_trials(data, 100.0, labels, columns={"split": ["train"] * 5 + ["test"] * 2}, t0=3.0)
    X = windows(recording)
    np.testing.assert_array_equal(X.values, data)
    assert X["label"].values.tolist() == labels
    assert X["split"].values.tolist() == ["train"] * 5 + ["test"] * 2
    assert X["trial"].values.tolist() == list(range(7))
    assert recording.info["concatenated_trials"] is True
    with pytest.raises(DataError, match="one label for each of the 7 trials, got 2"):
        from_trials(data, 100.0, ["a", "b"])
    with pytest.raises(DataError, match="one split for each"):
        from_trials(data, 100.0, labels, columns={"split": ["train"]})
    with pytest.raises(DataError, match="Cut trials need shape"):
        from_trials(data[0], 100.0, labels)


def test_npz_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"onset": [2.5, 3.0], "duration": [0.5, 1 / 3], "label": ["é", "b"]})
    recording = from_array(
        rng.normal(size=(2, 500)).astype("f4"),
        250.0,
        channels=["C3", "ö"],
        unit="uV",
        kind=["eeg", "eog"],
        bads=["ö"],
        positions=[[0.1, 0.2, 0.3], [np.nan] * 3],
        t0=2.0,
        events=events,
        subject="s",
    )
    back = read_npz(write_npz(recording, tmp_path / "a.npz"))
    xr.testing.assert_identical(back.stream(), recording.stream())
    pd.testing.assert_frame_equal(back.events, events)
    assert back.subject == "s"
    with pytest.raises(DataError, match="Only a regular stream"):
        write_npz(recording.copy(streams={"s": irregular_stream([0.1], [1])}), tmp_path / "b.npz", "s")


def test_npz_of_trials(tmp_path):
    signal = np.arange(24, dtype="i2").reshape(3, 2, 4)
    np.savez(
        tmp_path / "a.npz", signal=signal, gain=0.5, sfreq=8.0, label=["a", "b", "a"], split=["train", "train", "test"]
    )
    X = windows(read_npz(tmp_path / "a.npz"))
    np.testing.assert_array_equal(X.values, signal * 0.5)
    assert X["split"].values.tolist() == ["train", "train", "test"]
    continuous = {"signal": signal[0], "sfreq": 8.0, "onset": [0.1], "modality": "meg"}
    np.savez(tmp_path / "b.npz", **continuous)
    recording = read_npz(tmp_path / "b.npz")
    assert recording.events.to_dict("list") == {"onset": [0.1], "duration": [0.0], "label": ["event"]}
    assert recording.stream()["kind"].values.tolist() == ["mag", "mag"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sfreq": 100.0}, "lacks signal; it has sfreq"),
        ({"signal": np.zeros((2, 10))}, "lacks sfreq"),
        ({"signal": np.zeros(10), "sfreq": 100.0}, "got float64 of shape"),
        ({"signal": np.zeros((2, 10)), "sfreq": -1.0}, "sampling rate must be a positive number"),
        ({"signal": np.zeros((2, 10)), "sfreq": 100.0, "channel": ["a"]}, "one name for each of the 2 channels"),
        ({"signal": np.zeros((2, 10)), "sfreq": 100.0, "onset": [np.nan]}, "finite onset"),
        ({"signal": np.full((2, 10), "x"), "sfreq": 100.0}, "needs a signal"),
        ({"signal": np.full((2, 10), None, dtype=object), "sfreq": 100.0}, "cannot be read"),
        ({"signal": np.zeros((2, 3, 10)), "sfreq": 100.0, "label": ["a"]}, "one label for each of the 2 trials"),
    ],
)
def test_npz_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        read_npz(tmp_path / "a.npz")
    assert "a.npz" in str(error.value)
