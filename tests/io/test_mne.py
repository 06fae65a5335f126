"""MNE-Python's Raw and Epochs to recordings and windows, and back, bit by bit."""

import datetime
import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from mne.utils import object_diff
from xarray.core import indexing

import neuropil.io
from neuropil.errors import DataError, UsageError
from neuropil.io import epochs_to_windows, from_mne, to_mne, to_mne_epochs
from neuropil.recording import Recording
from neuropil.streams import regular_stream
from neuropil.windowing import iter_batches, sliding_windows, windows

KINDS = ["eeg", "stim", "eeg", "mag", "grad", "eog", "eeg", "misc"]
NAMES = ["Fz", "STI 014", "Cz", "MEG1", "MEG2", "vEOG", "Öz", "aux"]


def rich_raw(meas_date=True, first_samp=771, n_times=2000, oz="Öz"):
    rng = np.random.default_rng(0)
    info = mne.create_info([*NAMES[:6], oz, NAMES[7]], 256.0, KINDS)
    for k, channel in enumerate(info["chs"]):
        channel["loc"][:] = rng.normal(size=12)
        channel["cal"] = 1.0 + k
    info["chs"][6]["loc"][:] = np.nan
    raw = mne.io.RawArray(rng.normal(size=(8, n_times)) * 1e-6, info, first_samp=first_samp, verbose="ERROR")
    raw.info["bads"] = ["vEOG", "Cz"]
    raw.info["line_freq"] = 50.0
    raw.info["subject_info"] = {"his_id": "s07", "sex": 2, "birthday": datetime.date(1980, 2, 29), "height": 1.8}
    raw.info["description"] = "a ✓ description"
    with raw.info._unlock():
        raw.info["highpass"], raw.info["lowpass"] = 0.1, 40.0
    raw.set_eeg_reference(projection=True, verbose="ERROR")
    if meas_date:
        raw.set_meas_date(datetime.datetime(2021, 3, 4, 5, 6, 7, 891011, tzinfo=datetime.UTC))
    annotations = mne.Annotations(
        [0.1, 1.23456789, 3.0, 5.5],
        [0.0, 0.7654321, 1 / 3, 2.0],
        ["left", "right ✓", "left", "BAD_muscle"],
        orig_time=None,
        ch_names=[(), ("Fz", "Cz"), (), ()],
        extras=[{"score": 3, "name": "a"}, {"score": 4}, {"name": "b", "rt": 0.25}, {}],
    )
    return raw.set_annotations(annotations)


def assert_same_raw(a, b):
    np.testing.assert_array_equal(a.get_data(), b.get_data())
    assert object_diff(a.info, b.info) == ""
    assert a.first_samp == b.first_samp
    np.testing.assert_array_equal(a.times, b.times)
    assert a.annotations.orig_time == b.annotations.orig_time
    np.testing.assert_array_equal(a.annotations.onset, b.annotations.onset)
    np.testing.assert_array_equal(a.annotations.duration, b.annotations.duration)
    assert list(a.annotations.description) == list(b.annotations.description)
    assert list(a.annotations.ch_names) == list(b.annotations.ch_names)
    assert [dict(e) for e in a.annotations.extras] == [dict(e) for e in b.annotations.extras]


@pytest.mark.parametrize("meas_date", [True, False])
@pytest.mark.parametrize("first_samp", [0, 771])
@pytest.mark.parametrize("store", [False, True])
def test_raw_round_trip_is_exact(tmp_path, meas_date, first_samp, store):
    raw = rich_raw(meas_date, first_samp)
    recording = from_mne(raw)
    if store:
        recording = Recording.open(recording.save(tmp_path / "r.zarr"))
    assert_same_raw(raw, to_mne(recording))
    again = from_mne(to_mne(recording))
    assert again.identical(from_mne(raw))


