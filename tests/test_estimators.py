"""The estimator contract: validation, signature, networks that repeat, saving and loading."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from neuropil import estimators, train
from neuropil.errors import DataError
from neuropil.networks import TorchClassifier, validation_split
from neuropil.persistence import load_model
from neuropil.signature import Signature


class TableNet(TorchClassifier):
    """A linear network on 2-D tables, to hold the base class against scikit-learn's whole contract."""

    _table = True

    def __init__(self, lr=0.05, max_epochs=60, random_state=0, batch_size=32):
        super().__init__(lr=lr, max_epochs=max_epochs, random_state=random_state, batch_size=batch_size)

    def build(self, signature):
        return nn.Sequential(
            nn.BatchNorm1d(signature.n_channels, momentum=None), nn.Linear(signature.n_channels, len(signature.classes))
        )


class WindowNet(TorchClassifier):
    """Mean over time, then linear."""

    def build(self, signature):
        layers = [
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(signature.n_channels, len(signature.classes)),
        ]
        return nn.Sequential(*layers)


def toy(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(["left", "right"], n // 2)
    X = rng.normal(size=(n, 3, 20))
    X[y == "right", 0] += 1.0
    order = rng.permutation(n)
    return X[order], y[order]


def test_scikit_learns_contract():
    check_estimator(TableNet())


def test_learns_repeats_and_survives_saving(tmp_path):
    X, y = toy()
    first = WindowNet(max_epochs=20, lr=0.05, random_state=3).fit(X, y)
    second = clone(first).fit(X, y)
    assert first.score(X, y) > 0.9
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    first.save(tmp_path / "model")
    loaded = WindowNet.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), first.predict_proba(X))
    assert loaded.history_ == first.history_
    assert loaded.signature_ == first.signature_
    assert cross_val_score(WindowNet(max_epochs=20, lr=0.05, random_state=0), X, y, cv=3).mean() > 0.8


def test_training_goes_on_where_it_stopped(tmp_path):
    X, y = toy()
    tensors = {"X": torch.as_tensor(X, dtype=torch.float32), "y": torch.as_tensor((y == "right").astype(int))}
    net = WindowNet()
    signature = Signature(3, 20, classes=("left", "right"))

    def run(stop_after=None, checkpoint=None):
        calls = 0

        def losses(module, batch):
            nonlocal calls
            calls += 1
            if stop_after and calls > stop_after:
                raise KeyboardInterrupt
            return net.losses(module, batch)

        with train.seeded(5):
            module = net.build(signature)
            result = train.fit(
                module, losses, tensors, max_epochs=6, batch_size=16, seed=5, checkpoint=checkpoint, progress=False
            )
        return module, result

    whole, result = run()
    file = tmp_path / "run.safetensors"
    with pytest.warns(UserWarning, match="interrupted in epoch 2 of 6"):
        _, cut_short = run(stop_after=10, checkpoint=file)
    assert cut_short.interrupted
    assert len(cut_short.history) == 2
    resumed, again = run(checkpoint=file)
    assert [row["loss"] for row in again.history] == [row["loss"] for row in result.history]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
    assert not file.exists()


def test_early_stopping_keeps_the_best_epoch():
    X, y = toy(120)
    net = WindowNet(max_epochs=200, lr=0.3, validation=0.25, patience=5, random_state=0).fit(X, y)
    losses = [row["validation_loss"] for row in net.history_]
    assert len(losses) < 200
    assert net.best_epoch_ == int(np.argmin(losses))


def test_validation_holds_out_whole_groups_or_the_last_windows():
    y = np.tile([0, 1], 30)
    groups = np.repeat(np.arange(6), 10)
    chosen, held = validation_split(y, groups, 0.3, np.random.default_rng(0))
    assert not set(groups[chosen]) & set(groups[held])
    chosen, held = validation_split(y, None, 0.2, np.random.default_rng(0))
    assert all(chosen[y[chosen] == c].max() < held[y[held] == c].min() for c in (0, 1))


def bad(change):
    X, y = toy()
    return change(X.copy(), y.copy())


def put(X, where, value):
    X[where] = value
    return X


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda X, y: (put(X, (4, 1, 3), np.nan), y),
            "got NaN or infinity in 1 of 60 windows .first: window 4, channel 1",
        ),
        (lambda X, y: (put(X, (0, 0, 0), np.inf), y), "Expected finite samples"),
        (lambda X, y: (put(X, (slice(None), 2), 1.5), y), "channel 2 is constant in all 60 windows"),
        (lambda X, y: (X, np.full(60, "left")), "got only one class"),
        (lambda X, y: (X, [*y[:-1], 3]), "Labels must be of one type, got numbers and strings mixed"),
        (lambda X, y: (X, y[:-1]), "one label for each of the 60 windows"),
        (lambda X, y: (X[0], y), "Expected windows of shape"),
        (lambda X, y: (X[:0], y[:0]), "at least one window"),
        (lambda X, y: (X.astype(str), y), "real numbers"),
        (lambda X, y: (X[:1], y[:1]), "only one class"),
    ],
)
def test_bad_training_data_are_refused_in_one_sentence(change, message):
    X, y = bad(change)
    with pytest.raises(DataError, match=message):
        WindowNet(max_epochs=1).fit(X, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X[:, :2], "fitted on 3 channels, got 2"),
        (lambda X: X[:, :, :10], "windows of 20 samples, got 10"),
        (lambda X: put(X, (0, 0, 0), np.nan), "got NaN"),
    ],
)
def test_other_data_at_predict_are_refused(change, message):
    X, y = toy()
    net = WindowNet(max_epochs=1).fit(X, y)
    with pytest.raises(DataError, match=message):
        net.predict(change(X.copy()))


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
def test_damaged_models_are_refused(tmp_path, name):
    X, y = toy()
    path = WindowNet(max_epochs=1).fit(X, y).save(tmp_path / "model")
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        load_model(path)
    (path / name).write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    with pytest.raises(DataError, match=r"altered|truncated"):
        load_model(path)
    (path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_model(path)


def test_models_name_estimators_only(tmp_path):
    from neuropil.persistence import find_class

    for name in ("os:system", "sklearn.utils:Bunch", "neuropil.errors:require", "nowhere:Thing"):
        with pytest.raises(DataError):
            find_class(name)
    assert find_class("neuropil.estimators:Classifier") is estimators.Classifier
