"""What every decoder of the registry owes: no leak, the same numbers again, and the same after saving."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from neuropil import decoding
from neuropil.evaluate.audit import audit_leaks
from neuropil.evaluate.splits import make_split
from neuropil.persistence import load_model, save_model
from neuropil.recording import Recording
from neuropil.streams import regular_stream
from neuropil.windowing import windows

SFREQ = 128.0
FAST = {
    "eegnet": {"max_epochs": 2, "random_state": 0},
    "shallow-convnet": {"max_epochs": 2, "random_state": 0},
    "dbconformer": {"max_epochs": 2, "random_state": 0},
    "agtcnet": {"max_epochs": 2, "random_state": 0, "n_filters_global": 16},
    "rbtransformer": {"max_epochs": 2, "random_state": 0, "embed_dim": 16, "depth": 1},
}
SLUGS = [entry.slug for entry in decoding.DECODERS]


def session(seed=0, n_trials=24):
    """Two classes that differ in a slow potential of channel 0 and in the power of channel 1; a second apart."""
    rng = np.random.default_rng(seed)
    labels = np.tile(["left", "right"], n_trials // 2)
    data = rng.normal(size=(int(3 * n_trials * SFREQ), 4)) @ np.random.default_rng(99).normal(size=(4, 4))
    for k, label in enumerate(labels):
        trial = slice(int(3 * k * SFREQ), int((3 * k + 2) * SFREQ))
        if label == "right":
            data[trial, 0] += 2
            data[trial, 1] *= 2
    events = pd.DataFrame({"onset": 3.0 * np.arange(n_trials), "duration": 2.0, "label": labels})
    stream = regular_stream(data, SFREQ, channels=["C3", "Cz", "C4", "Pz"], unit="uV")
    return windows(Recording({"eeg": stream}, events, subject="01"))


@pytest.mark.parametrize("slug", SLUGS)
def test_no_decoder_sees_the_test_data(slug):
    result = audit_leaks(
        decoding.make(slug, **FAST.get(slug, {})), session(), split=make_split("blocks", session()), max_folds=1
    )
    assert result.ok, result.describe()
    assert not result.transductive


@pytest.mark.parametrize("slug", SLUGS)
def test_same_seed_same_numbers_also_after_saving(slug, tmp_path):
    X = session()
    decoder = decoding.make(slug, **FAST.get(slug, {})).fit(X)
    again = clone(decoder).fit(X)
    np.testing.assert_array_equal(decoder.predict_proba(X), again.predict_proba(X))
    loaded = load_model(save_model(decoder, tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(X), decoder.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), decoder.predict(X))


@pytest.mark.parametrize("slug", [slug for slug in SLUGS if slug not in FAST])
def test_classical_decoders_find_a_plain_difference(slug):
    fitted = decoding.make(slug).fit(session(0))
    other = session(0, n_trials=40)
    assert fitted.score(other[24:], other["label"].values[24:]) > 0.7
