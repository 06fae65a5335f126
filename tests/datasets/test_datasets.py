"""The bundled arrays to the last bit, their damage, the registry, MOABB, pictures."""

import hashlib
import re
from importlib import resources

import numpy as np
import pytest
from matplotlib.image import imread

import neuropil
from neuropil import datasets
from neuropil.datasets.picture import class_averages
from neuropil.datasets.shipped import FILES, rows_overlap, whole_channels
from neuropil.errors import DataError, UsageError
from neuropil.io import from_trials
from neuropil.recording import Recording

# name: shape, sampling rate, classes, (training, test) trials, unit, SHA-256 of signal and of labels (first 16 digits)
TABLE = {
    "scp-healthy": (
        (561, 6, 896),
        256.0,
        ["negativity", "positivity"],
        (268, 293),
        "uV",
        "279f6bedeed9dd21",
        "191ebc966eda93ac",
    ),
    "scp-als": (
        (380, 7, 1152),
        256.0,
        ["negativity", "positivity"],
        (200, 180),
        "uV",
        "50cd36c2964219dc",
        "e25b175cb4fb6b01",
    ),
    "finger-movements": (
        (416, 28, 50),
        100.0,
        ["left", "right"],
        (316, 100),
        "uV",
        "88a82afb3956fbde",
        "9e4f3cb8d109aa90",
    ),
    "hand-direction-meg": (
        (234, 10, 400),
        400.0,
        ["backward", "forward", "left", "right"],
        (160, 74),
        "fT (as distributed)",
        "9fdc5d77034695c7",
        "6ed46a12d8dabc14",
    ),
}
DAMAGED = ("scp-healthy", "scp-als", "finger-movements")


def arrays(name):
    path = resources.files("neuropil.datasets") / "bundled" / FILES[name]
    with np.load(str(path)) as archive:
        return {key: archive[key] for key in archive.files}


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", TABLE)
def test_windows_are_the_arrays_of_the_file(name):
    shape, sfreq, classes, counts, unit, signal_digest, label_digest = TABLE[name]
    stored = arrays(name)
    assert digest(stored["signal"]) == signal_digest
    assert digest(stored["label"]) == label_digest
    recording = datasets.load(name)
    assert isinstance(recording, Recording)
    X = neuropil.windows(recording)
    assert X.shape == shape
    assert X.attrs["sfreq"] == sfreq
    assert X.attrs["unit"] == unit
    assert X.attrs["dataset"] == name
    values = X.values
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, stored["signal"] * float(stored["gain"]))
    assert X["label"].values.tolist() == stored["label"].tolist()
    assert sorted(set(X["label"].values)) == classes
    assert X["split"].values.tolist() == stored["split"].tolist()
    assert tuple(int((X["split"].values == part).sum()) for part in ("train", "test")) == counts
    assert X["trial"].values.tolist() == list(range(shape[0]))
    assert recording.info["concatenated_trials"] is True
    info = datasets.information(name)
    assert (info.n_trials, info.sfreq, list(info.classes)) == (shape[0], sfreq, classes)
    assert list(info.channels) == stored["channel"].tolist()
    if name not in DAMAGED:
        assert list(X["channel"].values) == stored["channel"].tolist()
    assert info.chance == 1 / len(classes)
    size = (resources.files("neuropil.datasets") / "bundled" / FILES[name]).stat().st_size
    assert info.size_mb == pytest.approx(size / 1e6, abs=0.006)


