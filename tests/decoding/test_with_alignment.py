"""Alignment in front of any decoder: what reaches the decoder, which groups count, and what it is good for."""

import numpy as np
import pytest
import xarray as xr
from pyriemann.classification import MDM
from pyriemann.estimation import Covariances
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import make_pipeline

import neuropil
from neuropil import decoding
from neuropil.alignment import EuclideanAlignment, RiemannianAlignment
from neuropil.decoding.with_alignment import SessionAlignment, with_alignment
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.audit import audit_leaks
from neuropil.evaluate.predicting import LivePredictor, input_for
from neuropil.evaluate.splits import make_split
from neuropil.experiments.evaluation import make_decoders
from neuropil.preprocess import bandpass


def labelled(n=24, seed=0):
    """Windows of two subjects with two sessions each, every session with a mixing of its own."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4, n // 4, 3, 80))
    X[:, ::2, 0] *= 2
    mixing = np.eye(3) + 0.6 * rng.normal(size=(4, 3, 3))
    coords = {
        "label": ("window", np.tile(["left", "right"], n // 2).astype(object)),
        "subject": ("window", np.repeat(["a", "a", "b", "b"], n // 4).astype(object)),
        "session": ("window", np.tile(np.repeat(["1", "2"], n // 4), 2).astype(object)),
        "onset": ("window", np.arange(n) * 2.0),
        "recording": ("window", np.repeat(np.arange(4), n // 4)),
        "channel": ["C3", "Cz", "C4"],
        "time": np.arange(80) / 80,
    }
    mixed = np.einsum("sij,swjt->swit", mixing, X).reshape(n, 3, 80)
    return xr.DataArray(mixed, coords, ("window", "channel", "time"), attrs={"sfreq": 80.0})


class Remembers(ClassifierMixin, BaseEstimator):
    """Keeps what it is given."""

    def fit(self, X, y):
        self.classes_, self.seen_ = np.unique(y), X
        return self

    def predict(self, X):
        self.asked_ = X
        return np.repeat(self.classes_[:1], len(X))


@pytest.mark.parametrize(("method", "made"), [("euclidean", EuclideanAlignment), ("riemannian", RiemannianAlignment)])
def test_every_session_is_aligned_by_itself_and_test_windows_online(method, made):
    X = labelled()
    model = with_alignment(Remembers(), method).fit(X, X["label"].values)
    model.predict(X)
    seen, asked = model[-1].seen_, model[-1].asked_
    assert type(seen) is np.ndarray
    sessions = X["recording"].values
    for k in range(4):
        mine = X.values[sessions == k]
        np.testing.assert_allclose(seen[sessions == k], made().fit_transform(mine), rtol=1e-9)
        np.testing.assert_allclose(asked[sessions == k], made().fit(mine).transform(mine), rtol=1e-9)
    changed = X.copy(deep=True)
    changed[-1] *= 5
    model.predict(changed)
    np.testing.assert_array_equal(model[-1].asked_[:-1], asked[:-1])


def test_plain_arrays_are_one_session_and_groups_say_otherwise():
    X = labelled().values
    np.testing.assert_allclose(SessionAlignment().fit_transform(X), EuclideanAlignment().fit_transform(X))
    groups = np.repeat([0, 1], 12)
    np.testing.assert_allclose(
        SessionAlignment().fit(X).transform(X, groups=groups), EuclideanAlignment().fit(X).transform(X, groups=groups)
    )


def test_labels_stay_for_decoders_that_read_them():
    X = labelled()
    model = with_alignment(decoding.make("eegnet", alignment="none", max_epochs=1, random_state=0, pool_sizes=(4, 4)))
    model.fit(X, X["label"].values)
    assert model[-1].signature_.ch_names == ("C3", "Cz", "C4")
    assert model[-1].signature_.sfreq == 80.0
    other = X.assign_coords(channel=["C3", "Cz", "Pz"])
    with pytest.raises(DataError, match=r"lacks C4 and adds Pz"):
        model.predict(other)


def test_who_aligns_already_is_told_or_left_alone():
    network = decoding.make("shallow-convnet")
    assert with_alignment(network, "riemannian").alignment == "riemannian"
    assert network.alignment == "euclidean"
    assert with_alignment(decoding.make("shallow-convnet", alignment="transductive")).alignment == "transductive"
    by_hand = make_pipeline(EuclideanAlignment(), decoding.make("mdm"))
    assert len(with_alignment(by_hand, "riemannian").steps) == 2
    assert len(with_alignment(make_pipeline(Covariances(), MDM())).steps) == 3
    with pytest.raises(UsageError, match=r"align must be one of 'euclidean', 'riemannian', got 'procrustes'"):
        with_alignment(network, "procrustes")


def test_an_aligned_decoder_is_another_one_in_the_store():
    plain, euclidean, riemannian = (make_decoders(["mdm"], align)[0] for align in (None, "euclidean", "riemannian"))
    assert len({d.identity() for d in (plain, euclidean, riemannian)}) == 3
    assert make_decoders(["mdm"], "euclidean")[0].identity() == euclidean.identity()


def test_no_test_window_leaks_and_none_looks_ahead():
    X = labelled(48)
    for decoder in (decoding.make("mdm"), make_pipeline(Covariances("oas"), MDM())):
        result = audit_leaks(with_alignment(decoder), X, split=make_split("session"))
        assert result.ok
        assert not result.transductive


def test_live_it_says_what_it_says_at_once():
    X = labelled()
    model = with_alignment(decoding.make("mdm")).fit(X, X["label"].values)
    one = X[:6]
    live = LivePredictor(model)
    assert live.adapts
    np.testing.assert_allclose([live.push(x)[1] for x in one.values], model.predict_proba(one), rtol=1e-6)


def test_alignment_helps_on_unseen_subjects():
    recordings = neuropil.load("sim-motor-imagery", n_subjects=6, n_trials=40, sfreq=100.0, preset="hard", seed=0)
    X = neuropil.windows([bandpass(r, 8.0, 30.0) for r in recordings], tmin=0.5, tmax=3.5).load()
    y, hits = X["label"].values.astype(str), {}
    for align in (None, "euclidean", "riemannian"):
        (decoder,) = make_decoders(["mdm"], align)
        hits[align] = 0.0
        for train, test in make_split("subject").split(X):
            model = decoder.estimator.fit(input_for(decoder.estimator, X[train]), y[train])
            hits[align] += (model.predict(input_for(decoder.estimator, X[test])) == y[test]).sum() / len(X)
    assert hits["euclidean"] > hits[None] + 0.03
    assert hits["riemannian"] > hits[None] + 0.03
