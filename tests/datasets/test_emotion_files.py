"""DEAP, DREAMER and SEED from small files of the same structure, written as Matlab writes them."""

import pickle

import numpy as np
import pytest
from scipy.io import savemat

from neuropil import datasets
from neuropil.datasets.emotion import load_deap, load_dreamer, load_seed
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.splits import make_split
from neuropil.windowing import windows

DREAMER_ELECTRODES = ["AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4"]


def deap(folder, number=1, n_trials=4, seconds=11, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(n_trials, 40, seconds * 128))
    labels = np.column_stack([[3.04, 5.0, 7.9, 4.99][:n_trials], rng.uniform(1, 9, (n_trials, 3))])
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"s{number:02d}.mat", {"data": data, "labels": labels})
    return data, labels


def cell(entries):
    array = np.empty((len(entries), 1), dtype=object)
    for k, entry in enumerate(entries):
        array[k, 0] = entry
    return array


def dreamer(path, n_people=2, n_clips=3, seed=0):
    rng = np.random.default_rng(seed)
    truth, people = [], []
    for _ in range(n_people):
        baselines = [rng.normal(size=(61 * 16, 14)) for _ in range(n_clips)]
        stimuli = [rng.normal(size=(128 * (9 + k), 14)) for k in range(n_clips)]
        scores = {name: rng.integers(1, 6, (n_clips, 1)) for name in ("ScoreValence", "ScoreArousal", "ScoreDominance")}
        people.append({"Age": "22", "EEG": {"baseline": cell(baselines), "stimuli": cell(stimuli)}, **scores})
        truth.append((baselines, stimuli, scores))
    content = {
        "Data": cell(people).T,
        "EEG_SamplingRate": 128,
        "EEG_Electrodes": cell(DREAMER_ELECTRODES).T,
        "noOfSubjects": n_people,
    }
    savemat(path, {"DREAMER": content})
    return truth


def seed_files(folder, n_clips=3):
    rng = np.random.default_rng(0)
    folder.mkdir()
    savemat(folder / "label.mat", {"label": np.array([[1, 0, -1][:n_clips]])})
    truth = {}
    for name, initials in (("1_20131107", "djc"), ("1_20131027", "djc"), ("2_20140404", "jl")):
        clips = [rng.normal(size=(62, 200 * (9 + k))) for k in range(n_clips)]
        savemat(folder / f"{name}.mat", {f"{initials}_eeg{k + 1}": clip for k, clip in enumerate(clips)})
        truth[name] = clips
    return truth


def test_deap_keeps_channels_baselines_ratings_and_videos(tmp_path):
    data, labels = deap(tmp_path / "data_preprocessed_matlab")
    (recording,) = load_deap(tmp_path, window_s=None)
    eeg = recording.streams["eeg"]
    assert eeg.attrs["sfreq"] == 128.0
    assert eeg["channel"].values[[0, 16, 31]].tolist() == ["Fp1", "Fp2", "O2"]
    assert recording.streams["peripheral"]["kind"].values[:3].tolist() == ["eog", "eog", "emg"]
    stimuli = windows(recording, "eeg", labels=["low", "high"])
    np.testing.assert_allclose(stimuli.values, data[:, :32, 3 * 128 :], rtol=1e-6)
    np.testing.assert_allclose(
        windows(recording, "eeg", labels=["baseline"]).values, data[:, :32, : 3 * 128], rtol=1e-6
    )
    assert stimuli["label"].values.tolist() == ["low", "high", "high", "low"]
    np.testing.assert_allclose(stimuli["arousal"].values, labels[:, 1])
    assert stimuli["video"].values.tolist() == ["01", "02", "03", "04"]
    np.testing.assert_allclose(
        windows(recording, "peripheral", labels=["low", "high"])[0, 7].values, data[0, 39, 384:], rtol=1e-6
    )


def test_deap_windows_of_one_trial_stay_together_and_videos_group_people(tmp_path):
    for number in (1, 2, 12):
        deap(tmp_path, number, seed=number)
    X = windows(load_deap(tmp_path, step_s=1.0))
    assert X.shape == (3 * 4 * 5, 32, 512)
    assert np.unique(X["subject"].values).tolist() == ["01", "02", "12"]
    for train, test in make_split("video", X, n_splits=2).split(X):
        assert not set(X["video"].values[train]) & set(X["video"].values[test])
    assert X["trial"].values[:10].tolist() == [0] * 5 + [1] * 5
    assert np.unique(windows(load_deap(tmp_path, 12))["subject"].values).tolist() == ["12"]
    levels = windows(load_deap(tmp_path, [2], rating="valence", threshold=None), labels=None)
    assert np.unique(levels["label"].values).tolist() == ["3", "4", "5", "7"]


