r"""What neurons say of a state, learned the generative way round: the expected activity of every state, and the noise around it.

Filters that linearise need :math:`h(z)`, its slope and the covariance of what is left. A small network learns any smooth h with constant
noise; counts have a rate whose logarithm is a quadratic function of the state (a Gaussian place field is one) and a variance equal to it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy import ndarray
from sklearn.base import BaseEstimator

from neuropil.decoding.state_regressors import OneHiddenLayer, average_covariance
from neuropil.errors import DataError, UsageError

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
BEYOND = 1.0  # logarithm by which a rate may exceed all counts that were seen


class NetworkObservation(BaseEstimator):
    """Activity as a network of the state with one hidden layer of tanh units; the noise is that of bins it was not fitted on.

    Parameters
    ----------
    n_units : int, default 10
    random_state : int, optional

    Attributes
    ----------
    noise_ : ndarray of shape (n_features, n_features)
    """

    def __init__(self, n_units: int = 10, random_state: int | None = None) -> None:
        self.n_units = n_units
        self.random_state = random_state

    def fit(self, Z: ndarray, X: ndarray, held: ndarray) -> NetworkObservation:
        """From states (n_bins, d), activity (n_bins, n_features) and the mask of the bins for the noise."""
        self.network_ = OneHiddenLayer(self.n_units, self.random_state).fit(Z[~held], X[~held])
        self.noise_ = average_covariance(X[held] - self.expected(Z[held]))
        return self

    def expected(self, Z: ndarray) -> ndarray:
        """Expected activity, shape (n_states, n_features)."""
        values = self.network_.predict(Z)
        return values.reshape(len(Z), -1)

    def slope(self, Z: ndarray) -> ndarray:
        """Its derivative, shape (n_states, n_features, d)."""
        into, out = self.network_.weights_
        hidden = np.tanh((Z - self.network_.mean_) / self.network_.scale_ @ into + self.network_.biases_[0])
        return np.einsum("dk,sk,kn->snd", into / self.network_.scale_[:, None], 1 - hidden**2, out)

    @property
    def noise(self) -> Any:
        """Covariance of the noise."""
        return self.noise_


class PoissonObservation(BaseEstimator):
    """Counts with the rate exp(b + W [z, z z']), by penalised maximum likelihood; the penalty is chosen on the bins held out.

    Attributes
    ----------
    weights_ : ndarray of shape (n_terms, n_features)
        Of the states and their products.
    biases_, ceilings_ : ndarray of shape (n_features,)
        The logarithm of a rate stays below its ceiling, one above that of the largest count that was seen.
    penalty_ : float
    """

    def fit(self, Z: ndarray, X: ndarray, held: ndarray) -> PoissonObservation:
        """From states (n_bins, d), counts (n_bins, n_features) and the mask of the bins that choose the penalty."""
        wrong = (X < 0) | (np.floor(X) != X)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(
                f"A Poisson observation needs counts, whole numbers of 0 or more; feature {column} has {X[row, column]:g}: give spikes a "
                "bin, or choose observation='network'."
            )
        self.scale_ = Z.std(axis=0)
        terms = self._terms(Z)
        self.ceilings_ = np.log(X.max(axis=0) + 1.0) + BEYOND
        losses = []
        for penalty in PENALTIES:
            self._fit(terms[~held], X[~held], penalty)
            logs = np.minimum(terms[held] @ self.weights_ + self.biases_, self.ceilings_)
            losses.append(float((np.exp(logs) - X[held] * logs).sum()))
        self.penalty_ = PENALTIES[int(np.argmin(losses))]
        self._fit(terms, X, self.penalty_)
        return self

    def _fit(self, terms: ndarray, X: ndarray, penalty: float) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import PoissonRegressor

        weights, biases = [], []
        for counts in X.T:
            if not counts.any():  # silent in this part of the bins
                weights.append(np.zeros(terms.shape[1]))
                biases.append(np.log(0.5 / len(counts)))
                continue
            with warnings.catch_warnings():  # a likelihood that is nearly flat is flat enough
                warnings.simplefilter("ignore", ConvergenceWarning)
                found = PoissonRegressor(alpha=penalty, solver="newton-cholesky", max_iter=100).fit(terms, counts)
            weights.append(found.coef_)
            biases.append(float(found.intercept_))
        self.weights_, self.biases_ = np.stack(weights, axis=1), np.array(biases)

    def _terms(self, Z: ndarray) -> ndarray:
        scaled = Z / self.scale_
        first, second = np.triu_indices(Z.shape[1])
        return np.concatenate([scaled, scaled[:, first] * scaled[:, second]], axis=1)

    def expected(self, Z: ndarray) -> ndarray:
        """Expected counts, shape (n_states, n_features)."""
        return np.exp(np.minimum(self._terms(Z) @ self.weights_ + self.biases_, self.ceilings_))

    def slope(self, Z: ndarray) -> ndarray:
        """Their derivatives, shape (n_states, n_features, d); 0 at the ceiling."""
        scaled, d = Z / self.scale_, Z.shape[1]
        first, second = np.triu_indices(d)
        moved = np.zeros((len(Z), self.weights_.shape[0], d))
        moved[:, range(d), range(d)] = 1.0
        for term, (i, j) in enumerate(zip(first, second, strict=True), start=d):
            moved[:, term, i] += scaled[:, j]
            moved[:, term, j] += scaled[:, i]
        logs = self._terms(Z) @ self.weights_ + self.biases_
        rates = np.where(logs < self.ceilings_, np.exp(np.minimum(logs, self.ceilings_)), 0.0)
        return rates[:, :, None] * np.einsum("tn,std->snd", self.weights_, moved / self.scale_)

    @property
    def noise(self) -> Any:
        """Variances of counts, which are their expectations."""
        return self.expected


def make_observation(name: Any, n_units: int, random_state: int | None) -> NetworkObservation | PoissonObservation:
    """The observation of that name, not fitted yet."""
    if name == "network":
        return NetworkObservation(n_units, random_state)
    if name == "poisson":
        return PoissonObservation()
    raise UsageError(f"observation must be 'network' or 'poisson', got {name!r}.")
