"""Hidden structure end to end: fit, tables, pictures, report, and the same on new recordings."""

import json

import numpy as np
import pandas as pd
import pytest

import neuropil
from neuropil.errors import DataError, UsageError
from neuropil.experiments.structure import (
    apply_structure,
    fit_structure,
    is_structure,
    make_structure,
    prepared,
    structure_systems,
)
from neuropil.persistence import load_model
from neuropil.recording import Recording
from neuropil.streams import irregular_stream

SMALL = {"n_trials": 6, "n_times": 80, "n_neurons": 4, "n_states": 2}
QUICK = {"n_states": 2, "prior": "gaussian", "link": "logistic", "max_iter": 8}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "states"
    facts = fit_structure("onehot-hmmglm", "sim-switching-spikes", folder, data_options=SMALL, options=QUICK)
    return folder, facts


def test_every_finding_is_written(fitted):
    folder, facts = fitted
    assert json.loads((folder / "summary.json").read_text())["summary"] == facts["summary"]
    for name in [*facts["tables"], *facts["pictures"]]:
        assert (folder / name).stat().st_size > 0
    assert (folder / "report.html").read_text().count("data:image/png") == len(facts["pictures"])
    assert load_model(folder / "model").n_states == 2


def test_states_filters_and_connectivity_are_among_them(fitted):
    _, facts = fitted
    tables, pictures = " ".join(facts["tables"]), " ".join(facts["pictures"])
    for word in ("states", "connectivity", "filters"):
        assert word in tables
    for word in ("raster", "transition", "connectivity", "objective"):
        assert word in pictures


def test_states_have_one_row_a_bin(fitted):
    folder, _ = fitted
    table = pd.read_csv(folder / "states.csv")
    assert len(table) == SMALL["n_trials"] * SMALL["n_times"]
    assert set(table["state"]) <= {0, 1}


def test_a_saved_model_reads_new_recordings(fitted):
    folder, _ = fitted
    recording = neuropil.load("sim-switching-spikes", **SMALL)
    findings = apply_structure(folder, recording)
    np.testing.assert_array_equal(findings.tables["states"]["state"], pd.read_csv(folder / "states.csv")["state"])
    with pytest.raises(DataError, match="4 units"):
        apply_structure(folder, neuropil.load("sim-switching-spikes", n_trials=2, n_times=50, n_neurons=5))


def test_a_size_is_chosen_by_held_out_data(tmp_path):
    facts = fit_structure(
        "onehot-hmmglm",
        "sim-switching-spikes",
        tmp_path / "chosen",
        data_options=SMALL,
        options=QUICK,
        choices={"n_states": (1, 2)},
    )
    assert facts["chosen"]["n_states"] in (1, 2)
    assert [row["n_states"] for row in facts["choice"]] == [1, 2]
    assert sum(row["chosen"] for row in facts["choice"]) == 1
    assert (tmp_path / "chosen" / "choice.png").exists()


def test_nothing_is_overwritten_unasked(fitted):
    folder, _ = fitted
    with pytest.raises(DataError, match="exists already"):
        fit_structure("onehot-hmmglm", "sim-switching-spikes", folder)


def test_nothing_is_left_behind_by_a_fit_that_fails(tmp_path):
    with pytest.raises((DataError, UsageError)):
        fit_structure(
            "onehot-hmmglm", "sim-switching-spikes", tmp_path / "x", data_options=SMALL, options={"n_states": 0}
        )
    assert list(tmp_path.iterdir()) == []


def test_all_systems_of_hidden_structure_are_known():
    assert {"onehot-hmmglm", "mm-gpvae", "functional-connectome", "bayesian-biclustering"} <= set(structure_systems())
    assert is_structure("rnn-hmm")
    assert not is_structure("auto")
    for name, words in (
        ("onehot-hmglm", "onehot-hmmglm"),
        ("speech-decoding", "planned"),
        ("worm-homogenized", "no decoder"),
    ):
        with pytest.raises(UsageError, match=words):
            is_structure(name)


@pytest.mark.parametrize("system", structure_systems())
def test_every_system_can_be_made_at_both_settings(system):
    paper, laptop = make_structure(system), make_structure(system, setting="laptop", seed=3)
    assert type(paper) is type(laptop)
    assert laptop.random_state == 3
    with pytest.raises(UsageError, match="has the parameters"):
        make_structure(system, n_flowers=2)


def test_spikes_are_counted_before_the_fit():
    times, units = np.sort(np.random.default_rng(0).uniform(0, 10, 200)), np.array(["a", "b"] * 100, dtype=object)
    recording = Recording({"spikes": irregular_stream(times, units, modality="spikes")})
    found = prepared([recording], None, 0.1)
    assert found.stream("spikes").attrs["sfreq"] == pytest.approx(10.0)
    with pytest.raises(UsageError, match="positive number"):
        prepared([recording], None, -1.0)
    with pytest.raises(UsageError, match="no single spikes"):
        prepared([found], None, 0.1)


def test_one_stream_may_be_chosen():
    recording = neuropil.load("sim-switching-spikes", **SMALL)
    assert list(prepared([recording], "state", None).streams) == ["state"]
