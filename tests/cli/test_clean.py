"""`neuropil clean` from end to end, with tiny models: train, keep, clean files of any format, draw, compare, refuse."""

import json
from subprocess import CompletedProcess

import numpy as np
import pytest
from test_catalog_commands import neuropil

from neuropil import io
from neuropil.cli import main
from neuropil.decoding.at_at import ATATDenoiser
from neuropil.experiments import cleaning_comparison
from neuropil.persistence import load_model
from neuropil.recording import Recording
from neuropil.streams import regular_stream

LENGTH, SFREQ = 128, 128.0


def segments(n=120, seed=0):
    rng = np.random.default_rng(seed)
    clean = np.cumsum(rng.normal(size=(n, LENGTH)), axis=1)
    return clean - clean.mean(axis=1, keepdims=True), np.diff(rng.normal(size=(n, LENGTH + 1)), axis=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The user's own segments, a trained model, and a recording with bursts in one of its channels."""
    path = tmp_path_factory.mktemp("clean")
    clean, noise = segments()
    np.save(path / "clean.npy", clean)
    np.save(path / "noise.npy", noise)
    ATATDenoiser(segment_length=LENGTH, sfreq=SFREQ, max_epochs=6, random_state=0, progress=False).fit(
        clean, noise
    ).save(path / "model")
    rng = np.random.default_rng(1)
    data = np.cumsum(rng.normal(size=(3000, 3)), axis=0)
    data -= data.mean(axis=0)
    data[1000:2000, 1] += 4 * data[:, 1].std() * rng.normal(size=1000)
    stream = regular_stream(data, SFREQ, channels=["C3", "C4", "VEOG"], kind=["eeg", "eeg", "eog"], unit="uV", t0=1.0)
    Recording({"eeg": stream}, subject="7", info={"site": "here"}).save(path / "session.zarr")
    return path


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """The command in this process, from `folder` unless said otherwise: exit code, output and error output."""

    def call(*arguments, where=None):
        monkeypatch.chdir(where or folder)
        monkeypatch.setattr("sys.argv", ["neuropil", "clean", *arguments])
        try:
            main()
            code = 0
        except SystemExit as left:
            code = left.code or 0
        return CompletedProcess(arguments, code, *capsys.readouterr())

    return call


def test_cleans_with_a_model_and_reports_every_channel(folder, tmp_path):
    out, picture = tmp_path / "out.zarr", tmp_path / "before-after.png"
    command = ("clean", "session.zarr", "-o", str(out), "--model", "model", "--plot", str(picture), "--json")
    done = neuropil(*command, cwd=folder)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [row["channel"] for row in facts["channels"]] == ["C3", "C4"]
    assert facts["channels"][1]["noise_proxy"] < facts["channels"][0]["noise_proxy"]
    assert all(0 <= row["routed"] <= 1 for row in facts["channels"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    before, after = Recording.open(folder / "session.zarr"), Recording.open(out)
    expected = load_model(folder / "model").transform_recording(before)
    np.testing.assert_array_equal(after.stream().values, expected.stream().values)
    np.testing.assert_array_equal(after.stream().values[:, 2], before.stream().values[:, 2])
    assert after.stream().coords.to_dataset().identical(before.stream().coords.to_dataset())
    assert (after.subject, after.info["site"], after.info["cleaned"]["system"]) == ("7", "here", "at-at")


def test_other_formats_and_rates_keep_length_and_rate(run, folder, tmp_path):
    rng = np.random.default_rng(2)
    signal = np.cumsum(rng.normal(size=(1, 2, 1777)), axis=-1).astype(np.float32)
    np.savez(tmp_path / "mine.npz", signal=signal, sfreq=200.0, label=np.array(["rest"]), unit="uV", modality="eeg")
    done = run("mine.npz", "-o", "out.zarr", "--model", str(folder / "model"), where=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Resampled to 128 Hz and back to 200 Hz: nothing above 64 Hz is left." in done.stdout
    after, before = Recording.open(tmp_path / "out.zarr").stream(), io.open(tmp_path / "mine.npz").stream()
    assert (after.shape, after.attrs["sfreq"], after.dtype) == (before.shape, 200.0, np.float32)


def test_trains_on_the_users_segments_and_keeps_the_model(run, folder, tmp_path):
    own = ("--clean", "clean.npy", "--noise", "noise.npy", "--sfreq", "128", "--epochs", "2", "--seed", "3")
    kept, out = tmp_path / "kept", tmp_path / "out.zarr"
    done = run("session.zarr", "-o", str(out), *own, "--save-model", str(kept))
    assert done.returncode == 0, done.stderr
    assert "trained on 120 clean and 120 noise segments of clean.npy and noise.npy" in done.stdout
    model = load_model(kept)
    assert (model.segment_length, model.sfreq, model.max_epochs) == (128, 128.0, 2)
    again = tmp_path / "again.zarr"
    assert run("session.zarr", "-o", str(again), "--model", str(kept)).returncode == 0
    np.testing.assert_array_equal(Recording.open(out).stream().values, Recording.open(again).stream().values)


def test_without_data_the_model_is_trained_once_and_cached(folder, tmp_path, monkeypatch):
    from neuropil.experiments import cleaning

    monkeypatch.setenv("NEUROPIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cleaning, "N_SIMULATED", 60)
    simulated = cleaning.simulated_segments
    monkeypatch.setattr(cleaning, "simulated_segments", lambda seed: simulated(60, seed))
    first, origin = cleaning.obtain_model(epochs=1)
    (kept,) = (tmp_path / "cache").iterdir()
    assert str(kept) in origin
    assert "simulated" in origin
    monkeypatch.setattr(cleaning, "train_model", None)
    second, _ = cleaning.obtain_model(epochs=1)
    noisy = segments(4)[0].repeat(4, axis=1)
    np.testing.assert_array_equal(first.transform(noisy), second.transform(noisy))


def test_compares_with_the_classical_methods(run, tmp_path, monkeypatch):
    own = ("--clean", "clean.npy", "--noise", "noise.npy", "--sfreq", "128", "--epochs", "2", "--test-epochs", "6")
    picture = tmp_path / "comparison.pdf"
    done = run("--compare", *own, "--plot", str(picture), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    rows = {(row["method"], row["snr_db"]): row for row in document["rows"]}
    methods = {"noisy", "at-at", "autoencoder", "wavelet", "regression", "ica", "wiener-oracle"}
    assert set(rows) == {(method, float(level)) for method in methods for level in range(-7, 3)}
    assert set(document["uses"]) == methods
    assert document["snr_convention"] == "amplitude10"
    for level in (-7.0, 2.0):
        assert rows["wiener-oracle", level]["cc"] > rows["noisy", level]["cc"]
        assert rows["regression", level]["rrmse_time"] < rows["noisy", level]["rrmse_time"]
    assert rows["noisy", -7.0]["cc"] == pytest.approx(0.196, abs=0.02)
    assert picture.read_bytes().startswith(b"%PDF")
    monkeypatch.setattr(cleaning_comparison, "LEVELS", (0.0,))
    text = run("--compare", *own).stdout
    assert "two electrodes on the muscles" in text
    assert "ratio of amplitudes" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Name a recording and, with -o, the folder"),
        (("session.zarr",), "Name a recording and, with -o, the folder"),
        (("nothing.fif", "-o", "OUT", "--model", "model"), "found nothing there"),
        (("session.zarr", "-o", "session.zarr", "--model", "model"), "session.zarr exists already"),
        (("session.zarr", "-o", "OUT", "--model", "nowhere"), "Expected a model folder at nowhere"),
        (("session.zarr", "-o", "OUT", "--clean", "clean.npy"), "both clean segments and noise"),
        (("session.zarr", "-o", "OUT", "--model", "model", "--epochs", "3"), "--model goes with neither"),
        (("session.zarr", "-o", "OUT", "--model", "model", "--plot", "picture.txt"), "A picture ends in .png"),
        (("session.zarr", "-o", "OUT", "--model", "model", "--stream", "meg"), "has no stream 'meg'"),
        (
            ("session.zarr", "-o", "OUT", "--clean", "clean.npy", "--noise", "none.npy"),
            "Expected a .npy file of segments",
        ),
        (
            ("session.zarr", "-o", "OUT", "--clean", "clean.npy", "--noise", "session.zarr/zarr.json"),
            "no .npy file of numbers",
        ),
        (("--compare", "session.zarr"), "takes no recording"),
    ],
)
def test_what_does_not_fit_is_one_sentence(run, tmp_path, arguments, words):
    done = run(*(str(tmp_path / "out.zarr") if a == "OUT" else a for a in arguments))
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_bad_sample_leaves_nothing_behind(run, folder, tmp_path):
    data = np.random.default_rng(0).normal(size=(2000, 2))
    data[1500, 1] = np.nan
    Recording({"eeg": regular_stream(data, SFREQ, channels=["C3", "C4"])}).save(tmp_path / "bad.zarr")
    done = run("bad.zarr", "-o", "out.zarr", "--model", str(folder / "model"), where=tmp_path)
    assert done.returncode == 2
    assert "NaN or infinity in channel C4 at 11.719 s" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zarr"]


def test_memory_does_not_grow_with_the_recording(folder, tmp_path, monkeypatch):
    """Blocks are written as they come: the samples of a long recording are never together."""
    import tracemalloc

    from neuropil import storage
    from neuropil.decoding import cleaning
    from neuropil.experiments.cleaning import clean_file

    monkeypatch.setattr(cleaning, "BLOCK_SAMPLES", 1 << 13)
    monkeypatch.setattr(storage, "CHUNK_BYTES", 1 << 15)

    model, peaks = load_model(folder / "model"), []
    for k, n_times in enumerate((30_000, 120_000)):
        source = tmp_path / f"{k}.zarr"
        data = np.random.default_rng(0).normal(size=(n_times, 2)).astype(np.float32)
        Recording({"eeg": regular_stream(data, SFREQ, channels=["C3", "C4"])}).save(source)
        del data
        tracemalloc.start()
        clean_file(source, tmp_path / f"{k}-clean.zarr", model)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
