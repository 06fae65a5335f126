"""Users' own EEG and fMRI: tables, triggers, refusals."""

import pickle

import numpy as np
import pandas as pd
import pytest

from neuropil import io
from neuropil.datasets.eeg_fmri import load_eeg_fmri
from neuropil.errors import DataError, UsageError
from neuropil.lagged import make_lagged_epochs, targets

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(60, 3)).round(4)
TRIGGERS = 500 + 420 * np.arange(60)


def recording(label="R128"):
    events = pd.DataFrame({"onset": TRIGGERS / 200, "duration": 0.0, "label": label})
    events = pd.concat([events, pd.DataFrame({"onset": [1.0], "duration": 0.0, "label": ["boundary"]})])
    return io.from_array(
        RNG.normal(size=(2, 26000)), 200.0, channels=["C3", "C4"], unit="uV", events=events, subject="01"
    )


@pytest.mark.parametrize("kind", ["csv", "tsv", "npy", "npz", "array", "frame"])
def test_tables_of_every_kind(kind, tmp_path):
    frame = pd.DataFrame(VALUES, columns=["Cuneus", "Putamen", "Thalamus"])
    path = tmp_path / f"regions.{kind}"
    if kind in ("csv", "tsv"):
        frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    elif kind == "npy":
        np.save(path, VALUES)
    elif kind == "npz":
        np.savez(path, regions=VALUES)
    table = {"array": VALUES, "frame": frame}.get(kind, path)
    made = load_eeg_fmri(recording(), table, 2.1, triggers=TRIGGERS)
    bold = made.stream("bold")
    np.testing.assert_allclose(bold.values, VALUES, atol=1e-6)
    named = kind in ("csv", "tsv", "frame")
    expected = list(frame.columns) if named else ["region_1", "region_2", "region_3"]
    assert bold["channel"].values.tolist() == expected
    assert made.subject == "01"


def test_volumes_lie_where_their_triggers_are(tmp_path):
    by_label = load_eeg_fmri(recording(), VALUES, 2.1, label="R128", names=["a", "b", "c"], subject="x")
    np.savetxt(tmp_path / "triggers.txt", TRIGGERS, fmt="%d")
    by_file = load_eeg_fmri(recording(), VALUES, 2.1, triggers=tmp_path / "triggers.txt")
    for made in (by_label, by_file):
        np.testing.assert_allclose(made.stream("bold")["time"].values, TRIGGERS / 200)
        np.testing.assert_allclose(made.events["onset"], TRIGGERS / 200)
        assert set(made.events["label"]) == {"volume"}
    assert by_label.subject == "x"
    X = make_lagged_epochs(by_label, stream=None, scaling="none")
    k = 40
    first = TRIGGERS[X["volume"].values[k]] - 3200
    np.testing.assert_array_equal(X[k].values, recording_values(by_label)[:, first : first + 3200])
    np.testing.assert_allclose(targets(X)[1][k], VALUES[X["volume"].values[k]], atol=1e-6)


def recording_values(made):
    return made.stream("eeg").values.T


def test_a_pickle_is_not_opened(tmp_path):
    path = tmp_path / "sub-01_roi.pkl"
    path.write_bytes(pickle.dumps({"opened": True}))
    with pytest.raises(
        UsageError,
        match=r"is a pickle, which can run anything when opened; convert it where you trust it, with .*to_csv",
    ):
        load_eeg_fmri(recording(), path, 2.1, label="R128")
    hidden = tmp_path / "roi.npy"
    np.save(hidden, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="is damaged or no table of numbers"):
        load_eeg_fmri(recording(), hidden, 2.1, label="R128")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, UsageError, "Say when the volumes were taken: triggers= with a sample of the EEG each, or label="),
        ({"label": "MR"}, DataError, "no events 'MR', it has R128, boundary"),
        ({"triggers": TRIGGERS[:-1]}, DataError, "one trigger for each of the 60 volumes of the table, got 59"),
        ({"triggers": TRIGGERS[::-1]}, DataError, "trigger 1 does not come after trigger 0"),
        (
            {"triggers": np.delete(500 + 420 * np.arange(61), 30)},
            DataError,
            r"every 2.1 s, between triggers 29 and 30 lie 4.200 s; give the true TR, or add the missing trigger",
        ),
        ({"triggers": -TRIGGERS}, DataError, "Triggers are sample numbers from 0 on"),
        ({"label": "R128", "names": ["a"]}, UsageError, "Expected a name for each of the 3 regions, got 1"),
        ({"label": "R128", "tr": 0.0}, UsageError, "must be a positive number of seconds, got tr=0"),
        ({"label": "R128", "tr": 3.0}, DataError, "every 3 s, between triggers 0 and 1 lie 2.100 s"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, message):
    options = {"tr": 2.1, **options}
    with pytest.raises(error, match=message):
        load_eeg_fmri(recording(), VALUES, options.pop("tr"), **options)


def test_tables_that_are_none_are_refused(tmp_path):
    holes = VALUES.copy()
    holes[7, 1] = np.nan
    with pytest.raises(DataError, match="Every region needs a value in every volume, row 7 has none"):
        load_eeg_fmri(recording(), holes, 2.1, label="R128")
    text = tmp_path / "t.csv"
    text.write_text("a,b\n1,x\n")
    with pytest.raises(DataError, match="must hold numbers only; leave out columns of text"):
        load_eeg_fmri(recording(), text, 2.1, label="R128")
    with pytest.raises(FileNotFoundError, match="Expected a table of regions at"):
        load_eeg_fmri(recording(), tmp_path / "nothing.csv", 2.1, label="R128")
    (tmp_path / "t.mat").write_text("x")
    with pytest.raises(UsageError, match=r"ends in \.csv, \.tsv, \.npy or \.npz"):
        load_eeg_fmri(recording(), tmp_path / "t.mat", 2.1, label="R128")
    np.savez(tmp_path / "two.npz", a=VALUES, b=VALUES)
    with pytest.raises(UsageError, match=r"must hold one array .* it holds a, b"):
        load_eeg_fmri(recording(), tmp_path / "two.npz", 2.1, label="R128")