def test_streams_kinds_units_positions_and_bads():
    raw = rich_raw()
    recording = from_mne(raw)
    assert list(recording.streams) == ["eeg", "mag", "grad", "stim", "eog", "misc"]
    assert [s.attrs["unit"] for s in recording.streams.values()] == ["V", "T", "T/m", "V", "V", ""]
    eeg = recording.stream("eeg")
    assert list(eeg["channel"].values) == ["Fz", "Cz", "Öz"]
    assert eeg["bad"].values.tolist() == [False, True, False]
    np.testing.assert_array_equal(eeg["x"].values[:2], [raw.info["chs"][0]["loc"][0], raw.info["chs"][2]["loc"][0]])
    assert np.isnan(eeg["x"].values[2])
    assert recording.subject == "s07"
    assert float(eeg.time[0]) == pytest.approx(771 / 256, abs=1e-12)
    assert recording.info["meas_date"] == "2021-03-04T05:06:07.891011+00:00"
    assert recording.info["first_samp"] == 771
    assert recording.events["label"].tolist() == ["left", "right ✓", "left", "BAD_muscle"]
    assert recording.events["score"].tolist()[:2] == [3, 4]
    np.testing.assert_array_equal(recording.events["onset"], raw.annotations.onset)


def test_events_point_at_the_samples_that_mne_points_at():
    raw = rich_raw(first_samp=500)
    events, ids = mne.events_from_annotations(raw, regexp="^left$")
    epochs = mne.Epochs(raw, events, ids, tmin=0.0625, tmax=0.5, baseline=None, preload=True, picks="eeg", proj=False)
    X = windows(from_mne(raw), "eeg", tmin=0.0625, tmax=0.5 + 1 / 256, labels=["left"])
    np.testing.assert_array_equal(X.values, epochs.get_data(picks=["Fz", "Cz", "Öz"]))


def test_one_stream_and_changes_in_the_stream_win():
    raw = rich_raw()
    recording = from_mne(raw)
    only = to_mne(recording, "eeg")
    assert only.ch_names == ["Fz", "Cz", "Öz"]
    np.testing.assert_array_equal(only.get_data(), raw.get_data(picks=only.ch_names))
    eeg = recording.stream("eeg").assign_coords(bad=("channel", [True, False, False]))
    eeg = eeg.assign_coords(x=("channel", [0.5, eeg["x"].values[1], np.nan]))
    changed = to_mne(recording.copy(streams={"eeg": eeg.isel(channel=[1, 0])}))
    assert changed.ch_names == ["Fz", "Cz"]
    assert changed.info["bads"] == ["Fz"]
    assert changed.info["chs"][0]["loc"][0] == 0.5
    np.testing.assert_array_equal(changed.info["chs"][1]["loc"], raw.info["chs"][2]["loc"])


def test_a_slice_in_time_keeps_its_clock():
    raw = rich_raw()
    recording = from_mne(raw)
    cut = recording.copy(streams={n: s.isel(time=slice(256, 1024)) for n, s in recording.streams.items()})
    back = to_mne(cut)
    assert back.first_samp == 771 + 256
    np.testing.assert_array_equal(back.get_data(), raw.get_data()[:, 256:1024])
    assert back.annotations.onset[0] == pytest.approx(raw.annotations.onset[1])


def test_without_mne_details_units_become_si():
    rng = np.random.default_rng(1)
    stream = regular_stream(
        rng.normal(size=(300, 2)),
        100.0,
        channels=["C3", "C4"],
        unit="uV",
        positions=[[0.1, 0, 0], [np.nan] * 3],
        bads=["C4"],
    )
    events = pd.DataFrame({"onset": [0.5], "duration": [1.0], "label": ["go"], "split": ["train"]})
    raw = to_mne(Recording({"eeg": stream}, events, subject="x1"))
    np.testing.assert_allclose(raw.get_data(), stream.values.T * 1e-6, rtol=1e-15)
    assert raw.info["bads"] == ["C4"]
    assert raw.info["subject_info"]["his_id"] == "x1"
    np.testing.assert_array_equal(raw.info["chs"][0]["loc"][:3], [0.1, 0, 0])
    assert dict(raw.annotations.extras[0]) == {"split": "train"}
    with pytest.raises(UsageError, match="unit 'parsec'"):
        to_mne(Recording({"eeg": stream.assign_attrs(unit="parsec")}))
    with pytest.raises(UsageError, match="telepathy"):
        to_mne(Recording({"eeg": stream.assign_coords(kind=("channel", ["telepathy"] * 2))}))
    with pytest.raises(UsageError, match="Raw or Epochs, got dict"):
        from_mne({})


