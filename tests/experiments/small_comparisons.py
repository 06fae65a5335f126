"""Data and decoders small enough for tests; a module, so that worker processes find the classes."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier

from neuropil.errors import DataError
from neuropil.io.arrays import from_trials

CHANNELS = ("Fz", "C3", "Cz", "C4", "Pz")


def trials(n=60, effect=1.0, seed=0, channels=CHANNELS, labels=("left", "right"), positions=None, dataset="small"):
    """A recording of trials of two classes that differ in the mean of channel 1; the last third is the test part."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(labels)
    data = rng.normal(size=(n, len(channels), 40))
    data[:, 1] += effect * (y[:, None] - 0.5)
    split = np.where(np.arange(n) < 2 * n // 3, "train", "test").tolist()
    names = [labels[k] for k in y]
    return from_trials(
        data,
        40.0,
        names,
        columns={"split": split},
        channels=list(channels),
        positions=positions,
        dataset=dataset,
        subject="1",
    )


class MeanLDA(ClassifierMixin, BaseEstimator):
    """Discriminant of the channels' means over the window."""

    def __init__(self, shrinkage=0.1):
        self.shrinkage = shrinkage

    def _features(self, X):
        return np.asarray(X).mean(axis=-1)

    def fit(self, X, y):
        self.model_ = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=self.shrinkage).fit(self._features(X), y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(self._features(X))

    def predict_proba(self, X):
        return self.model_.predict_proba(self._features(X))


class NoisyLDA(MeanLDA):
    """The same on features with noise, so that its result depends on the seed; keeps a history as networks do."""

    def __init__(self, shrinkage=0.1, noise=0.5, random_state=None):
        super().__init__(shrinkage)
        self.noise = noise
        self.random_state = random_state

    def _features(self, X):
        clean = super()._features(X)
        return clean + np.random.default_rng(self.random_state).normal(scale=self.noise, size=clean.shape)

    def fit(self, X, y):
        super().fit(X, y)
        self.history_ = [{"epoch": k, "loss": 1 / (k + 1), "accuracy": 1 - 0.5 / (k + 1)} for k in range(5)]
        return self


class LabelsOnly(ClassifierMixin, BaseEstimator):
    """Sign of channel 1, without probabilities."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[(np.asarray(X)[:, 1].mean(axis=-1) > 0).astype(int)]


class Refuses(MeanLDA):
    def fit(self, X, y):
        raise DataError("This decoder needs windows of 10 s, got 1 s; cut longer windows.")


class Guess(DummyClassifier):
    """A guess that ignores the data."""

    def __init__(self, strategy="stratified", random_state=None):
        super().__init__(strategy=strategy, random_state=random_state)
