"""`neuropil fit` and `predict` with models of hidden structure."""

import json

import pytest
from typer.testing import CliRunner

from neuropil.cli import app

DATA = [
    "sim-switching-spikes",
    *(part for pair in ("n_trials=5", "n_times=60", "n_neurons=4", "n_states=2") for part in ("--option", pair)),
]
MODEL = [part for pair in ("n_states=2", "prior=gaussian", "link=logistic", "max_iter=5") for part in ("--set", pair)]


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "states"
    found = run("fit", "onehot-hmmglm", *DATA, *MODEL, "-o", folder)
    assert found.exit_code == 0, found.output
    assert "report.html" in found.output
    return folder


def test_json_says_what_was_written(tmp_path):
    found = run("fit", "onehot-hmmglm", *DATA, *MODEL, "--choose", "n_states=1,2", "-o", tmp_path / "s", "--json")
    facts = json.loads(found.stdout)
    assert facts["system"] == "onehot-hmmglm"
    assert "states.csv" in facts["tables"]
    assert len(facts["choice"]) == 2


def test_new_recordings_get_tables_and_pictures(folder, tmp_path):
    found = run("predict", folder, "sim-switching-spikes", "-o", tmp_path / "new")
    assert found.exit_code != 0  # twelve neurons, the model has four
    recording = tmp_path / "small.zarr"
    import neuropil

    neuropil.load("sim-switching-spikes", n_trials=3, n_times=60, n_neurons=4, n_states=2).save(recording)
    found = run("predict", folder, recording, "-o", tmp_path / "new")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "new" / "states.csv").exists()
    assert json.loads(run("predict", folder, recording, "--json").stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("auto", "scp-healthy", "--set", "n_bins=3"), "no model of hidden structure"),
        (("onehot-hmmglm", "sim-switching-spikes", "--tmin", "0.5"), "leave out label, tmin and tmax"),
        (("onehot-hmmglm", "sim-switching-spikes", "--set", "n_states"), "NAME=VALUE"),
        (("onehot-hmmglm", "sim-switching-spikes", "--set", "n_flowers=2"), "has the parameters"),
        (("onehot-hmmglm", "sim-switching-spikes", "--bin-width", "0.1"), "no single spikes"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, words, tmp_path):
    found = run("fit", *arguments, "-o", tmp_path / "x")
    assert found.exit_code != 0
    assert words in " ".join(str(found.exception).split())
    assert not (tmp_path / "x").exists()
