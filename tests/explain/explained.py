"""Windows and decoders with known answers, shared by the tests of the explanations."""

from functools import lru_cache

import numpy as np
import torch
import xarray as xr
from torch import nn

from neuropil.decoding import make
from neuropil.evaluate.epochs import filtered
from neuropil.networks import TorchClassifier
from neuropil.signal.montage import montage_1010
from neuropil.simulate.eeg import simulate_motor_imagery
from neuropil.windowing import windows

HEAD = ("Fz", "FCz", "C3", "Cz", "C4", "CPz", "Pz", "POz")
QUIET = {"line_uV": 0.0, "blink_rate": 0.0, "eye_rate": 0.0, "emg_rate": 0.0, "alpha_uV": 0.0, "lapse": 0.0}


def labelled(X, y, sfreq=100.0, names=("C3", "Cz", "C4", "Pz"), positions=True, **coords):
    """Windows with labels, names and places."""
    xyz = montage_1010(names) if positions else np.full((len(names), 3), np.nan)
    return xr.DataArray(
        X,
        dims=("window", "channel", "time"),
        coords={
            "label": ("window", np.asarray(y, dtype=object)),
            "channel": list(names),
            **{axis: ("channel", xyz[:, k]) for k, axis in enumerate("xyz")},
            "time": np.arange(X.shape[2]) / sfreq,
            **{name: ("window", np.asarray(values)) for name, values in coords.items()},
        },
        attrs={"sfreq": sfreq, "unit": "uV"},
    )


def steps(n=60, n_channels=4, n_times=80, seed=0, effect=1.0):
    """Noise; in the second half of the windows of one class channel 1 is higher."""
    rng = np.random.default_rng(seed)
    y = np.tile(["left", "right"], n // 2)
    X = rng.normal(size=(n, n_channels, n_times))
    X[y == "right", 1, n_times // 2 :] += effect
    return X, y


@lru_cache
def motor_imagery():
    """Training and test windows of one subject whose hand areas (under C3 and C4) weaken their rhythm at 10 to 13 Hz."""
    recordings, truths = simulate_motor_imagery(
        1, n_trials=150, sfreq=62.5, seed=2, preset="easy", mu_uV=7.0, erd=(0.9, 0.9), ipsi=0.0, bg_uV=6.0, **QUIET
    )
    X = windows([filtered(recordings[0], None, "offline", (4.0, 28.0), 4)], tmin=0.6, tmax=2.6).load()
    X = X[:, [X["channel"].values.tolist().index(name) for name in HEAD]]
    return X[:90], X[90:], truths[0]


SETTINGS = {
    "csp-lda": {"n_components": 2},
    "eegnet": {"max_epochs": 25, "lr": 1e-2, "random_state": 0, "progress": False},
    "shallow-convnet": {"max_epochs": 15, "random_state": 0, "progress": False},
}


@lru_cache
def imagery_decoder(slug):
    """A decoder fitted on the training windows of `motor_imagery`."""
    return make(slug, **SETTINGS[slug]).fit(motor_imagery()[0])


class Linear(nn.Module):
    """Logits that are linear in the window."""

    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.map = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x):
        return self.map(x.flatten(1))


class LinearNetwork(TorchClassifier):
    """A linear network without any preparation."""

    def build(self, signature):
        return Linear(signature.n_channels, signature.n_times, len(signature.classes))


class WhitenedNetwork(LinearNetwork):
    """The same behind a fixed mixture of the channels."""

    mixture = np.array([[2.0, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.3], [0.0, 0.0, 0.5, 0.0], [0.1, 0.0, 0.0, 1.0]])

    def prepare_fit(self, X, groups):
        return self.mixture @ X

    def prepare_predict(self, X, groups):
        return self.mixture @ X


class SquaredNetwork(LinearNetwork):
    """Behind a preparation that no matrix of channels can do."""

    def prepare_fit(self, X, groups):
        return X**2

    def prepare_predict(self, X, groups):
        return X**2


class Calibrated(LinearNetwork):
    """Its probabilities are not those of the network alone."""

    def predict_proba(self, X, groups=None):
        return 0.5 * super().predict_proba(X, groups) + 0.25


class Graph(LinearNetwork):
    """Shows electrode by electrode attention in two layers; its columns add up to 1."""

    depth = 2

    def attention(self, X, groups=None):
        n, n_channels = len(X), X.shape[1]
        maps = torch.softmax(
            torch.arange(n_channels**2, dtype=torch.float32).reshape(n_channels, n_channels).sin(), dim=0
        )
        return maps.expand(n, 2, 3, n_channels, n_channels).numpy()


def weights_of(network):
    """Weight of every sample in the log-odds of the second class, shape (n_channels, n_times)."""
    weight = network.module_.map.weight.detach().double().numpy()
    return (weight[1] - weight[0]).reshape(network.signature_.n_channels, network.signature_.n_times)
