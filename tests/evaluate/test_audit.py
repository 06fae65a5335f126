"""The audit catches leaks of every kind, passes honest pipelines, and leaves the data as they were."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from neuropil.alignment import EuclideanAlignment
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.audit import LeakError, audit_leaks, scrambled
from neuropil.evaluate.fingerprint import differences, fingerprint, holds_windows
from neuropil.evaluate.splits import ChronologicalFolds
from neuropil.networks import TorchClassifier
from neuropil.recording import Recording
from neuropil.streams import regular_stream
from neuropil.windowing import sliding_windows, windows


def spread(A):
    return np.log(np.asarray(A).std(axis=-1))


def recording(n_trials=16, sfreq=50.0, seed=0):
    rng = np.random.default_rng(seed)
    onsets = 2.0 + 6.0 * np.arange(n_trials)
    data = rng.normal(size=(int((6.0 * n_trials + 2) * sfreq), 3))
    labels = np.resize(["left", "right"], n_trials)
    for onset, label in zip(onsets, labels, strict=True):
        data[int(onset * sfreq) : int((onset + 4) * sfreq), 0] *= 1.5 if label == "left" else 1.0
    events = pd.DataFrame({"onset": onsets, "duration": 4.0, "label": labels})
    return Recording({"eeg": regular_stream(data, sfreq)}, events, subject="1")


def honest():
    return make_pipeline(FunctionTransformer(spread), StandardScaler(), LogisticRegression())


class BestOnHeldOut(ClassifierMixin, BaseEstimator):
    """Stops where windows that it was given beforehand are decoded best: the classical early stopping on the test fold."""

    def __init__(self, X_val=None, y_val=None):
        self.X_val = X_val
        self.y_val = y_val

    def fit(self, X, y):
        self.model_ = early_stopping(spread(X), y, spread(self.X_val), self.y_val)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(spread(X))


def early_stopping(X, y, X_val, y_val, epochs=8):
    model, best, kept = SGDClassifier(random_state=0, learning_rate="constant", eta0=0.5), -1.0, None
    for _ in range(epochs):
        model.partial_fit(X, y, classes=np.unique(y))
        reached = model.score(X_val, y_val)
        if reached > best:
            best, kept = reached, (model.coef_.copy(), model.intercept_.copy())
    model.coef_, model.intercept_ = kept
    return model


class Net(TorchClassifier):
    def build(self, signature):
        return nn.Sequential(nn.Flatten(), nn.Linear(signature.n_channels * signature.n_times, len(signature.classes)))


@pytest.mark.parametrize(
    "make",
    [
        honest,
        lambda: make_pipeline(FunctionTransformer(spread), RandomForestClassifier(5, random_state=0)),
        lambda: Net(max_epochs=2, random_state=0),
        lambda: make_pipeline(EuclideanAlignment(), FunctionTransformer(spread), LogisticRegression()),
    ],
)
@pytest.mark.parametrize("in_memory", [False, True])
def test_honest_pipelines_pass_and_data_stay(make, in_memory):
    source = recording()
    X = windows(source)
    X = X.load() if in_memory else X
    before, labels = source.stream().values.copy(), X["label"].values.copy()
    result = audit_leaks(make(), X, split=ChronologicalFolds(4), max_folds=2)
    assert result.check() is result
    assert result.ok
    assert result.n_folds == 2
    assert result.n_compared > 3
    assert "No leak in 2 folds" in result.describe()
    np.testing.assert_array_equal(source.stream().values, before)
    np.testing.assert_array_equal(X["label"].values, labels)


@pytest.mark.parametrize("kind", ["array", "lazy", "recording"])
def test_a_scaler_that_saw_everything_through_a_closure_is_caught(kind):
    source = recording()
    X = windows(source) if kind != "array" else windows(source).values
    y = windows(source)["label"].values.astype(str)

    def scale(A):
        everything = source.stream().values.T[None] if kind == "recording" else np.asarray(X)
        return (np.asarray(A) - everything.mean(axis=(0, 2))[:, None]) / everything.std(axis=(0, 2))[:, None]

    leaking = make_pipeline(FunctionTransformer(scale), FunctionTransformer(spread), LogisticRegression())
    split = KFold(4) if kind == "array" else ChronologicalFolds(4)
    result = audit_leaks(leaking, X, y, split)
    found = [leak for leak in result.leaks if leak.kind == "fit"]
    assert len(found) == 4
    assert "The fit depends on the test data of" in found[0].sentence
    assert {leak.kind for leak in result.leaks} == {"fit", "copy"}
    with pytest.raises(LeakError, match=r"holds test windows of .* before it is fitted"):
        result.check()


def test_scaling_before_the_split_is_caught_in_a_recipe():
    X = windows(recording())
    values, y = X.values, X["label"].values

    def script(X, y, train, test):
        scaled = X * (1 / X.std())
        return honest().fit(scaled[train], y[train])

    def careful(X, y, train, test):
        return honest().fit(X[train] / X[train].std(), y[train])

    assert audit_leaks(script, values.copy(), y.astype(str), KFold(3)).leaks[0].kind == "fit"
    assert audit_leaks(careful, values.copy(), y.astype(str), KFold(3)).ok


def test_early_stopping_on_the_test_fold_is_caught_in_a_recipe():
    X = windows(recording())

    def script(X, y, train, test):
        F = spread(X)
        model = early_stopping(F[train], y[train], F[test], y[test])
        return Fitted(model)

    result = audit_leaks(script, X.values, X["label"].values.astype(str), KFold(4))
    assert any(leak.kind == "fit" for leak in result.leaks)


class Fitted:
    def __init__(self, model):
        self.model = model

    def predict(self, X):
        return self.model.predict(spread(X))


def test_early_stopping_on_held_test_windows_is_caught():
    X = windows(recording())
    values, y = X.values, X["label"].values.astype(str)
    test = next(KFold(4).split(values))[1]
    result = audit_leaks(BestOnHeldOut(values[test], y[test]), values, y, KFold(4), max_folds=1)
    assert result.leaks[0].kind == "copy"
    assert "BestOnHeldOut.X_val" in result.leaks[0].sentence


def test_class_frequencies_of_all_labels_are_caught():
    X = windows(recording())
    values, y = X.values, X["label"].values.astype(str)
    y[:3] = "left"

    class Prior(LogisticRegression):
        def fit(self, X, labels):
            super().fit(X, labels)
            self.intercept_ = np.log([(y == "right").mean() / (y == "left").mean()])
            return self

    result = audit_leaks(make_pipeline(FunctionTransformer(spread), Prior()), values, y, KFold(4))
    assert "intercept_" in result.leaks[0].sentence


def test_random_folds_over_overlapping_windows_are_caught():
    X = sliding_windows(recording(), length=2.0, overlap=0.5)
    result = audit_leaks(honest(), X, split=KFold(3, shuffle=True, random_state=0), max_folds=1)
    assert [leak.kind for leak in result.leaks] == ["overlap"]
    assert "share samples with a test window" in result.leaks[0].sentence
    late = audit_leaks(honest(), windows(recording()), split=KFold(2), guard=2.5)
    assert "come within 2.5 s of" in late.leaks[0].sentence
    twice = [(np.arange(12), np.arange(10, 16))]
    assert "same windows" in audit_leaks(honest(), windows(recording()), split=Given(twice)).leaks[0].sentence


class Given:
    def __init__(self, pairs):
        self.pairs = pairs

    def split(self, X, y=None, groups=None):
        return iter(self.pairs)


def test_transductive_prediction_is_reported_and_online_adaptation_is_not():
    X = windows(recording())
    plain = audit_leaks(honest(), X, split=ChronologicalFolds(2))
    assert not plain.transductive
    assert not plain.adapts
    for transductive in (False, True):
        model = make_pipeline(EuclideanAlignment(transductive), FunctionTransformer(spread), LogisticRegression())
        result = audit_leaks(model, X, split=ChronologicalFolds(2))
        assert result.ok
        assert result.adapts
        assert bool(result.transductive) is transductive
    assert "changes with later test windows" in result.describe()
    with pytest.raises(LeakError, match="cannot run live"):
        result.check(allow_transductive=False)


def test_what_cannot_be_proven_is_refused():
    X = windows(recording())

    class Unseeded(LogisticRegression):
        def fit(self, X, y):
            super().fit(X, y)
            self.coef_ = self.coef_ + np.random.default_rng().normal(size=self.coef_.shape)
            return self

    with pytest.raises(UsageError, match="random_state"):
        audit_leaks(make_pipeline(FunctionTransformer(spread), Unseeded()), X)
    with pytest.raises(DataError, match="Expected labels"):
        audit_leaks(honest(), X.values)
    with pytest.raises(DataError, match="no fold"):
        audit_leaks(honest(), X, split=Given([]))


def test_data_are_restored_when_a_fit_fails():
    source = recording()
    X = windows(source)
    before = source.stream().values.copy()
    calls = []

    class Fails(LogisticRegression):
        def fit(self, X, y):
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("no convergence")
            return super().fit(X, y)

    with pytest.raises(RuntimeError, match="no convergence"):
        audit_leaks(make_pipeline(FunctionTransformer(spread), Fails()), X)
    np.testing.assert_array_equal(source.stream().values, before)


def test_fingerprints_see_what_changed():
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)).fit(X, y)
    same = clone(model).fit(X, y)
    other = clone(model).fit(X + np.eye(20, 3), y)
    assert not differences(fingerprint(model), fingerprint(same))
    changed = differences(fingerprint(model), fingerprint(other))
    assert any(path.endswith(".mean_") for path in changed)
    assert not any(path.endswith("n_features_in_") for path in changed)


def test_held_windows_are_found_in_closures_and_tables():
    windows_ = np.random.default_rng(0).normal(size=(6, 2, 10))
    inside = {"deep": [1, (windows_[3].ravel(),)]}

    def function(A):
        return A - inside["deep"][1][0].sum()

    assert "inside" in holds_windows(FunctionTransformer(function), windows_[2:4])
    assert holds_windows(FunctionTransformer(function), windows_[:2]) is None


def test_scrambling_changes_every_window_and_every_scale():
    windows_ = np.random.default_rng(0).normal(size=(50, 3, 40))
    changed = scrambled(windows_, np.random.default_rng(1))
    assert (changed.std(axis=-1).mean() / windows_.std(axis=-1).mean()) > 5
    assert not (changed == windows_).any()


def test_shuffle_splits_of_scikit_learn_are_audited_too():
    X = windows(recording())
    assert audit_leaks(honest(), X, split=ShuffleSplit(2, random_state=0)).ok


def test_parts_that_are_made_on_demand_are_all_seen():
    """Their numbers (`id`) are given again as soon as one is gone: what was seen must be kept."""

    class Made:
        def _persistent_state(self):
            return {f"part{k}": {"values": tuple(range(k, k + 3))} for k in range(50)}

    class Holder:
        def __init__(self):
            self.parts = [Made() for _ in range(20)]

    seen = fingerprint(Holder())
    assert len(seen) == 20 * 50 * 3
