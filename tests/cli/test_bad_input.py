"""Bad files and bad data on the command line: one sentence, exit code 2, nothing left behind."""

import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from test_catalog_commands import neuropil

from neuropil import decoding
from neuropil.errors import DataError, UsageError
from neuropil.io.arrays import from_trials
from neuropil.recording import Recording
from neuropil.streams import irregular_stream, regular_stream
from neuropil.windowing import windows

SFREQ = 100.0


def write(path, signal, labels, **changes):
    """The user's own recording: windows laid end to end in an .npz file."""
    arrays = {
        "signal": signal,
        "sfreq": SFREQ,
        "label": np.asarray(labels),
        "channel": np.array([f"E{k}" for k in range(signal.shape[1])]),
        "unit": "uV",
        "modality": "eeg",
    }
    np.savez(path, **(arrays | changes))
    return path


def good(n=40, n_channels=3, n_times=100, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.tile(["left", "right"], n // 2)
    signal = rng.normal(size=(n, n_channels, n_times))
    signal[labels == "right", 0] += 1.5
    return signal, labels


def changed(where, value):
    signal, labels = good()
    signal[where] = value
    return signal, labels


def check(done, words, folder, allowed=()):
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("neuropil:")]) == 1
    left = {path.name for path in folder.iterdir()} - set(allowed)
    assert not left, left


@pytest.mark.parametrize(
    ("signal", "labels", "words"),
    [
        (*changed((3, 1, 5), np.nan), "NaN or infinity"),
        (*changed((3, 1, 5), np.inf), "NaN or infinity"),
        (*changed((slice(None), 2), 4.0), "constant"),
        (good()[0], ["left"] * 40, "only one class"),
        (good()[0][:1], ["left"], "only one class"),
        (good()[0][:4], ["left", "right", "left", "right"], "fold"),
    ],
    ids=["nan", "infinite", "constant channel", "one class", "one window", "fewer windows than folds"],
)
def test_data_that_cannot_be_compared(signal, labels, words, tmp_path):
    path = write(tmp_path / "mine.npz", signal, labels)
    done = neuropil("compare", str(path), "binned-lda", "--split", "blocks", "--jobs", "1", cwd=tmp_path)
    check(done, words, tmp_path, {"mine.npz", "runs"})
    assert not list(tmp_path.rglob("*.html"))


def test_one_sample_is_no_window(tmp_path):
    signal, labels = good()
    write(tmp_path / "mine.npz", signal[:, :, :1], labels)
    done = neuropil("fit", "binned-lda", "mine.npz", "-o", "model", cwd=tmp_path)
    check(done, "n_bins must lie between 1 and the 1 samples", tmp_path, {"mine.npz"})


def test_doubled_channel_names(tmp_path):
    path = write(tmp_path / "mine.npz", *good(), channel=np.array(["E0", "E1", "E1"]))
    check(
        neuropil("fit", "binned-lda", str(path), "-o", "model", cwd=tmp_path),
        "E1 more than once",
        tmp_path,
        {"mine.npz"},
    )


@pytest.mark.parametrize("suffix", [".npz", ".fif", ".edf", ".bdf", ".vhdr", ".set", ".nwb"])
def test_files_that_are_missing_empty_or_nonsense(suffix, tmp_path):
    path = tmp_path / f"mine{suffix}"
    check(neuropil("fit", "binned-lda", str(path), "-o", "model", cwd=tmp_path), path.name, tmp_path)
    path.write_bytes(b"")
    check(neuropil("fit", "binned-lda", str(path), "-o", "model", cwd=tmp_path), path.name, tmp_path, {path.name})
    path.write_bytes(b"this is no recording" * 50)
    check(neuropil("fit", "binned-lda", str(path), "-o", "model", cwd=tmp_path), path.name, tmp_path, {path.name})


def test_a_folder_is_no_recording(tmp_path):
    (tmp_path / "folder").mkdir()
    done = neuropil("fit", "binned-lda", str(tmp_path / "folder"), "-o", "model", cwd=tmp_path)
    check(done, "folder", tmp_path, {"folder"})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    write(folder / "mine.npz", *good())
    assert neuropil("fit", "binned-lda", "mine.npz", "-o", "model", cwd=folder).returncode == 0
    return folder / "model"


def test_a_model_predicts_on_a_recording_like_its_own(model, tmp_path):
    signal, labels = good(seed=1)
    write(tmp_path / "new.npz", signal, labels)
    done = neuropil("predict", str(model), "new.npz", "-o", "table.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = np.genfromtxt(tmp_path / "table.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert len(table) == 40
    assert (table["label"] == labels).mean() > 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sfreq": 50.0}, "Hz"),
        ({"channel": np.array(["E1", "E0", "E2"])}, "another order"),
        ({"channel": np.array(["E0", "E1", "Fz"])}, "lacks E2"),
    ],
    ids=["rate", "order", "names"],
)
def test_a_recording_unlike_the_model_is_refused(model, change, words, tmp_path):
    write(tmp_path / "new.npz", *good(seed=1), **change)
    check(neuropil("predict", str(model), "new.npz", "-o", "table.csv", cwd=tmp_path), words, tmp_path, {"new.npz"})


def test_an_existing_model_is_not_overwritten(model, tmp_path):
    write(tmp_path / "mine.npz", *good())
    before = (model / "model.json").read_bytes()
    done = neuropil("fit", "binned-lda", "mine.npz", "-o", str(model), cwd=tmp_path)
    check(done, "exists already", tmp_path, {"mine.npz"})
    assert (model / "model.json").read_bytes() == before


