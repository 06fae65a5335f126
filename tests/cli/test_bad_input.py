"""Bad files and bad data on the command line: one sentence, exit code 2, nothing left behind."""

import numpy as np
import pytest
from test_catalog_commands import neuropil

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