def test_pickles_are_refused_and_not_opened(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    (tmp_path / "data_preprocessed_python").mkdir()
    (tmp_path / "data_preprocessed_python" / "s01.dat").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(
        DataError, match=r"s01.dat belongs to the Python version.*use the Matlab version, data_preprocessed_matlab/s01"
    ):
        load_deap(tmp_path)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("n_people", [1, 2])
def test_dreamer_keeps_trials_of_unequal_length(tmp_path, n_people):
    truth = dreamer(tmp_path / "DREAMER.mat", n_people)
    recordings = load_dreamer(tmp_path, window_s=None)
    assert [recording.subject for recording in recordings] == ["01", "02"][:n_people]
    for recording, (baselines, stimuli, scores) in zip(recordings, truth, strict=True):
        eeg, events = recording.streams["eeg"], recording.events
        assert eeg["channel"].values.tolist() == DREAMER_ELECTRODES
        assert events["label"].values[::2].tolist() == ["baseline"] * 3
        parts = [part for pair in zip(baselines, stimuli, strict=True) for part in pair]
        for (_, event), part in zip(events.iterrows(), parts, strict=True):
            first = round(event["onset"] * 128)
            np.testing.assert_allclose(eeg.values[first : first + round(event["duration"] * 128)], part, rtol=1e-6)
        high = np.ravel(scores["ScoreValence"]) >= 3
        assert events["label"].values[1::2].tolist() == np.where(high, "high", "low").tolist()
        assert events["dominance"].values[::2].tolist() == np.ravel(scores["ScoreDominance"]).tolist()
    X = windows(load_dreamer(tmp_path / "DREAMER.mat", subjects=1))
    assert X["video"].values.tolist() == ["01"] * 2 + ["02"] * 2 + ["03"] * 2


def test_seed_has_its_true_rate_and_days_in_order(tmp_path):
    truth = seed_files(tmp_path / "Preprocessed_EEG")
    recordings = load_seed(tmp_path, window_s=None)
    assert [(r.subject, r.session) for r in recordings] == [("01", "1"), ("01", "2"), ("02", "1")]
    first = recordings[0]
    assert first.info["source"] == "1_20131027.mat"
    assert first.streams["eeg"].attrs["sfreq"] == 200.0
    assert first.events["label"].tolist() == ["positive", "neutral", "negative"]
    assert first.events["duration"].tolist() == [9.0, 10.0, 11.0]
    np.testing.assert_allclose(first.streams["eeg"].values[: 9 * 200].T, truth["1_20131027"][0], rtol=1e-6)
    X = windows(load_seed(tmp_path, subjects=2))
    assert X.shape == (6, 62, 800)
    assert X["channel"].values[[0, 57, 61]].tolist() == ["Fp1", "CB1", "CB2"]


def test_they_have_names_and_say_which_folder_they_need(tmp_path):
    deap(tmp_path)
    assert len(windows(datasets.load("deap", folder=str(tmp_path)))) == 8
    with pytest.raises(UsageError, match=r"deap has the options folder, .*missing a required argument: 'folder'"):
        datasets.load("deap")
    assert "licence" in datasets.describe("seed")["licence"]


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda folder: load_deap(folder), "Expected DEAP's Matlab files s01.mat to s32.mat in .*, found none"),
        (
            lambda folder: load_deap(folder, rating="joy"),
            "rating must be one of valence, arousal, dominance, liking, got 'joy'",
        ),
        (lambda folder: load_dreamer(folder), "Expected a file at .*DREAMER.mat, found none"),
        (lambda folder: load_seed(folder), "Expected SEED's files such as 1_20131027.mat"),
    ],
)
def test_missing_files_are_named(tmp_path, load, message):
    with pytest.raises((DataError, UsageError), match=message):
        load(tmp_path)


def test_damaged_and_foreign_files_are_named(tmp_path):
    (tmp_path / "s01.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300))
    with pytest.raises(DataError, match=r"s01\.mat is no readable Matlab file; fetch it again"):
        load_deap(tmp_path)
    savemat(tmp_path / "s01.mat", {"data": np.zeros((2, 32, 100)), "labels": np.zeros((2, 4))})
    with pytest.raises(DataError, match=r"must hold data of shape \(trials, 40, samples\).*got \(2, 32, 100\)"):
        load_deap(tmp_path)
    savemat(tmp_path / "s01.mat", {"data": np.zeros((2, 40, 100))})
    with pytest.raises(DataError, match="must hold data and labels, it holds data"):
        load_deap(tmp_path)
    savemat(tmp_path / "DREAMER.mat", {"DREAMER": {"Data": 3}})
    with pytest.raises(DataError, match=r"is not built as DREAMER\.mat is"):
        load_dreamer(tmp_path)
    folder = tmp_path / "Preprocessed_EEG"
    seed_files(folder)
    savemat(folder / "1_20131027.mat", {"djc_eeg1": np.zeros((62, 900))})
    with pytest.raises(
        DataError, match=r"must hold 3 arrays ..._eeg1 to ..._eeg3 of shape \(62, samples\), got djc_eeg1"
    ):
        load_seed(tmp_path)
    deap(tmp_path / "one")
    with pytest.raises(UsageError, match="DEAP has the subjects 1 here, got 7"):
        load_deap(tmp_path / "one", 7)
