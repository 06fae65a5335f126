"""Worms that share one wiring, seen in part, and the linear forecaster that is trained across them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray

from neuropil.datasets.worm import load_connectome

N_WORMS = 12
N_TIMES = 600
BURN_IN = 200
OBSERVED = 0.4
NOISE = 1.0
GAIN_JITTER = 0.1
ALPHAS = (1e2, 1e3, 1e4, 1e5)


class Worms(NamedTuple):
    """Activity in canonical columns, 0 where it was not observed."""

    X: ndarray
    """Shape (n_worms, n_times, n_neurons)."""
    mask: ndarray
    """Shape (n_worms, n_neurons)."""

    def take(self, worms: slice) -> Worms:
        """Some of the worms."""
        return Worms(self.X[worms], self.mask[worms])

    def shuffled(self, rng: np.random.Generator) -> Worms:
        """Columns of every worm in another order."""
        orders = [rng.permutation(self.mask.shape[1]) for _ in self.mask]
        return Worms(
            np.stack([x[:, order] for x, order in zip(self.X, orders, strict=True)]),
            np.stack([mask[order] for mask, order in zip(self.mask, orders, strict=True)]),
        )


def simulate_worms(rng: np.random.Generator) -> Worms:
    """z[t + 1] = 0.9 z[t] + 0.3 tanh(G z[t]) + noise on White's graph, whose rows sum to 1 but for a jitter of 10 % in every worm."""
    white = load_connectome("white")
    graph = np.log1p(white.chem + white.gap)
    graph /= np.maximum(graph.sum(axis=1, keepdims=True), 1e-12)
    traces, masks = [], []
    for _ in range(N_WORMS):
        mine = graph * (1 + GAIN_JITTER * rng.standard_normal((len(graph), 1)))
        z, states = rng.standard_normal(len(graph)), []
        for _ in range(BURN_IN + N_TIMES):
            z = 0.9 * z + 0.3 * np.tanh(mine @ z) + NOISE * rng.standard_normal(len(graph))
            states.append(z)
        mask = np.zeros(len(graph), dtype=bool)
        mask[rng.permutation(len(graph))[: round(OBSERVED * len(graph))]] = True
        traces.append(np.where(mask, np.stack(states[BURN_IN:]), 0.0))
        masks.append(mask)
    return Worms(np.stack(traces), np.stack(masks))


def fit_ridge(worms: Worms, alpha: float) -> ndarray:
    """Weights of the next step's change, (source, target); every target is learned from the worms that observed it, others stay 0."""
    grams = np.einsum("wti,wtj->wij", worms.X[:, :-1], worms.X[:, :-1], optimize=True)
    moments = np.einsum("wti,wtj->wij", worms.X[:, :-1], np.diff(worms.X, axis=1), optimize=True)
    n_neurons = worms.mask.shape[1]
    weights, ridge = np.zeros((n_neurons, n_neurons)), alpha * np.eye(n_neurons)
    for target in np.flatnonzero(worms.mask.any(axis=0)):
        seen = worms.mask[:, target]
        weights[:, target] = np.linalg.solve(grams[seen].sum(axis=0) + ridge, moments[seen][:, :, target].sum(axis=0))
    return weights


def masked_error(weights: ndarray, worms: Worms) -> float:
    """Mean squared error of the next step over what was observed."""
    errors = np.diff(worms.X, axis=1) - worms.X[:, :-1] @ weights
    return float(np.mean([(error[:, mask] ** 2).mean() for error, mask in zip(errors, worms.mask, strict=True)]))


def forecast_error(train: Worms, validation: Worms, test: Worms) -> float:
    """Error on `test` of the forecaster whose penalty did best on `validation`."""
    fitted = [fit_ridge(train, alpha) for alpha in ALPHAS]
    best = int(np.argmin([masked_error(weights, validation) for weights in fitted]))
    return masked_error(fitted[best], test)


def forecast(seed: int) -> dict[str, float]:
    """Errors on the last worm: persistence, one worm, ten worms (an eleventh chooses the penalty), and ten whose names are shuffled."""
    rng = np.random.default_rng(seed)
    worms = simulate_worms(rng)
    validation, test = worms.take(slice(10, 11)), worms.take(slice(11, 12))
    many = worms.take(slice(0, 10))
    return {
        "across_worms": forecast_error(many, validation, test),
        "one_worm": forecast_error(worms.take(slice(0, 1)), validation, test),
        "names_shuffled": forecast_error(many.shuffled(rng), validation, test),
        "persistence": masked_error(np.zeros((test.X.shape[2],) * 2), test),
    }
