"""A recurrent network that decodes a state from the last few bins: the baseline without dynamics of its own.

An LSTM of 20 units reads three bins of standardised activity, the present one last, and a linear layer tells the state. Whatever it knows
of how states move it has to find in these bins; where a trial begins, and where bins are missing, it reads the mean activity.

Hochreiter & Schmidhuber (1997). Long short-term memory. Neural Computation 9(8). As a baseline: Burkhart, Brandman, Franco, Hochberg &
Harrison (2020). Neural Computation 32(5), 969-1017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from sklearn.utils import check_random_state
from torch import Tensor, nn

from neuropil.decoding.state_blocks import held_out
from neuropil.decoding.state_decoder import StateDecoder, Trials
from neuropil.decoding.state_regressors import average_covariance
from neuropil.errors import DataError, UsageError
from neuropil.networks import TorchRegressor
from neuropil.signature import Signature


class LastBins(nn.Module):
    """LSTM over bins, a linear layer on its last output.

    Parameters
    ----------
    n_chans, n_outputs, n_units : int
    drop_prob : float
        Of inputs and of the last output.
    """

    def __init__(self, n_chans: int, n_outputs: int, n_units: int = 20, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_chans, n_units, batch_first=True)
        self.drop = nn.Dropout(drop_prob)
        self.out = nn.Linear(n_units, n_outputs)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch output"]:
        outputs, _ = self.lstm(self.drop(x).transpose(1, 2))
        return self.out(self.drop(outputs[:, -1]))


class RecurrentRegressor(TorchRegressor):
    """States from windows of the last bins (n_bins, n_features, n_earlier + 1); with groups, those of group 1 choose the best epoch."""

    def __init__(
        self,
        n_units: int = 20,
        drop_prob: float = 0.0,
        *,
        lr: float = 3e-3,
        batch_size: int = 128,
        max_epochs: int = 200,
        weight_decay: float = 1e-4,
        validation: float = 0.3,
        patience: int | None = 20,
        device: str = "cpu",
        random_state: Any = None,
        progress: bool | None = None,
    ) -> None:
        super().__init__(
            lr=lr,
            batch_size=batch_size,
            max_epochs=max_epochs,
            weight_decay=weight_decay,
            validation=validation,
            patience=patience,
            device=device,
            random_state=random_state,
            progress=progress,
        )
        self.n_units = n_units
        self.drop_prob = drop_prob

    def build(self, signature: Signature) -> nn.Module:
        """The untrained network."""
        return LastBins(signature.n_channels, self.n_targets_, self.n_units, self.drop_prob)

    def _hold_out(self, strata: ndarray, groups: ndarray | None, seed: int) -> tuple[ndarray, ndarray | None]:
        """Windows of group 1 choose the best epoch; without groups as in every network."""
        if groups is None:
            return super()._hold_out(strata, groups, seed)
        return np.flatnonzero(groups == 0), np.flatnonzero(groups == 1)


class RecurrentDecoder(StateDecoder):
    """A recurrent network on the last bins.

    Parameters
    ----------
    n_bins : int, default 3
        Bins that it reads, the present one among them.
    n_units : int, default 20
    drop_prob : float, default 0
    lag : int, default 0
        Bins by which activity precedes the state that it tells of.
    validation_fraction : float, default 0.3
        Part of the training data, in whole trials or blocks of time, on which the best epoch is chosen and errors are measured.
    lr, batch_size, max_epochs, patience, device
        Of the training (`neuropil.train.fit`).
    random_state : int, RandomState or None

    Attributes
    ----------
    network_ : RecurrentRegressor
    error_cov_ : ndarray of shape (d, d)
        Covariance of the errors on held-out bins, which `predict(..., return_cov=True)` returns for every bin.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Z = np.sin(np.arange(300) / np.array([[15.0], [22.0]])).T
    >>> X = np.abs(Z @ rng.normal(size=(2, 8))) + 0.1 * rng.normal(size=(300, 8))
    >>> RecurrentDecoder(max_epochs=2, random_state=0).fit(X, Z).predict(X[:50]).shape
    (50, 2)
    """

    def __init__(
        self,
        n_bins: Any = 3,
        n_units: Any = 20,
        drop_prob: Any = 0.0,
        lag: Any = 0,
        validation_fraction: Any = 0.3,
        lr: Any = 3e-3,
        batch_size: Any = 128,
        max_epochs: Any = 200,
        patience: Any = 20,
        device: Any = "cpu",
        stationary: Any = False,
        random_state: Any = None,
    ) -> None:
        self.n_bins = n_bins
        self.n_units = n_units
        self.drop_prob = drop_prob
        self.lag = lag
        self.validation_fraction = validation_fraction
        self.lr = lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.device = device
        self.stationary = stationary
        self.random_state = random_state

    @property
    def _n_earlier(self) -> int:  # type: ignore[override]
        return self.n_bins - 1

    def fit(self, X: Any, Z: Any = None, groups: Any = None) -> RecurrentDecoder:
        """Train the network; parameters as in `StateDecoder.fit`."""
        if not isinstance(self.n_bins, int | np.integer) or self.n_bins < 1:
            raise UsageError(f"n_bins must be a whole number, 1 or more, got {self.n_bins!r}.")
        if not 0 < self.validation_fraction < 1:
            raise UsageError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}.")
        super().fit(X, Z, groups)
        return self

    def _fit_observations(self, features: Trials, states: Trials) -> None:
        everything = np.concatenate(features)
        self.mean_ = np.nanmean(everything, axis=0)
        spread = np.nanstd(everything, axis=0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        windows = np.concatenate([self._windows(trial) for trial in features])
        targets = np.concatenate(states)
        rng = check_random_state(self.random_state)
        held = held_out([len(trial) for trial in features], self.validation_fraction, rng)
        if min(held.sum(), (~held).sum()) < 10:
            raise DataError(
                f"Of {len(targets)} bins, {held.sum()} are held out; the network needs 10 of either: give more bins."
            )
        self.unit_ = np.sqrt(np.diag(self.state_cov_))
        self.network_ = RecurrentRegressor(
            self.n_units, self.drop_prob, lr=self.lr, batch_size=self.batch_size, max_epochs=self.max_epochs,
            patience=self.patience, device=self.device, random_state=int(rng.randint(2**31 - 1)),
        ).fit(windows, targets / self.unit_, held.astype(int))  # fmt: skip
        self.error_cov_ = average_covariance(targets[held] - self._means(windows[held]))

    def _filter(self, features: Trials, initial: Any = None) -> tuple[Trials, Trials]:
        means, covariances = [], []
        for trial in features:
            windows = self._windows(trial)
            blind = np.asarray(np.isnan(trial).all(axis=1))
            for k in range(1, self.n_bins):
                blind[k:] &= np.isnan(trial[:-k]).all(axis=1)
            mean = np.zeros((len(trial), len(self.state_mean_)))
            if not blind.all():
                mean[~blind] = self._means(windows[~blind])
            means.append(mean)
            covariances.append(np.where(blind[:, None, None], self.state_cov_, self.error_cov_))
        return means, covariances

    def _means(self, windows: ndarray) -> ndarray:
        return self.network_.predict(windows).reshape(len(windows), -1) * self.unit_

    def _windows(self, trial: ndarray) -> Float[ndarray, "time feature n_bins"]:
        """The last bins before every bin, standardised; 0 before the trial and where a feature is missing."""
        scaled = np.nan_to_num((trial - self.mean_) / self.scale_)
        padded = np.concatenate([np.zeros((self.n_bins - 1, trial.shape[1])), scaled])
        return np.lib.stride_tricks.sliding_window_view(padded, self.n_bins, axis=0)