def test_kinds_positions_and_subjects():
    als = datasets.load("scp-als")
    assert list(als.stream()["channel"].values[:3]) == ["A1-Cz", "A1-Cz+7", "A1-Cz+14"]
    assert "x" not in als.stream().coords
    assert "x" not in datasets.load("finger-movements").stream().coords
    meg = datasets.load("hand-direction-meg")
    assert set(meg.stream()["kind"].values) == {"mag"}
    assert meg.subject == ""
    assert meg.info["tmin"] == -0.4
    finger = datasets.load("finger-movements", repaired=True).stream()
    place = {c: finger.sel(channel=c) for c in ("C3", "Cz", "C5", "F3")}
    assert float(place["C5"].x) < float(place["C3"].x) < float(place["Cz"].x) - 0.02
    assert abs(float(place["Cz"].x)) < 0.005
    assert float(place["F3"].y) > float(place["C3"].y) + 0.03
    radius = np.sqrt(sum(finger[axis].values ** 2 for axis in "xyz"))
    assert ((radius > 0.07) & (radius < 0.16)).all()


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_rows_are_said_and_whole_channels_won_back(name):
    signal = arrays(name)["signal"]
    n_channels, n_times = signal.shape[1:]
    as_distributed = datasets.load(name)
    assert re.search(r"moved by .* samples.* whole.*repaired=True", as_distributed.info["damage"])
    repaired = datasets.load(name, repaired=True)
    assert "damage" not in repaired.info
    whole = repaired.stream()
    assert list(whole["channel"].values) == as_distributed.info["whole_channels"]
    assert whole.sizes["channel"] == (n_times + n_channels * (n_channels - 1)) // n_times
    X = neuropil.windows(repaired).values
    gain = float(arrays(name)["gain"])
    flat = X.reshape(len(X), -1)
    for c in range(n_channels):
        row = signal[:, c, : max(0, min(n_times, flat.shape[1] - c * n_channels))] * gain
        np.testing.assert_array_equal(flat[:, c * n_channels : c * n_channels + row.shape[1]], row)
    steps = np.abs(np.diff(X, axis=2)).mean(axis=0)
    assert (steps.max(axis=1) < 2 * np.median(steps, axis=1)).all()
    raw = np.abs(np.diff(signal.astype(float), axis=2)).mean(axis=0)
    assert (raw.max(axis=1) > 2 * np.median(raw, axis=1)).sum() >= n_channels / 2
    assert "DAMAGED" in datasets.describe(name)["notes"]
    assert "damaged" in datasets.describe(name)["title"]


def test_the_meg_is_whole():
    assert not rows_overlap(arrays("hand-direction-meg")["signal"])
    rng = np.random.default_rng(0)
    channels = rng.normal(size=(3, 5, 8))
    series = channels.reshape(3, -1)
    rows = np.stack([series[:, 5 * c : 5 * c + 8] for c in range(5)], axis=1)
    assert rows_overlap(rows)
    np.testing.assert_array_equal(whole_channels(rows), channels[:, :3])


def test_the_shipped_readme_names_every_file():
    text = (resources.files("neuropil.datasets") / "bundled" / "README.md").read_text(encoding="utf-8")
    assert all(file in text for file in FILES.values())
    assert "catalyst" not in text


def test_descriptions():
    assert set(TABLE) | {"sim-motor-imagery", "sim-emotion", "sim-eeg-bold"} <= set(datasets.names())
    for name in datasets.names():
        facts = datasets.describe(name)
        if facts["where"] == "registered":
            continue
        assert facts["name"] == name
        assert all(facts[key] for key in ("title", "modality", "description", "provenance", "licence", "where"))
        assert bool(facts["classes"]) == (facts["task"] not in ("regression", "structure"))
        assert isinstance(facts["classes"], list)
    assert datasets.describe("scp-healthy")["reference_score"] == 0.887


def test_names_that_do_not_exist():
    with pytest.raises(UsageError, match=r"no data set 'scp-helthy'; did you mean scp-healthy"):
        datasets.load("scp-helthy")
    with pytest.raises(UsageError, match="there are deap, dreamer, finger-movements"):
        datasets.information("zzzzzz")
    with pytest.raises(UsageError, match=r"options repaired: .*'subjects'"):
        datasets.load("hand-direction-meg", subjects=[1])
    with pytest.raises(UsageError, match="name of a data set, got int"):
        datasets.load(3)


def test_simulated_motor_imagery_repeats():
    first, again = (datasets.load("sim-motor-imagery", n_subjects=2, n_trials=4, seed=3) for _ in range(2))
    assert len(first) == 2
    assert [r.subject for r in first] == [r.subject for r in again]
    assert len({r.subject for r in first}) == 2
    np.testing.assert_array_equal(first[1].stream().values, again[1].stream().values)
    assert set(first[0].events["label"]) == {"left_hand", "right_hand"}
    assert first[0].dataset == "sim-motor-imagery"


def test_simulated_sessions_of_a_subject():
    recordings = datasets.load("sim-motor-imagery", n_subjects=2, n_sessions=2, n_trials=2)
    assert [(r.subject, r.session) for r in recordings] == [("01", "01"), ("01", "02"), ("02", "01"), ("02", "02")]


