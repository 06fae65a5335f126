"""Sizes chosen by held-out data or by evidence."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

import neuropil
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.model_choice import choose, folds
from neuropil.latent.bayesian_biclustering import BiClusteringSLDS
from neuropil.latent.mm_gpvae import MMGPVAE
from neuropil.structure import StructureModel


class Factors(StructureModel):
    """Probabilistic PCA of bins, whose held-out likelihood is known in closed form."""

    def __init__(self, n_factors=1, random_state=None):
        self.n_factors = n_factors
        self.random_state = random_state

    def fit(self, X, y=None):
        activity = self._read(X, fitting=True, kind="traces")
        if self.n_factors >= activity.stacked.shape[1]:
            raise DataError(f"{self.n_factors} factors need more units, got {activity.stacked.shape[1]}.")
        self.pca_ = PCA(self.n_factors).fit(activity.stacked)
        self.evidence_ = -float(self.n_factors)
        return self

    def score(self, X, y=None):
        return float(self.pca_.score(self._read(X, fitting=False, kind="traces").stacked))


class Hidden(Factors):
    """Holds out in its own way."""

    def held_out(self, X, n_folds, random_state):
        rng = np.random.default_rng(random_state)
        for _ in range(n_folds):
            mine = rng.random(len(X)) < 0.5
            yield X[mine], X[~mine]


def three_factors(n_times=600, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_times, 3)) @ (3 * rng.standard_normal((3, 10))) + rng.standard_normal((n_times, 10))


@pytest.mark.parametrize("X", [three_factors(), list(three_factors().reshape(6, 100, 10))])
def test_the_true_size_is_found_by_held_out_data(X):
    found = choose(Factors(), X, {"n_factors": [1, 2, 3, 5, 8]})
    assert found.params == {"n_factors": 3}
    assert found.model.pca_.n_components_ == 3
    assert found.table["chosen"].tolist() == [False, False, True, False, False]
    assert found.folds.shape == (5, 4)
    assert found.table["standard_error"].gt(0).all()


def test_processes_do_not_change_the_choice():
    one, two = (choose(Factors(), three_factors(), {"n_factors": [2, 3]}, n_jobs=n) for n in (1, 2))
    np.testing.assert_array_equal(one.folds, two.folds)


def test_the_sparing_choice_is_the_first_within_one_error():
    found = choose(Factors(), three_factors(), {"n_factors": [3, 4, 5]}, sparing=True, refit=False)
    assert found.params == {"n_factors": 3}
    assert found.model is None


def test_a_candidate_that_cannot_be_fitted_is_listed_with_the_reason():
    found = choose(Factors(), three_factors(), {"n_factors": [3, 20]})
    assert np.isnan(found.table["score"][1])
    assert "need more units" in found.table["reason"][1]
    assert found.params == {"n_factors": 3}
    with pytest.raises(DataError, match="None of the 1 candidates"):
        choose(Factors(), three_factors(), {"n_factors": [20]})


def test_evidence_needs_no_held_out_data():
    found = choose(Factors(), three_factors(), {"n_factors": [4, 2]}, by="evidence")
    assert found.params == {"n_factors": 2}
    assert found.table["n_folds"].eq(1).all()


def test_a_model_may_hold_out_in_its_own_way():
    parts = list(folds(Hidden(), three_factors(), 3, 1))
    assert len(parts) == 3
    assert len(parts[0][0]) + len(parts[0][1]) == 600
    assert choose(Hidden(), three_factors(), {"n_factors": [1, 3]}).params == {"n_factors": 3}


class Coupled(StructureModel):
    """Regresses one modality on the other with `shrinkage`."""

    def __init__(self, shrinkage=0.0):
        self.shrinkage = shrinkage

    def fit(self, X, Z):
        X, Z = (self._read(part, fitting=True, kind="traces").stacked for part in (X, Z))
        self.weights_ = np.linalg.solve(X.T @ X + self.shrinkage * np.eye(X.shape[1]), X.T @ Z)
        return self

    def score(self, X, Z):
        return -float(np.square(Z.stacked - X.stacked @ self.weights_).mean())


def test_several_modalities_are_held_out_together():
    X = np.random.default_rng(1).standard_normal((80, 4))
    found = choose(Coupled(), (X, X @ np.ones((4, 2)) + 1e-3), {"shrinkage": [1000.0, 0.0]})
    assert found.params == {"shrinkage": 0.0}
    assert found.table["score"][1] > -1e-4


def test_streams_of_a_recording_are_held_out_together():
    recording = neuropil.load("sim-spikes-images", n_trials=6, n_times=12, n_neurons=5)
    for train, test in folds(MMGPVAE(), recording, 3):
        assert [part.lengths for part in train] == [[12] * 4] * 2
        assert [part.lengths for part in test] == [[12] * 2] * 2
        assert [len(part.names) for part in test] == [5, 576]
    without = MMGPVAE(n_shared=0, n_behaviour=0)
    assert [part is None for part in next(folds(without, recording, 3))[0]] == [False, True]


def test_entries_are_hidden_once_where_time_cannot_be_held_out():
    recording = neuropil.load("sim-clustered-spikes", n_times=40)
    counts = recording.stream("spikes").values
    hidden = []
    for train, test in folds(BiClusteringSLDS(), recording, 4, 7):
        np.testing.assert_array_equal(test.stacked, counts)
        hidden.append(np.isnan(train.stacked))
    assert np.array_equal(np.sum(hidden, axis=0), np.ones(counts.shape))


def test_blocks_are_contiguous_and_cover_everything_once():
    X = np.arange(40.0)[:, None] * [1, 2]
    held = []
    for train, test in folds(Factors(), X, 4):
        assert np.all(np.diff(test.stacked[:, 0]) == 1)
        assert not set(test.stacked[:, 0]) & set(train.stacked[:, 0])
        assert all(np.all(np.diff(sequence[:, 0]) == 1) for sequence in train.sequences)
        assert len(train.stacked) == 30
        held.append(test.stacked[:, 0])
    assert np.concatenate(held).tolist() == list(range(40))


def test_sequences_are_held_out_whole_where_there_are_enough():
    X = [np.full((5, 2), k, dtype=float) for k in range(5)]
    lengths = [len(test.sequences) for _, test in folds(Factors(), X, 4)]
    assert sum(lengths) == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"grid": {"n_states": [1]}}, UsageError, "has the parameters"),
        ({"grid": {}}, UsageError, "got none to choose"),
        ({"grid": {"n_factors": []}}, UsageError, "one candidate or more"),
        ({"by": "luck"}, UsageError, "held_out or evidence"),
        ({"n_folds": 1}, UsageError, "2 or more"),
        ({"X": three_factors(10)}, DataError, "choose fewer folds"),
    ],
)
def test_what_cannot_be_chosen_is_said(options, error, message):
    given = {"X": three_factors(), "grid": {"n_factors": [1]}} | options
    with pytest.raises(error, match=message):
        choose(Factors(), given.pop("X"), given.pop("grid"), **given)


def test_the_picture_shows_the_candidates():
    panel = choose(Factors(), three_factors(), {"n_factors": [2, 3]}).panel()
    assert panel.x.tolist() == [2, 3]
    assert panel.lines["score"].shape == (2,)
