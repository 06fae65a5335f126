"""Fit on everything, save, and predict on recordings that are cut in the same way."""

import numpy as np
import pandas as pd
import pytest
from small_comparisons import CHANNELS, MeanLDA, trials

import neuropil
from neuropil.errors import DataError, UsageError
from neuropil.experiments.apply import fit, predict
from neuropil.io.arrays import from_array
from neuropil.persistence import save_model


@pytest.fixture
def model(tmp_path):
    fit(MeanLDA(), trials(), tmp_path / "model", tmin=0.25, tmax=0.75)
    return tmp_path / "model"


def test_predictions_are_those_of_the_estimator_on_the_same_windows(tmp_path, model):
    new = trials(seed=9)
    table = predict(model, new)
    X, train = (neuropil.windows(r, tmin=0.25, tmax=0.75) for r in (new, trials()))
    expected = MeanLDA().fit(train.values, np.asarray(train["label"].values.tolist()))
    assert table["label"].tolist() == expected.predict(X.values).tolist()
    np.testing.assert_allclose(table[["p_left", "p_right"]].to_numpy(), expected.predict_proba(X.values))
    np.testing.assert_array_equal(table["onset"], X["onset"].values)
    assert table["event"].tolist() == X["label"].values.tolist()


def test_what_was_done_is_told(tmp_path):
    facts = fit(MeanLDA(), trials(), tmp_path / "m", labels=["left", "right"], seed=3)
    assert facts["n_windows"] == 60
    assert facts["classes"] == ["left", "right"]
    assert facts["windows"] == {"mode": "offline", "labels": ["left", "right"], "tmin": 0.0, "tmax": 1.0}
    assert facts["fit_seconds"] > 0


def test_a_decoder_of_the_registry_is_fitted_by_name(tmp_path):
    fit("binned-lda", trials(), tmp_path / "model")
    table = predict(tmp_path / "model", trials(seed=1))
    assert (table["label"] == table["event"]).mean() > 0.8


def test_sliding_over_a_recording(model):
    table = predict(model, trials(), step=0.1)
    assert len(table) == 1 + (60 * 40 - 20) // 4
    np.testing.assert_allclose(np.diff(table["onset"]), 0.1)
    assert table["onset"][0] == pytest.approx(-0.25), (
        "the first window begins with the recording, 0.25 s after its onset"
    )
    quarters = predict(model, trials(), step=0.25)
    at_event = quarters[np.isclose(quarters["onset"], 2.0)]
    by_event = predict(model, trials())
    assert at_event["p_left"].item() == pytest.approx(by_event["p_left"][2])


def test_a_saved_recording_and_several(tmp_path, model):
    path = trials(seed=2).save(tmp_path / "new.zarr")
    pd.testing.assert_frame_equal(predict(model, str(path)), predict(model, trials(seed=2)))
    both = predict(model, [trials(seed=2), trials(seed=3)])
    assert both["recording"].tolist() == [0] * 60 + [1] * 60


def other(sfreq=40.0, channels=CHANNELS, n_times=400, events=True):
    data = np.random.default_rng(0).normal(size=(len(channels), n_times))
    table = pd.DataFrame({"onset": [1.0, 2.0], "duration": [1.0, 1.0], "label": ["cue", "cue"]}) if events else None
    return from_array(data, sfreq, channels=list(channels), events=table)


@pytest.mark.parametrize(
    ("recording", "step", "message"),
    [
        (other(sfreq=80.0), None, "fitted at 40 Hz, got 80 Hz; resample"),
        (other(channels=CHANNELS[::-1]), None, "channels in another order"),
        (other(channels=CHANNELS[:4]), None, r"lacks Pz; select the same channels"),
        (other(events=False), None, r"no events to predict at; slide over it in steps instead \(--step SECONDS\)"),
        (other(n_times=10), 0.1, "shorter than the 0.5 s windows of the model"),
        (other(), 0.0, "positive number of seconds, got 0.0"),
        (other(), -1.0, "positive number of seconds, got -1.0"),
        (3, None, "got int"),
    ],
)
def test_recordings_that_do_not_fit_are_refused(model, recording, step, message):
    with pytest.raises((DataError, UsageError), match=message):
        predict(model, recording, step=step)


def test_events_need_no_known_label(model):
    assert predict(model, other())["event"].tolist() == ["cue", "cue"]


def test_a_model_that_is_there_is_kept(tmp_path, model):
    with pytest.raises(DataError, match="exists already"):
        fit(MeanLDA(), trials(), model)
    assert fit(MeanLDA(), trials(), model, overwrite=True)["n_windows"] == 60
    assert predict(model, trials())["onset"][0] == 0.0


def test_what_is_no_model_of_ours_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a model folder"):
        predict(tmp_path / "nothing", trials())
    X = neuropil.windows(trials())
    bare = MeanLDA().fit(X.values, np.asarray(X["label"].values.tolist()))
    save_model(bare, tmp_path / "bare")
    with pytest.raises(UsageError, match="without saying how its windows were cut"):
        predict(tmp_path / "bare", trials())


def test_a_model_of_windows_can_slide(tmp_path):
    fit(MeanLDA(), neuropil.windows(trials()), tmp_path / "model")
    assert len(predict(tmp_path / "model", trials(), step=1.0)) == 60
    with pytest.raises(UsageError, match="cut by hand"):
        predict(tmp_path / "model", trials())
