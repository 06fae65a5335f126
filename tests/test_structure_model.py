"""What all models of hidden structure share."""

import numpy as np
import pytest

from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.streams import irregular_stream, regular_stream
from neuropil.structure import StructureModel

COUNTS = np.random.default_rng(0).poisson(1.0, size=(40, 3))


class Mean(StructureModel):
    """The mean count of every unit."""

    def fit(self, X, y=None):
        self.mean_ = self._read(X, fitting=True).stacked.mean(axis=0)
        return self

    def score(self, X, y=None):
        return -float(np.square(self._read(X, fitting=False).stacked - self.mean_).mean())


class Other(Mean):
    """Another class of the same form."""


def counts(names=("a", "b", "c"), sfreq=50.0):
    return Recording({"spikes": regular_stream(COUNTS, sfreq, channels=list(names), modality="spikes")})


def test_a_model_remembers_its_units():
    model = Mean().fit(counts())
    assert model.unit_names_ == ("a", "b", "c")
    assert model.sfreq_ == 50.0
    assert np.isfinite(model.score(counts()))
    assert np.isfinite(model.score(COUNTS))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (COUNTS[:, :2], "3 units, these data have 2"),
        (counts(("a", "c", "b")), "Unit 1 is 'c' here and 'b'"),
        (-COUNTS, "negative"),
    ],
)
def test_other_data_are_refused(X, message):
    with pytest.raises(DataError, match=message):
        Mean().fit(counts()).score(X)


def test_another_rate_is_refused():
    with pytest.raises(UsageError, match="25 bins a second already"):
        Mean().fit(counts()).score(counts(sfreq=25.0))


def test_new_spikes_are_counted_as_the_training_data_were():
    times, units = np.sort(np.random.default_rng(1).uniform(0, 10, 300)), np.array(["a", "b", "c"] * 100, dtype=object)
    recording = Recording({"spikes": irregular_stream(times, units, modality="spikes")})
    model = Mean().fit(counts())
    assert model.score(recording) > model.score(10 * COUNTS)


def test_units_may_be_silent_later_but_not_at_fit():
    silent = COUNTS * [1, 0, 1]
    assert np.isfinite(Mean().fit(COUNTS).score(silent))
    with pytest.raises(DataError, match="never fires"):
        Mean().fit(silent)


def test_a_model_comes_back_from_disk(tmp_path):
    model = Mean().fit(counts())
    model.save(tmp_path / "model")
    again = Mean.load(tmp_path / "model")
    assert again.score(COUNTS) == model.score(COUNTS)
    assert again.unit_names_ == ("a", "b", "c")
    with pytest.raises(UsageError, match="holds a Mean"):
        Other.load(tmp_path / "model")
