"""Recordings to NWB and back."""

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from xarray.core import indexing

import neuropil.io
from neuropil.errors import DataError, UsageError
from neuropil.io import read_nwb, write_nwb
from neuropil.recording import Recording
from neuropil.streams import irregular_stream, regular_stream
from neuropil.windowing import iter_batches, sliding_windows


def mixed_recording():
    rng = np.random.default_rng(0)
    eeg = regular_stream(
        rng.normal(size=(1000, 3)),
        250.0,
        channels=["C3", "C4", "é"],
        kind=["eeg", "eeg", "eog"],
        unit="uV",
        positions=[[0.01, 0.02, 0.03], [0.1, 0.2, 0.3], [np.nan] * 3],
        bads=["C4"],
        t0=0.5,
    )
    counts = regular_stream(rng.integers(0, 9, (50, 2)).astype("i2"), 10.0, unit="count", modality="ephys", kind="misc")
    running = regular_stream(
        rng.normal(size=(100, 2)).astype("f4"), 25.0, channels=["x", "y"], kind="misc", unit="m", modality="behaviour"
    )
    spikes = irregular_stream(np.sort(rng.uniform(0, 4, 50)), rng.integers(0, 5, 50))
    pupil = irregular_stream([0.1, 0.5], [[1.0, 2.0], [3.0, 4.0]], unit="a", modality="pupil")
    events = pd.DataFrame(
        {"onset": [0.1, 1.1], "duration": [1 / 3, 0.7], "label": ["l", "r"], "score": [1.5, np.nan], "n": [1, 2]}
    )
    streams = {"eeg": eeg, "counts": counts, "running": running, "units": spikes, "pupil": pupil}
    info = {"meas_date": "2020-01-02T03:04:05+00:00"}
    return Recording(streams, events, subject="m12", session="2", dataset="d", info=info)


def test_round_trip(tmp_path):
    recording = mixed_recording()
    path = write_nwb(recording, tmp_path / "a.nwb")
    back = neuropil.io.open(path)
    assert set(back.streams) == set(recording.streams)
    for name, stream in recording.streams.items():
        if name == "counts":
            np.testing.assert_array_equal(back.stream(name).values, stream.values)
            assert back.stream(name).dtype == np.int16
        else:
            xr.testing.assert_identical(back.stream(name), stream)
    pd.testing.assert_frame_equal(back.events, recording.events)
    assert (back.subject, back.session) == ("m12", "2")
    assert back.info["meas_date"] == "2020-01-02T03:04:05+00:00"
    assert isinstance(back.stream("eeg").variable._data, indexing.LazilyIndexedArray)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nwb"]


def test_lazy_reading_equals_numpy_and_survives_pickling(tmp_path):
    recording = mixed_recording()
    lazy = read_nwb(write_nwb(recording, tmp_path / "a.nwb")).stream("eeg")
    values = recording.stream("eeg").values
    for key in (
        (slice(3, 900, 7), [2, 0]),
        ([5, 1, 5, 999], slice(None)),
        (17, 1),
        (slice(None, None, -2), 0),
        ([], [1]),
    ):
        xr_key = {"time": key[0], "channel": key[1]}
        expected = values[key[0]] if not isinstance(key[0], list) else values[np.asarray(key[0], dtype=int)]
        np.testing.assert_array_equal(lazy.isel(xr_key).values, expected[..., key[1]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).values, values)
    X = sliding_windows(read_nwb(tmp_path / "a.nwb"), "eeg", length=1.0)
    np.testing.assert_array_equal(np.concatenate([b for _, b in iter_batches(X, 2)]), X.values)


def test_conversion_units_and_other_tables(tmp_path):
    from datetime import UTC, datetime

    import pynwb

    nwb = pynwb.NWBFile("s", "id", datetime(2020, 1, 1, tzinfo=UTC))
    counts = np.arange(20, dtype="i2").reshape(10, 2)
    nwb.add_acquisition(pynwb.TimeSeries(name="force", data=counts, unit="N", rate=5.0, conversion=0.5, offset=1.0))
    behaviour = nwb.create_processing_module("behavior", "b")
    position = pynwb.behavior.Position(name="Position")
    position.create_spatial_series(
        name="hand", data=np.ones((4, 2)), timestamps=[0.0, 0.1, 0.4, 0.5], reference_frame="room"
    )
    behaviour.add(position)
    nwb.add_unit(spike_times=[0.3, 0.1], id=7)
    nwb.add_unit(spike_times=[0.2], id=3)
    odours = pynwb.epoch.TimeIntervals(name="odours", description="o", columns=None)
    odours.add_column(name="trial_type", description="t")
    odours.add_interval(start_time=1.0, stop_time=2.5, trial_type="mint")
    nwb.add_time_intervals(odours)
    with pynwb.NWBHDF5IO(tmp_path / "b.nwb", "w") as io:
        io.write(nwb)
    recording = read_nwb(tmp_path / "b.nwb", events="odours")
    np.testing.assert_array_equal(recording.stream("force").values, counts * 0.5 + 1.0)
    np.testing.assert_array_equal(recording.stream("hand").time.values, [0.0, 0.1, 0.4, 0.5])
    np.testing.assert_array_equal(recording.stream("units").time.values, [0.1, 0.2, 0.3])
    assert recording.stream("units").values.tolist() == [7, 3, 7]
    assert recording.events.to_dict("list") == {"onset": [1.0], "duration": [1.5], "label": ["mint"]}
    assert len(read_nwb(tmp_path / "b.nwb").events) == 0
    with pytest.raises(UsageError, match="no table of intervals 'smells'; it has trials, odours"):
        read_nwb(tmp_path / "b.nwb", events="smells")


def test_refusals_leave_nothing_behind(tmp_path, monkeypatch):
    recording = mixed_recording()
    write_nwb(recording, tmp_path / "a.nwb")
    with pytest.raises(DataError, match="exists already"):
        write_nwb(recording, tmp_path / "a.nwb")
    video = recording.stream("eeg").expand_dims(pixel=2, axis=2)
    with pytest.raises(DataError, match="'video' has dims"):
        write_nwb(Recording({"video": video}), tmp_path / "c.nwb")
    import pynwb

    def failing(self, container):
        raise OSError("disk full")

    monkeypatch.setattr(pynwb.NWBHDF5IO, "write", failing)
    with pytest.raises(OSError, match="disk full"):
        write_nwb(recording, tmp_path / "d.nwb")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nwb"]


def test_an_empty_file_of_the_format(tmp_path):
    from datetime import UTC, datetime

    import pynwb

    with pynwb.NWBHDF5IO(tmp_path / "a.nwb", "w") as io:
        io.write(pynwb.NWBFile("s", "id", datetime(2020, 1, 1, tzinfo=UTC)))
    with pytest.raises(DataError, match="no series and no units"):
        read_nwb(tmp_path / "a.nwb")
