"""What networks made their output of: noted in the workers, drawn in the report."""

import json

import numpy as np
import pytest
from small_comparisons import CHANNELS, MeanLDA, trials

import neuropil
from neuropil import decoding
from neuropil.experiments.insight import insight
from neuropil.signal.montage import montage_1010


@pytest.fixture(scope="module")
def windows():
    return neuropil.windows(trials(n=90, effect=2.0, positions=montage_1010(CHANNELS)))


def network(name, **options):
    small = {"max_epochs": 8, "lr": 1e-2, "random_state": 0, "progress": False, "alignment": "none"}
    return decoding.make(name, **small | options)


def test_gradients_find_the_channel_that_differs(windows):
    y = windows["label"].values
    model = network("eegnet", max_epochs=30, kernel_size=0.25).fit(windows)
    found = insight(model, windows, y)
    assert json.loads(json.dumps(found)) == found
    gradients = found["gradients"]
    assert gradients["channels"] == list(CHANNELS)
    in_time, in_bands = (np.array(gradients[part]["values"]) for part in ("times", "bands"))
    np.testing.assert_allclose(in_time.sum(axis=1), in_bands.sum(axis=1), atol=1e-4)
    assert in_time.sum(axis=1).argmax() == CHANNELS.index("C3")
    assert gradients["error"] < 0.2
    assert (found["attention"], found["weights"]) == ({}, None)


def test_attention_is_noted_where_there_is_some(windows):
    options = {"emb_size": 8, "num_heads": 2, "kernel_size": 0.2, "spatial_kernel_size": 5, "max_epochs": 1}
    found = insight(network("dbconformer", **options).fit(windows), windows, windows["label"].values)
    assert found["attention"]["spatial"]["tokens"] == list(CHANNELS)
    for entry in found["attention"].values():
        for _, values in entry["maps"]:
            np.testing.assert_allclose(np.sum(values, axis=-1), 1, atol=1e-5)
    assert np.sum(found["weights"]) == pytest.approx(1)


def test_features_have_their_names_instead_of_times():
    recordings = neuropil.load("sim-emotion", n_subjects=1, n_trials=4)
    X = neuropil.windows(recordings)
    model = decoding.make(
        "rbtransformer", **decoding.get("rbtransformer").laptop | {"max_epochs": 1, "progress": False}
    )
    found = insight(model.fit(X), X, X["label"].values)
    assert found["gradients"]["features"]["columns"] == ["theta", "alpha", "beta", "gamma"]
    assert np.shape(found["gradients"]["features"]["values"]) == (32, 4)
    assert "times" not in found["gradients"]


def test_decoders_without_a_network_note_nothing(windows):
    assert insight(MeanLDA().fit(windows, windows["label"].values), windows, windows["label"].values) is None


def test_the_report_shows_networks_once(windows, tmp_path):
    decoders = {"net": network("eegnet", kernel_size=0.25), "lda": MeanLDA()}
    comparison = neuropil.compare(windows, decoders, split="blocks", n_jobs=1, results=tmp_path, progress=False)
    notes = [r["insight"] for seeds in comparison.results["blocks"]["net"] for r in seeds]
    assert [note is not None for note in notes] == [True, *[False] * (len(notes) - 1)]
    page = comparison.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What networks make their output of" in page
    assert "net: frequency" in page
