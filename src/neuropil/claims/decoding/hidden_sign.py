"""Ten states behind channels whose sign a coin decides at every step, and p(z | x) in closed form.

Burkhart, Brandman, Franco, Hochberg & Harrison (2020). The discriminative Kalman filter for Bayesian filtering with nonlinear and
nongaussian observation models. Neural Computation 32(5), 969-1017.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from neuropil.stats import kalman

N_STATES, N_TIMES, N_FITTED = 10, 1000, 10_000
CHANNELS = (10, 32, 100, 1000)
SIGNS, NOISES = (1.0, -1.0), (1.0, 5.0)


def _mixture(rng: np.random.Generator, loadings: ndarray, states: ndarray) -> ndarray:
    """Observations whose sign, and with it the noise, a coin decides at every step."""
    coin = rng.integers(0, 2, len(states))
    noise = np.sqrt(np.take(NOISES, coin))[:, None] * rng.standard_normal((len(states), len(loadings)))
    return np.take(SIGNS, coin)[:, None] * (states @ loadings.T) + noise


def posterior(loadings: ndarray, observations: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and covariance of z given x for z ~ N(0, I) and an observation of unknown sign: a mixture of two Gaussians."""
    n_channels, d = loadings.shape
    gram, projected = loadings.T @ loadings, observations @ loadings
    log_weights, means, covariances = [], [], []
    for sign, noise in zip(SIGNS, NOISES, strict=True):
        covariance = np.linalg.inv(np.eye(d) + gram / noise)
        mean = sign / noise * projected @ covariance
        # by Woodbury's identity and the determinant lemma, in d dimensions instead of n_channels
        squares = (observations**2).sum(axis=1) / noise - np.einsum("ti,ti->t", mean, sign / noise * projected)
        log_weights.append(-0.5 * (squares + n_channels * np.log(noise) - np.linalg.slogdet(covariance)[1]))
        means.append(mean)
        covariances.append(covariance)
    weights = np.exp(np.array(log_weights) - np.max(log_weights, axis=0))
    weights /= weights.sum(axis=0)
    f = sum(w[:, None] * m for w, m in zip(weights, means, strict=True))
    second = sum(
        w[:, None, None] * (c + m[:, :, None] * m[:, None]) for w, m, c in zip(weights, means, covariances, strict=True)
    )
    return f, second - f[:, :, None] * f[:, None]


def world(
    seed: int,
) -> tuple[ndarray, ndarray, ndarray, ndarray, dict[int, tuple[ndarray, ndarray, ndarray, ndarray]]]:
    """A, G, S, states; and by the number of channels loadings, observations, and observations and states to fit on."""
    rng = np.random.default_rng(seed)
    S = np.eye(N_STATES)
    A = 0.95 * S - 0.05
    G = S - A @ S @ A.T
    loadings = rng.normal(0, np.sqrt(1 / N_STATES), (max(CHANNELS), N_STATES))
    model = kalman.LinearGaussian(np.zeros(N_STATES), S, A, G, S, S)
    fitted, states = (kalman.simulate(model, 1, n, rng).states[0] for n in (N_FITTED, N_TIMES))
    observed = {
        n: (loadings[:n], _mixture(rng, loadings[:n], states), _mixture(rng, loadings[:n], fitted), fitted)
        for n in CHANNELS
    }
    return A, G, S, states, observed
