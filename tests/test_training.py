"""The training loop's choices, fine-tuning, regression, and two players taking turns."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from neuropil import train
from neuropil.adversarial import Player, alternate
from neuropil.decoding.eegnet import EEGNetClassifier
from neuropil.errors import DataError, UsageError
from neuropil.networks import TorchRegressor


def linear(n_in=3, n_out=2, seed=0):
    with train.seeded(seed):
        return nn.Linear(n_in, n_out)


def classes(n=64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    return {"X": torch.as_tensor(X), "y": torch.as_tensor((X[:, 0] > 0).astype(int))}


def cross_entropy(module, batch):
    logits = module(batch["X"])
    accuracy = (logits.argmax(dim=1) == batch["y"]).float().mean()
    return {"loss": nn.functional.cross_entropy(logits, batch["y"]), "accuracy": accuracy}


def fit(module, **options):
    settings = {"validation": classes(seed=1), "max_epochs": 12, "lr": 0.5, "progress": False}
    return train.fit(module, cross_entropy, classes(), **{**settings, **options})


def test_best_epoch_is_that_of_the_monitored_value():
    by_loss, by_accuracy = fit(linear()), fit(linear(), monitor="accuracy")
    losses = [row["validation_loss"] for row in by_loss.history]
    accuracies = [row["validation_accuracy"] for row in by_accuracy.history]
    assert by_loss.best_epoch == int(np.argmin(losses))
    assert by_accuracy.best_epoch == int(np.argmax(accuracies))
    with pytest.raises(UsageError, match="cannot be chosen by 'kappa': the losses are loss, accuracy"):
        fit(linear(), monitor="kappa")


def test_what_is_observed_each_epoch_is_recorded_and_sees_the_module_at_rest():
    seen = []

    def observe(module, epoch):
        seen.append((module.training, torch.is_grad_enabled()))
        return {"weight": float(module.weight.abs().sum())}

    plain, observed = fit(linear()), fit(linear(), each_epoch=observe)
    assert seen == [(False, False)] * 12
    assert len({row["weight"] for row in observed.history}) == 12
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in observed.history]


def test_plateau_schedule_lowers_the_rate_once_an_epoch_without_gain(tmp_path):
    rates = []

    def make_scheduler(optimizer, n_steps):
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=10.0, threshold_mode="abs")

    def observe(module, epoch):
        rates.append(optimizers[-1].param_groups[0]["lr"])

    optimizers = []

    def make_optimizer(module):
        optimizers.append(torch.optim.SGD(module.parameters(), lr=1.0))
        return optimizers[-1]

    options = {"make_scheduler": make_scheduler, "make_optimizer": make_optimizer, "each_epoch": observe}
    fit(linear(), max_epochs=4, **options)
    assert rates == [1.0, 0.5, 0.25, 0.125]


def test_finetuning_goes_on_from_the_weights_and_leaves_the_original_alone():
    rng = np.random.default_rng(0)
    y = np.tile(["a", "b"], 16)
    X = rng.normal(size=(32, 4, 64)) + (y == "b")[:, None, None] * np.sin(np.arange(64) / 3)
    network = EEGNetClassifier(max_epochs=2, sfreq=128.0, random_state=0, validation=0.25, progress=False).fit(X, y)
    before = {name: value.clone() for name, value in network.module_.state_dict().items()}
    tuned = network.finetune(X, y, lr=1e-3, max_epochs=6)
    for name, value in network.module_.state_dict().items():
        assert torch.equal(value, before[name])
    assert len(tuned.history_) == 6
    assert tuned.history_[-1]["loss"] < network.history_[-1]["loss"]
    with pytest.raises(DataError, match="fitted on the classes a, b, got c"):
        network.finetune(X, np.tile(["a", "c"], 16))
    with pytest.raises(DataError, match="fitted on 4 channels, got 3"):
        network.finetune(X[:, :3], y)


class Line(TorchRegressor):
    def build(self, signature):
        return nn.Sequential(nn.Flatten(), nn.Linear(signature.n_channels * signature.n_times, self.n_targets_))


@pytest.mark.parametrize("single", [True, False])
def test_regression_recovers_a_linear_map(single):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 2, 3))
    Y = X.reshape(200, 6) @ rng.normal(size=(6, 2))
    y = Y[:, 0] if single else Y
    line = Line(lr=0.05, max_epochs=60, random_state=0, progress=False).fit(X, y)
    assert line.predict(X).shape == y.shape
    np.testing.assert_allclose(line.predict(X), y, atol=0.05)
    with pytest.raises(DataError, match="Expected finite targets of shape"):
        line.finetune(X, np.full_like(y, np.nan))


def test_two_players_reach_the_saddle_of_a_game():
    """min_x max_y  x y + 0.5 x^2 - 0.5 y^2 has its saddle at 0; one player alone would run away or stay."""

    class Number(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Parameter(torch.ones(()))

    x, y = Number(), Number()

    def payoff(_):
        return x.value * y.value + 0.5 * x.value**2 - 0.5 * y.value**2

    game = {
        "high": Player(y, lambda module, batch: {"loss": -payoff(batch)}, torch.optim.SGD(y.parameters(), lr=0.2)),
        "low": Player(x, lambda module, batch: {"loss": payoff(batch)}, torch.optim.SGD(x.parameters(), lr=0.2)),
    }
    result = alternate(game, {"X": torch.zeros(8, 1)}, max_epochs=20, batch_size=2, progress=False)
    assert abs(x.value.item()) < 1e-3
    assert abs(y.value.item()) < 1e-3
    assert set(result.history[0]) == {"epoch", "high_loss", "low_loss"}
    assert x.value.requires_grad


def test_players_keep_the_state_of_their_optimisers_and_take_their_steps():
    critic, generator = linear(2, 1), linear(2, 2, seed=1)
    optimizer = torch.optim.Adam(critic.parameters())
    other = torch.optim.Adam(generator.parameters())
    game = {
        "critic": Player(critic, lambda m, b: {"loss": (m(b["X"]) - 1).square().mean()}, optimizer, steps=3),
        "generator": Player(generator, lambda m, b: {"loss": critic(m(b["X"])).mean()}, other),
    }
    alternate(game, {"X": torch.randn(12, 2)}, max_epochs=2, batch_size=2, progress=False)
    assert int(optimizer.state[critic.weight]["step"]) == 12
    assert int(other.state[generator.weight]["step"]) == 4


def test_a_game_needs_two_players():
    with pytest.raises(UsageError, match="two players, got 0"):
        alternate({}, {"X": torch.zeros(2, 1)})