def test_results_stay_in_their_folder(tmp_path):
    write(tmp_path / "mine.npz", *good())
    (tmp_path / "file").write_text("in the way")
    done = neuropil("compare", "mine.npz", "binned-lda", "--split", "blocks", "--results", "file", cwd=tmp_path)
    check(done, "is a file", tmp_path, {"mine.npz", "file"})


GRID = ("C3", "Cz", "C4")
PLACES = np.array([[-0.06, 0.0, 0.06], [0.0, 0.0, 0.09], [0.06, 0.0, 0.06]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"channel": np.array(["C3", "Cz", "XX9"])},
            "names of the 10-10 system (such as C3) or a position for every channel, got the name 'XX9'",
        ),
        (
            {"positions": np.where(np.arange(3)[:, None] == 1, np.nan, PLACES)},
            "a position for every channel, got the name 'E0'",
        ),
        ({"positions": PLACES[[0, 1, 1]]}, "Electrodes 1 and 2 are at one place; correct the montage"),
    ],
    ids=["unknown name", "no position", "one place"],
)
def test_electrodes_that_have_no_place_on_the_head(changes, words, tmp_path):
    write(tmp_path / "mine.npz", *good(n_times=200), **changes)
    done = neuropil("compare", "mine.npz", "agtcnet", "--split", "chronological", "--jobs", "1", cwd=tmp_path)
    check(done, words, tmp_path, {"mine.npz", "runs"})
    assert "No decoder could be evaluated on the split 'chronological'; agtcnet:" in done.stderr
    assert not list(tmp_path.rglob("*.html"))


def test_who_cannot_be_fitted_is_listed_and_the_others_are_compared(tmp_path):
    write(tmp_path / "mine.npz", *good(n_times=30), sfreq=30.0)
    systems = ("binned-lda", "agtcnet", "rbtransformer", "dbconformer")
    done = neuropil("compare", "mine.npz", *systems, "--split", "chronological", "--jobs", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [row["system"] for row in document["splits"][0]["leaderboard"]] == ["binned-lda", "dbconformer"]
    reasons = {row["system"]: row["reason"] for row in document["not_applicable"]}
    assert "10-10 system" in reasons["agtcnet"] or "windows of" in reasons["agtcnet"]
    assert "too low for the band beta 14-31 Hz: half of 30 Hz is 15 Hz" in reasons["rbtransformer"]


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ("eegnet", "A temporal filter of 0.5 s is 50 samples at 100 Hz, but windows have 40"),
        ("shallow-convnet", "Filter and mean take 10 and 30 samples at 100 Hz, but windows have 20"),
        ("dbconformer", "A patch of 0.5 s is 50 samples at 100 Hz, but windows have 40"),
        ("agtcnet", "needs windows of 91 samples at 100 Hz or more, got 40"),
        ("rbtransformer", "need windows of 50 samples at 100 Hz or more (2 periods), got 40"),
    ],
)
def test_windows_shorter_than_the_longest_filter_of_a_network(system, words):
    signal, labels = good(n_times=20 if system == "shallow-convnet" else 40)
    X = windows(from_trials(signal, SFREQ, labels.tolist(), channels=list(GRID)))
    with pytest.raises((DataError, UsageError), match=re.escape(words)):
        decoding.make(system, max_epochs=1).fit(X)


def test_another_montage_than_at_training():
    signal, labels = good(n_times=100)
    X = windows(from_trials(signal, SFREQ, labels.tolist(), channels=list(GRID)))
    fitted = decoding.make("eegnet", max_epochs=1, random_state=0).fit(X)
    with pytest.raises(DataError, match=r"it lacks C4 and adds Pz; select the same channels"):
        fitted.predict(X.assign_coords(channel=["C3", "Cz", "Pz"]))
    with pytest.raises(DataError, match=r"another order \(channel 0 was C3, is C4\)"):
        fitted.predict(X[:, ::-1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--band", "20-60"), "50 Hz"),
        (("--band", "8"), "A band is LOW-HIGH in Hz, for example 8-30 or -40, got '8'"),
        (
            ("--option", "n_sessions"),
            "An option of a data set is NAME=VALUE, for example n_sessions=2, got 'n_sessions'",
        ),
        (("--option", "n_sessions=2"), "Only a named data set has options, got n_sessions for the file mine.npz"),
    ],
)
def test_settings_that_do_not_fit(arguments, words, tmp_path):
    signal = good()[0].transpose(1, 0, 2).reshape(3, -1)
    write(tmp_path / "mine.npz", signal, ["left"], channel=np.array(GRID), onset=np.array([1.0]))
    done = neuropil("compare", "mine.npz", "mdm", "--mode", "pseudo-online", *arguments, cwd=tmp_path)
    check(done, words, tmp_path, {"mine.npz"})


def test_time_stamps_that_run_backwards():
    with pytest.raises(DataError, match="must be finite and must not decrease; sort them first"):
        irregular_stream([0.0, 0.2, 0.1], [1, 1, 1])
    stream = regular_stream(np.zeros((4, 1)) + np.arange(4)[:, None], 10.0)
    with pytest.raises(DataError, match=r"labelled 10 Hz, but samples lie -0.1 s apart"):
        Recording({"eeg": stream[::-1]})


def test_an_nwb_file_with_time_stamps_that_run_backwards(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    nwb = pynwb.NWBFile("backwards", "id", datetime(2020, 1, 1, tzinfo=UTC))
    nwb.add_acquisition(pynwb.TimeSeries(name="eye", data=np.arange(3.0), unit="px", timestamps=[0.0, 0.2, 0.1]))
    with pynwb.NWBHDF5IO(tmp_path / "mine.nwb", "w") as io:
        io.write(nwb)
    check(neuropil("compare", "mine.nwb", "mdm", cwd=tmp_path), "must not decrease", tmp_path, {"mine.nwb"})