def test_a_file_is_read_lazily_and_equally(tmp_path):
    raw = rich_raw(oz="Oz")
    raw.save(tmp_path / "a_raw.fif", fmt="double", verbose="ERROR")
    recording = neuropil.io.open(tmp_path / "a_raw.fif")
    eeg = recording.stream("eeg")
    assert isinstance(eeg.variable._data, indexing.LazilyIndexedArray)
    picks = ["Fz", "Cz", "Oz"]
    np.testing.assert_allclose(eeg.values, raw.get_data(picks=picks).T, rtol=1e-15, atol=0)
    raw = mne.io.read_raw_fif(tmp_path / "a_raw.fif", verbose="ERROR")
    np.testing.assert_array_equal(eeg.values, raw.get_data(picks=picks).T)
    np.testing.assert_array_equal(eeg[::-3, [2, 0]].values, raw.get_data(picks=picks).T[::-3, [2, 0]])
    np.testing.assert_array_equal(eeg[[5, 3, 900], 1].values, raw.get_data(picks=picks).T[[5, 3, 900], 1])
    np.testing.assert_array_equal(eeg[7].values, raw.get_data(picks=picks).T[7])
    X = sliding_windows(recording, length=1.0)
    whole = np.concatenate([batch for _, batch in iter_batches(X, 3)])
    np.testing.assert_array_equal(whole, X.values)
    neuropil.io.save_raw(recording, tmp_path / "b_raw.fif")
    with pytest.raises(DataError, match="exists already"):
        neuropil.io.save_raw(recording, tmp_path / "b_raw.fif")
    with pytest.raises(DataError, match="channel names in ASCII, got Öz"):
        neuropil.io.save_raw(from_mne(rich_raw()), tmp_path / "c_raw.fif")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_raw.fif", "b_raw.fif"]
    assert_same_raw(mne.io.read_raw_fif(tmp_path / "a_raw.fif", verbose="ERROR"), to_mne(recording))
    written = neuropil.io.open(tmp_path / "b_raw.fif").stream("mag").values
    np.testing.assert_allclose(written, recording.stream("mag").values, rtol=1e-15, atol=0)


def rich_epochs(metadata=True):
    raw = rich_raw(n_times=5000, oz="Oz")
    onsets = np.array([1000, 1700, 2400, 3100, 3800, 4500])
    events = np.stack([onsets, [0, 1, 0, 0, 2, 0], [1, 2, 1, 7, 2, 1]], axis=1)
    table = pd.DataFrame(
        {
            "rt": [0.1, np.nan, 0.3, 0.4, 0.5, 0.6],
            "word": list("abcdéf"),
            "n": [1, 2, 3, 4, 5, 6],
            "ok": [True, False] * 3,
        }
    )
    table["label"] = ["clash"] * 6
    epochs = mne.Epochs(
        raw,
        events,
        {"left": 1, "right/hard": 2, "catch": 7},
        tmin=-0.3,
        tmax=0.6,
        baseline=(None, 0),
        preload=True,
        metadata=table if metadata else None,
        proj=False,
        verbose="ERROR",
        reject_by_annotation=False,
    )
    return epochs.drop([2], verbose="ERROR")


