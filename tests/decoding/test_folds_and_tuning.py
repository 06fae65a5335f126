"""Inner folds that respect groups and time, and settings chosen within them."""

import numpy as np
import pytest
import xarray as xr

from neuropil.decoding.csp import CSPLDA
from neuropil.decoding.folds import Spans, inner_folds, spans
from neuropil.decoding.lda import BinnedLDA
from neuropil.decoding.tuned import Tuned, tuned_linear_baselines
from neuropil.errors import DataError, UsageError


def sliding(n=40, overlap=0.5, length=100, sfreq=50.0, n_recordings=2):
    rng = np.random.default_rng(0)
    step = length / sfreq * (1 - overlap)
    onset = np.tile(np.arange(n // n_recordings) * step, n_recordings)
    coords = {
        "label": ("window", np.where(np.arange(n) // 2 % 2, "move", "rest")),
        "onset": ("window", onset),
        "recording": ("window", np.repeat(np.arange(n_recordings), n // n_recordings)),
        "time": np.arange(length) / sfreq,
    }
    X = rng.normal(size=(n, 3, length))
    X[coords["label"][1] == "move", 0] += 0.5
    return xr.DataArray(X, dims=("window", "channel", "time"), coords=coords, attrs={"sfreq": sfreq})


def test_folds_are_contiguous_stretches_of_every_class():
    y = np.tile([0, 1], 20)
    folds = inner_folds(y, n_folds=4)
    assert len(folds) == 4
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in folds])), np.arange(40))
    for train, held in folds:
        assert not set(train) & set(held)
        np.testing.assert_array_equal(held, np.arange(held[0], held[0] + 10))


def test_whole_groups_are_held_out_in_folds_of_like_size():
    groups = np.repeat(["a", "b", "c", "d", "e", "f"], [30, 10, 10, 10, 20, 10])
    folds = inner_folds(np.tile([0, 1], 45), groups, n_folds=3)
    for train, held in folds:
        assert not set(groups[train]) & set(groups[held])
        assert len(held) == 30
    assert len(inner_folds(np.tile([0, 1], 45), groups, n_folds=20)) == 6


def test_windows_that_share_samples_with_held_out_ones_leave_the_training_side():
    X = sliding()
    where = spans(X)
    for train, held in inner_folds(X["label"].values, None, 4, where):
        for k in train:
            same = held[where.recording[held] == where.recording[k]]
            assert (np.abs(where.start[same] - where.start[k]) >= where.length - 1e-9).all()
    apart = Spans(where.recording, 2 * where.start, where.length)
    assert sum(len(train) for train, _ in inner_folds(X["label"].values, None, 4, apart)) == 3 * len(X)


def test_the_order_of_the_windows_does_not_change_the_folds():
    X = sliding()
    order = np.random.default_rng(1).permutation(len(X))
    plain = [frozenset(held) for _, held in inner_folds(X["label"].values, None, 4, spans(X))]
    shuffled = [frozenset(order[held]) for _, held in inner_folds(X["label"].values[order], None, 4, spans(X[order]))]
    assert plain == shuffled


def test_folds_that_would_train_without_a_class_are_left_out():
    y = np.array([0, 0, 1, 1, 0, 0, 0, 1])
    groups = np.array(["a", "a", "b", "b", "c", "c", "c", "b"])
    folds = inner_folds(y, groups, 5)
    assert [groups[held].tolist() for _, held in folds] == [["c", "c", "c"], ["a", "a"]]
    with pytest.raises(DataError, match="class 1 has 1 of 4 windows"):
        inner_folds(np.array([0, 0, 0, 1]))
    with pytest.raises(UsageError, match="two folds or more, got 1"):
        inner_folds(y, n_folds=1)
    assert len(inner_folds(np.array([0, 0, 1, 1, 1, 1]), n_folds=5)) == 2


def test_tuning_finds_the_resolution_that_matters():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, 2, 40))
    X[:, 0] += np.where(y, 1, -1)[:, None] * 0.6 * np.repeat([1, -1, 1, -1], 10)
    tuned = Tuned(BinnedLDA(), {"n_bins": [1, 4, 50]}).fit(X[:80], y[:80])
    assert tuned.best_params_ == {"n_bins": 4}
    assert [settings for settings, _ in tuned.accuracies_] == [{"n_bins": 1}, {"n_bins": 4}]
    assert tuned.score(X[80:], y[80:]) > 0.9
    np.testing.assert_array_equal(tuned.predict(X), BinnedLDA(n_bins=4).fit(X[:80], y[:80]).predict(X))


def test_settings_are_chosen_with_the_windows_given_only():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 2, 20))
    tuned = Tuned(BinnedLDA(), {"n_bins": [1, 5], "shrinkage": [0.1, 0.5]}).fit(X, y)
    assert max(accuracy for _, accuracy in tuned.accuracies_) < 0.7


def test_all_baselines_decode_an_oscillation_or_a_potential():
    rng = np.random.default_rng(0)
    y = np.array(["left", "right"])[np.arange(100) % 2]
    X = rng.normal(size=(100, 4, 80))
    X[y == "right", 1] *= 1.7
    X[y == "left", 2] += np.linspace(0, 0.5, 80)
    for name, decoder in tuned_linear_baselines().items():
        assert decoder.fit(X[:60], y[:60]).score(X[60:], y[60:]) > 0.85, name
    assert isinstance(tuned_linear_baselines(band=(8.0, 30.0), sfreq=125.0)["csp_lda"].estimator, CSPLDA)


def test_messages():
    X, y = np.random.default_rng(0).normal(size=(20, 2, 3)), np.arange(20) % 2
    with pytest.raises(UsageError, match=r"None of the 2 combinations .* between 1 and the 3 samples"):
        Tuned(BinnedLDA(), {"n_bins": [10, 20]}).fit(X, y)
    with pytest.raises(DataError, match="fitted on 2 channels, got 1"):
        Tuned(BinnedLDA(), {"n_bins": [1]}).fit(X, y).predict(X[:, :1])
    with pytest.raises(UsageError, match="two folds or more"):
        tuned_linear_baselines(n_folds=0)