def test_simulated_emotion_comes_in_windows_that_know_their_trial():
    options = {"n_subjects": 1, "n_trials": 4, "stimulus_s": 9.0, "seed": 1}
    (cut,) = datasets.load("sim-emotion", **options)
    (whole,) = datasets.load("sim-emotion", window_s=None, **options)
    np.testing.assert_array_equal(cut.stream().values, whole.stream().values)
    assert set(whole.events["label"]) == {"baseline", "low", "high"}
    X = neuropil.windows(cut)
    assert X.shape == (8, 32, 512)
    assert sorted(set(X["label"].values)) == ["high", "low"]
    assert X["trial"].values.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    stimuli = whole.events[whole.events["label"] != "baseline"]
    np.testing.assert_allclose(X["onset"].values, np.add.outer(stimuli["onset"].values, [0.0, 4.0]).ravel())
    assert X["label"].values.tolist() == np.repeat(stimuli["label"].values, 2).tolist()
    sliding = neuropil.sliding_windows(cut, length=2.0)
    assert set(sliding["trial"].values) == {-1, 0, 1, 2, 3}
    with pytest.raises(UsageError, match=r"window_s must lie between 0 and the 9 s of a stimulus, got 10"):
        datasets.load("sim-emotion", window_s=10, **options)


def test_the_effects_of_simulated_emotion_are_options():
    one = {"n_subjects": 1, "n_trials": 2, "stimulus_s": 4.0}
    facts = [
        datasets.load("sim-emotion", **one, **given)[0].info["params"] for given in ({"inter": 0.6}, {"preset": "null"})
    ]
    assert [(f["eff"], f["inter"], f["drift"]) for f in facts] == [(0.2, 0.6, 0.25), (0.0, 0.0, 0.25)]


def test_simulated_eeg_and_bold():
    (scan,) = datasets.load("sim-eeg-bold", n_subjects=1, n_volumes=30)
    assert scan.dataset == "sim-eeg-bold"
    assert scan.stream("bold").shape == (30, 4)
    assert scan.stream("eeg").attrs["sfreq"] == 64.0


def test_registering(monkeypatch):
    from neuropil.datasets import registry

    datasets.names()
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    info = datasets.DatasetInfo("mine", "My data", "eeg", classes=("a", "b"))
    datasets.register(info, lambda scale=1.0: from_trials(np.ones((2, 1, 4)) * scale, 4.0, ["a", "b"]))
    assert "mine" in datasets.names()
    assert neuropil.load("mine", scale=3.0).stream().values.max() == 3.0
    with pytest.raises(UsageError, match="already; choose another name"):
        datasets.register(info, lambda: None)
    with pytest.raises(UsageError, match="must be a function, got str"):
        datasets.register(datasets.DatasetInfo("other", "t", "eeg"), "no function")
    for bad in ("", "two words", "moabb:x", "a/b"):
        with pytest.raises(UsageError, match="name needs letters"):
            datasets.DatasetInfo(bad, "t", "eeg")
    with pytest.raises(UsageError, match="bundled, simulated, internet, registered"):
        datasets.DatasetInfo("a", "t", "eeg", where="moon")


def test_class_averages_and_picture(tmp_path):
    recording = datasets.load("hand-direction-meg")
    X = neuropil.windows(recording)
    classes, mean, error = class_averages(X)
    for c, label in enumerate(classes):
        chosen = X.values[X["label"].values == label]
        np.testing.assert_allclose(mean[c], chosen.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(error[c], chosen.std(axis=0, ddof=1) / np.sqrt(len(chosen)), rtol=1e-9)
    path = datasets.plot("hand-direction-meg", tmp_path / "meg.png")
    image = imread(path)
    assert image.shape[0] > 300
    assert image.shape[1] > 600
    assert len(np.unique(image[..., :3].reshape(-1, 3), axis=0)) > 50
    datasets.plot("mine", tmp_path / "mine.svg", recordings=recording, channels=["MEG01"])
    assert b"<svg" in (tmp_path / "mine.svg").read_bytes()
    with pytest.raises(UsageError, match=r"ends in \.png"):
        datasets.plot("hand-direction-meg", tmp_path / "meg.docx")
    with pytest.raises(UsageError, match="no folder"):
        datasets.plot("hand-direction-meg", tmp_path / "nowhere" / "meg.png")
    with pytest.raises(DataError, match="no events with a duration"):
        datasets.plot("mine", tmp_path / "b.png", recordings=recording.copy(events=recording.events.iloc[:0]))