def assert_same_epochs(a, b):
    np.testing.assert_array_equal(a.get_data(copy=False), b.get_data(copy=False))
    np.testing.assert_array_equal(a.events, b.events)
    np.testing.assert_array_equal(a.times, b.times)
    np.testing.assert_array_equal(a.selection, b.selection)
    assert (a.event_id, a.tmin, a.baseline, a.drop_log) == (b.event_id, b.tmin, b.baseline, b.drop_log)
    assert object_diff(a.info, b.info) == ""
    assert (a.metadata is None) == (b.metadata is None)
    if a.metadata is not None:
        pd.testing.assert_frame_equal(a.metadata, b.metadata, check_index_type=False)


@pytest.mark.parametrize("metadata", [True, False])
def test_epochs_round_trip_is_exact(metadata):
    epochs = rich_epochs(metadata)
    X = epochs_to_windows(epochs)
    assert X.shape == epochs.get_data(copy=False).shape
    np.testing.assert_array_equal(X["time"].values, epochs.times)
    np.testing.assert_array_equal(X["onset"].values, epochs.events[:, 0] / 256.0)
    assert X["label"].values.tolist() == ["left", "right/hard", "catch", "right/hard", "left"]
    assert_same_epochs(epochs, to_mne_epochs(X))


def test_epochs_survive_selection_and_reordering():
    epochs = rich_epochs()
    X = epochs_to_windows(epochs)[[3, 0]]
    back = to_mne_epochs(X)
    np.testing.assert_array_equal(back.get_data(copy=False), epochs.get_data(copy=False)[[3, 0]])
    assert back.metadata["word"].tolist() == [epochs.metadata["word"].tolist()[k] for k in (3, 0)]
    assert back.event_id == {"left": 1, "right/hard": 2}
    short = to_mne_epochs(epochs_to_windows(epochs).isel(time=slice(100, 200), channel=[0, 2]))
    np.testing.assert_array_equal(short.times, epochs.times[100:200])
    assert short.ch_names == ["Fz", "Cz"]


def test_epochs_become_trials_end_to_end():
    epochs = rich_epochs()
    recording = from_mne(epochs)
    assert recording.info["concatenated_trials"] is True
    assert recording.info["tmin"] == epochs.tmin
    np.testing.assert_array_equal(windows(recording, "eeg").values, epochs.get_data(picks=["Fz", "Cz", "Oz"]))
    np.testing.assert_array_equal(windows(recording, "mag").values, epochs.get_data(picks=["MEG1"]))
    assert recording.events["metadata_label"].tolist() == ["clash"] * 5


def test_epochs_file_is_lazy_and_equal(tmp_path):
    epochs = rich_epochs()
    epochs.save(tmp_path / "a-epo.fif", fmt="double", verbose="ERROR")
    recording = neuropil.io.open(tmp_path / "a-epo.fif")
    assert isinstance(recording.stream("eeg").variable._data, indexing.LazilyIndexedArray)
    read = mne.read_epochs(tmp_path / "a-epo.fif", verbose="ERROR")
    np.testing.assert_array_equal(windows(recording, "eeg").values, read.get_data(picks=["Fz", "Cz", "Oz"]))
    lazy = mne.read_epochs(tmp_path / "a-epo.fif", preload=False, verbose="ERROR")
    assert_same_epochs(read, to_mne_epochs(epochs_to_windows(lazy)))


def test_windows_of_two_recordings_become_epochs():
    rng = np.random.default_rng(2)
    events = pd.DataFrame({"onset": [0.5, 2.0], "duration": [1.0, 1.0], "label": ["left", "right"]})
    recordings = [
        Recording({"eeg": regular_stream(rng.normal(size=(400, 2)), 100.0)}, events, subject=str(k)) for k in range(2)
    ]
    X = windows(recordings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        epochs = to_mne_epochs(X)
    np.testing.assert_array_equal(epochs.get_data(copy=False), X.values)
    assert epochs.event_id == {"left": 1, "right": 2}
    assert epochs.events[:, 2].tolist() == [1, 2, 1, 2]
    with pytest.raises(UsageError, match="window, channel, time"):
        to_mne_epochs(X.transpose("channel", "window", "time"))
    with pytest.raises(UsageError, match="Epochs, got"):
        epochs_to_windows(rich_raw())
