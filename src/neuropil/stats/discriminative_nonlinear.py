r"""The discriminative Kalman filter of states that move nonlinearly: its prediction by the unscented transform of the dynamics.

.. math:: z_t = a(z_{t-1}) + N(0, G), \quad p(z_t \mid x_t) \approx N(f_t, Q_t)

The update is that of `neuropil.stats.discriminative`; only the prediction, A m and A M A' + G there, is the mean and covariance of a(z)
here, from its values at 2 d + 1 points.

Burkhart, Brandman, Franco, Hochberg & Harrison (2020). The discriminative Kalman filter for Bayesian filtering with nonlinear and
nongaussian observation models. Neural Computation 32(5), 969-1017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.stats.discriminative import DiscriminativelyFiltered, discriminative_kalman_filter
from neuropil.stats.kalman_nonlinear import unscented_transform


def predict_unscented(
    mean: Float[ndarray, " state"],
    covariance: Float[ndarray, "state state"],
    dynamics: Callable[..., Any],
    G: Float[ndarray, "state state"],
) -> tuple[Float[ndarray, " state"], Float[ndarray, "state state"]]:
    """Mean and covariance of the next state.

    Examples
    --------
    >>> mean, covariance = predict_unscented(np.array([3.0]), np.eye(1), lambda z: z / 2, np.eye(1))
    >>> mean.tolist(), covariance.tolist()
    ([1.5], [[1.25]])
    """
    moved = unscented_transform(dynamics, mean[None], covariance[None])
    ahead = moved.covariance[0] + G
    return moved.mean[0], (ahead + ahead.T) / 2


def nonlinear_discriminative_filter(
    f: Sequence[Float[ndarray, "_ state"]],
    Q: Sequence[Float[ndarray, "_ state state"]],
    dynamics: Callable[..., Any],
    G: Float[ndarray, "state state"],
    S: Float[ndarray, "state state"],
    correction: str = "clip",
    *,
    initial: tuple[Float[ndarray, " state"], Float[ndarray, "state state"]] | None = None,
) -> DiscriminativelyFiltered:
    """Filter what a regression says of centred states that move by `dynamics`.

    Parameters
    ----------
    f, Q : list of ndarray of shape (n_times_i, d) and (n_times_i, d, d)
        Means and covariances of p(z_t | x_t), one array a sequence; a step with NaN in f was not observed.
    dynamics : callable
        States (n_states, d) to the next ones (n_states, d).
    G, S : ndarray of shape (d, d)
        Covariance of the noise of the dynamics, and of the states.
    correction, initial
        As in `discriminative_kalman_filter`.

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> found = nonlinear_discriminative_filter(
    ...     [np.array([[1.0], [1.0]])], [np.full((2, 1, 1), 0.5)], lambda z: 0.6 * z, 0.64 * one, one
    ... )
    >>> found.means[0][:, 0].round(4).tolist(), found.covariances[0][:, 0, 0].round(4).tolist()
    ([1.0, 1.2308], [0.5, 0.4505])
    """
    if len(f) != len(Q):
        raise DataError(f"Q must have as many sequences as f, got {len(Q)} for {len(f)}.")
    means, covariances, corrected = [], [], []
    for regressed, uncertain in zip(f, Q, strict=True):
        if len(regressed) != len(uncertain):
            raise DataError(
                f"Q must have one covariance for each step of f, got {len(uncertain)} for {len(regressed)}."
            )
        mean, covariance = np.empty_like(regressed, dtype=float), np.empty_like(uncertain, dtype=float)
        acted = np.zeros(len(regressed), dtype=np.bool_)
        before = initial
        for t in range(len(regressed)):
            if t > 0:
                before = predict_unscented(mean[t - 1], covariance[t - 1], dynamics, G)
            step = discriminative_kalman_filter(
                [regressed[t : t + 1]], [uncertain[t : t + 1]], np.zeros_like(G), S, S, correction, initial=before
            )
            mean[t], covariance[t], acted[t] = step.means[0][0], step.covariances[0][0], step.corrected[0][0]
        means.append(mean)
        covariances.append(covariance)
        corrected.append(acted)
    return DiscriminativelyFiltered(means, covariances, corrected)
