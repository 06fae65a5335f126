"""MOABB's data sets through its own fake one, offline."""

import sys

import mne
import numpy as np
import pytest

import neuropil
from neuropil import datasets
from neuropil.errors import DataError, MissingExtraError, UsageError

FAKE = {"n_subjects": 3, "n_sessions": 2, "n_runs": 2, "duration": 30, "n_events": 6, "seed": 4}


@pytest.mark.parametrize("how", [{"stim": True}, {"stim": False, "annotations": True}])
def test_subjects_sessions_and_runs_are_kept(how):
    recordings = datasets.load("moabb:FakeDataset", subjects=[1, 3], **FAKE, **how)
    keys = [(r.subject, r.session, r.info["run"]) for r in recordings]
    assert keys == [(s, e, r) for s in "13" for e in "01" for r in "01"]
    for recording in recordings:
        assert recording.dataset == "FakeDataset"
        assert list(recording.stream()["channel"].values) == ["C3", "Cz", "C4"]
        assert recording.stream().attrs["unit"] == "V"
        assert len(recording.events) == 6
        assert (recording.events["duration"] == 3.0).all()
        assert set(recording.events["label"]) <= {"fake1", "fake2", "fake3"}
        assert np.isfinite(recording.stream()["x"].values).all()
    X = neuropil.windows(recordings)
    assert X.shape == (48, 3, 3 * 128)
    assert sorted(set(X["subject"].values)) == ["1", "3"]
    assert sorted(set(X["run"].values)) == ["0", "1"]


def test_windows_equal_mne_epochs_of_the_same_run():
    from moabb.datasets import FakeDataset

    dataset = FakeDataset(**FAKE)
    raw = dataset.get_data([2])[2]["1"]["0"]
    events, ids = mne.events_from_annotations(raw, event_id=dataset.event_id)
    epochs = mne.Epochs(raw, events, ids, tmin=0, tmax=3 - 1 / 128, baseline=None, preload=True, picks="eeg")
    recording = next(
        r for r in datasets.load("moabb:FakeDataset", subjects=2, **FAKE) if (r.session, r.info["run"]) == ("1", "0")
    )
    X = neuropil.windows(recording)
    assert X["label"].values.tolist() == [{v: k for k, v in ids.items()}[code] for code in epochs.events[:, 2]]
    np.testing.assert_array_equal(X.values, epochs.get_data(copy=False))


def test_facts_need_no_download():
    facts = datasets.describe("moabb:BNCI2014_001")
    assert facts["name"] == "moabb:BNCI2014_001"
    assert facts["n_subjects"] == 9
    assert facts["classes"] == ["left_hand", "right_hand", "feet", "tongue"]
    assert facts["chance"] == 0.25
    assert "[2, 6] s" in facts["notes"]
    assert facts["where"] == "internet"


def test_what_is_refused(monkeypatch):
    with pytest.raises(UsageError, match=r"MOABB has no data set 'BNCI2014_01'; did you mean .*BNCI2014_001"):
        datasets.load("moabb:BNCI2014_01")
    with pytest.raises(UsageError, match="subjects 1 to 3, got \\[7\\]"):
        datasets.load("moabb:FakeDataset", subjects=[7], **FAKE)
    with pytest.raises(UsageError, match="does not take these options"):
        datasets.load("moabb:BNCI2014_001", colour="red")
    from moabb.datasets import FakeDataset

    def offline(self, *args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(FakeDataset, "get_data", offline)
    with pytest.raises(DataError, match=r"could not be fetched or read .*no route to host.*check the connection"):
        datasets.load("moabb:FakeDataset", subjects=[1], **FAKE)
    monkeypatch.setitem(sys.modules, "moabb.datasets", None)
    with pytest.raises(MissingExtraError, match=r"neuropil\[moabb\]"):
        datasets.load("moabb:FakeDataset")
