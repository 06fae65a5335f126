"""`neuropil explain`: figures, a table, JSON, and one sentence for what cannot be."""

import json

import numpy as np
import pytest
from test_catalog_commands import neuropil


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, the recording it was fitted on, and one of other channels."""
    folder = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(0)
    labels = np.tile(["left", "right"], 20)
    signal = rng.normal(size=(40, 4, 100))
    signal[labels == "right", 1] += 1.5
    facts = {"sfreq": 100.0, "label": labels, "unit": "uV", "modality": "eeg"}
    np.savez(folder / "mine.npz", signal=signal, channel=np.array(["C3", "Cz", "C4", "Pz"]), **facts)
    np.savez(folder / "other.npz", signal=signal, channel=np.array(["C3", "Cz", "C4", "Oz"]), **facts)
    done = neuropil("fit", "binned-lda", "mine.npz", "-o", "model", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_page_table_and_json(folder):
    done = neuropil("explain", "model", "mine.npz", "-o", "page.html", "--sanity", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "BinnedLDA, 40 windows, accuracy 1.000." in done.stdout
    first = next(line for line in done.stdout.splitlines() if "electrode" in line)
    assert "Cz" in first
    assert "Sanity check: Passes" in done.stdout
    assert "Is it learned?" in (folder / "page.html").read_text()
    done = neuropil("explain", "model", "mine.npz", "--json", "--windows", "20", cwd=folder)
    said = json.loads(done.stdout)
    assert said["n_windows"] == 20
    assert said["channels"] == ["C3", "Cz", "C4", "Pz"]
    lost = said["arrays"]["electrodes probability"]
    assert lost["coords"]["channel"][int(np.argmax(lost["values"]))] == "Cz"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("model", "mine.npz", "-o", "page.docx"), "written as .html, .png, .svg, .pdf, got 'page.docx'"),
        (("model", "other.npz"), "lacks Pz and adds Oz"),
        (("nowhere", "mine.npz"), "model folder"),
        (("model", "nothing.npz"), "nothing.npz"),
    ],
)
def test_what_cannot_be_explained(folder, arguments, words):
    before = {path.name for path in folder.iterdir()}
    done = neuropil("explain", *arguments, cwd=folder)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path.name for path in folder.iterdir()} == before


def test_help_has_an_example():
    assert "Example: neuropil explain model/" in " ".join(neuropil("explain", "--help").stdout.split())
