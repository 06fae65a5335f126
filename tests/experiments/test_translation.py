"""Translation end to end: the table, the courses, the picture, the model, the command, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from neuropil import io
from neuropil.cli import app
from neuropil.decoding.neurobolt import NeuroBOLTRegressor
from neuropil.decoding.volumes import scan_correlations
from neuropil.errors import DataError, UsageError
from neuropil.experiments.translation import apply_translation, translate
from neuropil.persistence import read_model
from neuropil.simulate.eeg import simulate_eeg_bold


@pytest.fixture(scope="module")
def recordings():
    return simulate_eeg_bold(n_subjects=3, n_volumes=150, seed=4, bold_snr=4.0)[0]


def test_both_splits_of_the_ridge(recordings, tmp_path):
    result = translate(recordings, systems=["ridge"], progress=False)
    assert result.table["split"].drop_duplicates().tolist() == ["scan", "subject"]
    unseen = result.table[result.table["split"] == "subject"].set_index("region")
    assert unseen.loc["mean", "r"] > 0.3
    assert unseen.loc["mean", "p"] < 0.05
    assert unseen.loc["mean", "n_scans"] == 3
    courses = result.courses
    mine = courses[(courses["split"] == "subject") & (courses["region"] == "region_1")]
    assert len(mine) == result.settings["n_volumes"]
    r = scan_correlations(mine["measured"], mine["ridge"], mine["scan"].to_numpy())
    assert unseen.loc["region_1", "r"] == pytest.approx(r.mean())
    within = courses[courses["split"] == "scan"]
    assert within["onset"].min() > 0.85 * 300
    saved = pd.read_csv(result.save_courses(tmp_path / "courses.csv"))
    assert saved.shape == courses.shape
    assert result.plot(tmp_path / "courses.png").stat().st_size > 20_000
    with pytest.raises(UsageError, match="picture's name ends in"):
        result.plot(tmp_path / "courses.txt")


def test_a_network_is_trained_and_saved(recordings, tmp_path):
    eeg = with_names(recordings[0], ["X1", *names(recordings[0])[1:]])
    strange = recordings[0].copy(streams={**recordings[0].streams, "eeg": eeg})
    options = {"systems": ["neurobolt"], "regions": ["region_2"], "epochs": 1, "progress": False}
    with pytest.warns(UserWarning, match="left out: X1"):
        result = translate([strange], save=tmp_path / "model", **options)
    assert result.table["region"].tolist() == ["region_2", "mean"]
    assert len(result.settings["channels"]) == 9
    model, facts = read_model(tmp_path / "model")
    assert isinstance(model, NeuroBOLTRegressor)
    assert facts["regions"] == ["region_2"]
    assert model.ch_names_ == tuple(names(recordings[0])[1:])
    with pytest.raises(DataError, match="exists already; choose another name or pass --overwrite"):
        translate([strange], save=tmp_path / "model")
    alone = recordings[1].copy(streams={"eeg": recordings[1].stream("eeg")[:, [5, 4, 2]]})
    course = apply_translation(tmp_path / "model", alone, every=4.0)
    assert course.columns.tolist() == ["recording", "onset", "region_2"]
    assert course["onset"].iloc[:2].tolist() == [16.0, 20.0]
    assert course["onset"].iloc[-1] <= alone.duration
    X = alone.stream("eeg").values[: 16 * 64].T[None]
    by_hand = model._run(xr_windows(X, alone))
    assert course["region_2"].iloc[0] == pytest.approx(by_hand[0, 0], abs=1e-5)
    with pytest.raises(UsageError, match="Volumes lie a positive number of seconds apart, got 0"):
        apply_translation(tmp_path / "model", alone, every=0)
    short = alone.copy(streams={"eeg": alone.stream("eeg")[:640]})
    with pytest.raises(DataError, match="is shorter than the 16 s that a volume is predicted from"):
        apply_translation(tmp_path / "model", short)


def xr_windows(X, recording):
    return xr.DataArray(
        X,
        dims=("window", "channel", "time"),
        coords={"channel": names(recording)},
        attrs={"sfreq": 64.0, "unit": "uV"},
    )


def names(recording):
    return [str(name) for name in recording.stream("eeg")["channel"].values]


def with_names(recording, labels):
    return recording.stream("eeg").assign_coords(channel=("channel", np.asarray(labels, dtype=object)))


def test_recordings_of_other_montages_and_rates_meet_in_the_middle(recordings):
    some = recordings[1].copy(streams={**recordings[1].streams, "eeg": recordings[1].stream("eeg")[:, [3, 1, 0, 2, 5]]})
    result = translate([recordings[0], some], systems=["ridge"], splits=["scan"], progress=False)
    assert result.settings["channels"] == [names(recordings[0])[k] for k in (0, 1, 2, 3, 5)]
    first, other = (
        recordings[k].copy(streams={**recordings[k].streams, "eeg": recordings[k].stream("eeg")[:, part]})
        for k, part in enumerate((slice(0, 2), slice(2, 4)))
    )
    with pytest.raises(DataError, match="no electrode in common"):
        translate([first, other])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"splits": ["random"]}, UsageError, "Choose a split among scan, subject, got random"),
        ({"systems": ["mean"]}, UsageError, "Choose a system among neurobolt, ridge, got mean"),
        ({"setting": "phone"}, UsageError, "The setting is laptop or paper, got 'phone'"),
        ({"regions": ["thalamus"]}, UsageError, "There is no region 'thalamus'; choose among region_1"),
        ({"splits": ["subject"]}, UsageError, "Unseen subjects need three subjects or more .* the data have 1"),
        ({"pretrained": "w.safetensors"}, UsageError, "LaBraM's weights fit the paper's sizes only"),
        ({"target": "fmri"}, DataError, "has no stream 'fmri'"),
    ],
)
def test_what_does_not_fit_is_refused(recordings, options, error, message):
    with pytest.raises(error, match=message):
        translate(recordings[:1], **options)


def test_the_command_on_files_with_tables_of_regions(recordings, tmp_path):
    first = recordings[0]
    first.save(tmp_path / "scan.zarr")
    runner = CliRunner()
    found = runner.invoke(
        app,
        ["translate", str(tmp_path / "scan.zarr"), "--system", "ridge", "--json", "--plot", str(tmp_path / "p.png")],
    )
    assert found.exit_code == 0, found.output
    table = json.loads(found.stdout)["table"]
    assert [row["region"] for row in table][-1] == "mean"
    assert (tmp_path / "p.png").exists()
    eeg = io.from_array(
        first.stream("eeg").values.T, 64.0, channels=names(first), unit="uV", events=first.events.assign(label="R128")
    )
    eeg.save(tmp_path / "eeg.zarr")
    pd.DataFrame(first.stream("bold").values, columns=["a", "b", "c", "d"]).to_csv(tmp_path / "roi.csv", index=False)
    arguments = [
        "translate",
        str(tmp_path / "eeg.zarr"),
        "--regions-of",
        str(tmp_path / "roi.csv"),
        "--system",
        "ridge",
    ]
    shown = runner.invoke(app, [*arguments, "--tr", "2", "--trigger", "R128", "--json"])
    assert shown.exit_code == 0, shown.output
    again = json.loads(shown.stdout)["table"]
    assert [row["region"] for row in again] == ["a", "b", "c", "d", "mean"]
    assert again[-1]["r"] == pytest.approx(table[-1]["r"], abs=0.02)
    plain = runner.invoke(app, [*arguments, "--tr", "2", "--trigger", "R128"])
    assert "95 % interval over scans" in plain.output
    missing = runner.invoke(app, arguments)
    assert missing.exit_code != 0
    assert "need --tr" in str(missing.exception)
    helped = runner.invoke(app, ["translate", "--help"])
    assert "Example: neuropil translate" in helped.output
