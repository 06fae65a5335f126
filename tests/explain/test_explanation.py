"""The whole: every decoder is explained, drawn and written; bad input gets one sentence."""

import json
import re
import warnings

import numpy as np
import pytest
from explained import Calibrated, Graph, imagery_decoder, labelled, motor_imagery, steps
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression

from neuropil.decoding import DECODERS, make
from neuropil.errors import DataError, UsageError
from neuropil.explain import explain
from neuropil.recording import Recording

FAST = {"max_epochs": 1, "random_state": 0, "progress": False}


def small(n=40):
    """Windows of one second at 128 Hz that differ in a step and in power."""
    X, y = steps(n=n, n_times=128)
    X[y == "right", 2] *= 2
    return labelled(X, y, sfreq=128.0)


@pytest.mark.parametrize("slug", [entry.slug for entry in DECODERS])
def test_every_decoder_of_the_registry(slug):
    X = small()
    network = make(slug).__class__.__mro__
    fast = FAST if any(cls.__name__ == "TorchEstimator" for cls in network) else {}
    decoder = make(slug, **fast)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoder.fit(X)
    found = explain(decoder, X, n_repeats=1, n_steps=4, max_windows=20)
    assert found.n_windows == 20
    assert found.electrodes["probability"].sizes == {"channel": 4}
    assert found.bands["probability"]["band"].values.tolist()[3] == "alpha"
    assert np.isfinite(found.patterns["power"]).all()
    json.dumps(found.to_json(), allow_nan=False)
    if found.temporal is not None:
        assert found.completeness_error < 0.1
    if found.spectral is not None:
        np.testing.assert_allclose(found.temporal.sum("time"), found.spectral.sum("band"), atol=1e-6)


def test_figures_and_files(tmp_path):
    _, X, _ = motor_imagery()
    found = explain(imagery_decoder("shallow-convnet"), X, n_repeats=1, n_steps=4)
    assert [panel.name for panel in found.panels()] == [
        "patterns",
        "power",
        "electrodes",
        "time",
        "spectrum",
        "gradients",
    ]
    page = found.plot(tmp_path / "page.html").read_text()
    assert "Content-Security-Policy" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<img") == page.count('alt="') == 6
    with pytest.raises(UsageError, match=r"written as \.html, \.png, \.svg, \.pdf, got 'image.docx'"):
        found.plot(tmp_path / "image.docx")


def test_without_places_there_are_bars_and_a_note(tmp_path):
    X, y = steps()
    windows = labelled(X, y, positions=False, names=("a", "<b>${x", "c", "d"))
    found = explain(make("binned-lda").fit(windows), windows, n_repeats=1)
    assert any("drawn as bars" in note for note in found.notes)
    bars = found.figures()["electrodes"].axes[0].patches
    assert len(bars) == 4
    page = found.plot(tmp_path / "page.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;${x" in page
    assert found.plot(tmp_path / "image.png").read_bytes().startswith(b"\x89PNG")
    assert found.plot(tmp_path / "image.svg").read_text().lstrip().startswith("<?xml")
    assert not any("drawn as bars" in note for note in explain(make("binned-lda").fit(small()), small()).notes)


def test_plain_arrays_and_what_they_cannot_tell():
    X, y = steps()
    found = explain(make("binned-lda").fit(X, y), X, y)
    assert found.bands is None
    assert "power" not in found.patterns
    assert found.channels == ("0", "1", "2", "3")
    assert any("sampling rate" in note for note in found.notes)
    assert "spectrum" not in [panel.name for panel in found.panels()]


def test_attention_and_sanity_take_part(tmp_path):
    X, y = steps()
    windows = labelled(X, y)
    network = Graph(max_epochs=3, random_state=0, progress=False).fit(windows)
    found = explain(network, windows, n_repeats=1, n_steps=2, sanity=True)
    assert set(found.attention) == {"electrodes", "electrodes rollout"}
    assert found.sanity.n_test == 20
    assert {"attention electrodes", "attention electrodes rollout", "sanity"} <= {
        panel.name for panel in found.panels()
    }
    assert "Is it learned?" in found.plot(tmp_path / "page.html").read_text()


def test_what_gradients_cannot_do_is_a_note():
    X, y = steps()
    found = explain(Calibrated(max_epochs=1, random_state=0, progress=False).fit(X, y), X, y, n_repeats=1)
    assert found.temporal is None
    assert any("more than its network's output" in note for note in found.notes)


def test_many_windows_are_thinned_out_and_predictions_stand_in_for_labels():
    X, y = steps(n=200)
    decoder = make("binned-lda").fit(X, y)
    windows = labelled(X, y).assign_coords(label=("window", np.full(200, "cue", dtype=object)))
    found = explain(decoder, windows, max_windows=50, n_repeats=1)
    assert found.n_windows == 50
    assert any("50 of 200 windows" in note for note in found.notes)
    assert any("no labels of the decoder's classes" in note for note in found.notes)
    assert float(found.electrodes.attrs["accuracy"]) == 1.0


class Labels(ClassifierMixin, BaseEstimator):
    """A decoder of another library that only names classes."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        assert isinstance(X, np.ndarray)
        return self.classes_[(X[:, 1].mean(axis=1) > 0.25).astype(int)]


def test_foreign_decoders_without_probabilities():
    X, y = steps()
    found = explain(Labels().fit(X, y), labelled(X, y))
    assert int(found.electrodes["accuracy"].values.argmax()) == 1


def test_bad_input_gets_one_sentence():
    X, y = steps()
    windows = labelled(X, y)
    fitted = make("binned-lda").fit(windows)
    spoilt = X.copy()
    spoilt[3, 1, 5] = np.nan
    for decoder, data, error, words in [
        (make("binned-lda"), X, UsageError, r"This BinnedLDA is not fitted.*call fit"),
        (type(fitted), X, UsageError, "got "),
        (Recording({}), X, UsageError, "got Recording"),
        (fitted, windows[:, ::-1], DataError, "channels in another order"),
        (fitted, windows[:, :3], DataError, "4 channels, this recording has 3"),
        (fitted, windows[..., :40], DataError, "windows of 80 samples, got 40"),
        (fitted, X[0], DataError, r"Expected windows of shape"),
        (fitted, X[:1], DataError, "needs two or more"),
        (fitted, X[:0], DataError, "at least one window"),
        (fitted, spoilt, DataError, "NaN or infinity"),
    ]:
        with pytest.raises(error, match=words):
            explain(decoder, data)
    with pytest.raises(UsageError, match="max_windows=1"):
        explain(fitted, X, max_windows=1)
    regression = LinearRegression().fit(X[:, 0], X[:, 1, 0])
    with pytest.raises(UsageError, match="LinearRegression has no classes_"):
        explain(regression, X)
