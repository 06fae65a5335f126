r"""The discriminative Kalman filter: Bayes' rule on what a regression says of the state, p(z | x), instead of a model of p(x | z).

.. math:: z_1 \sim N(0, S), \quad z_t = A z_{t-1} + N(0, G), \quad S = A S A' + G, \quad p(z_t \mid x_t) \approx N(f_t, Q_t)

The observation enters as p(z_t | x_t) / p(z_t), so that from the prediction N(m, M) of the past

.. math:: P_t = (M^{-1} + Q_t^{-1} - S^{-1})^{-1}, \qquad \mu_t = P_t (M^{-1} m + Q_t^{-1} f_t).

This needs a regression that knows no less than the prior: all generalised eigenvalues of (Q_t, S) at most 1. What happens where one is
larger is the `correction`. Covariances are products of factors throughout and stay positive definite for any number of steps.

Burkhart, Brandman, Franco, Hochberg & Harrison (2020). The discriminative Kalman filter for Bayesian filtering with nonlinear and
nongaussian observation models. Neural Computation 32(5), 969-1017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.stats import discriminative_kernels as kernels
from neuropil.stats.kalman_kernels import cholesky
from neuropil.stats.sequences import over_sequences, pack

CORRECTIONS = {"clip": kernels.CLIP, "additive": kernels.ADDITIVE, "robust": kernels.ROBUST}


class DiscriminativelyFiltered(NamedTuple):
    r"""What is known of the states from the past, in the form in which `f` came.

    Attributes
    ----------
    means : ndarray of shape (n_sequences, n_times, d) or list of ndarray of shape (n_times_i, d)
        :math:`E[z_t \mid x_{1:t}]`.
    covariances : ndarray of shape (n_sequences, n_times, d, d) or list of ndarray of shape (n_times_i, d, d)
        :math:`\mathrm{Cov}[z_t \mid x_{1:t}]`.
    corrected : ndarray of bool, shape (n_sequences, n_times), or list of ndarray of shape (n_times_i,)
        Where the regression was less certain than the prior in some direction, and the correction acted.
    """

    means: Any
    covariances: Any
    corrected: Any


def discriminative_kalman_filter(
    f: Float[ndarray, "sequence time state"] | Sequence[Float[ndarray, "_ state"]],
    Q: Any,
    A: Float[ndarray, "state state"],
    G: Float[ndarray, "state state"],
    S: Float[ndarray, "state state"],
    correction: str = "clip",
    *,
    lengths: Int[ndarray, " sequence"] | None = None,
    initial: tuple[Float[ndarray, " state"], Float[ndarray, "state state"]] | None = None,
) -> DiscriminativelyFiltered:
    """Filter what a regression says of centred states.

    Parameters
    ----------
    f : ndarray of shape (n_sequences, n_times, d) or list of ndarray of shape (n_times_i, d)
        Means of p(z_t | x_t). A step with NaN was not observed.
    Q : ndarray of shape (d, d), or (n_sequences, n_times, d, d), or list of ndarray of shape (n_times_i, d, d)
        Covariances of p(z_t | x_t), positive definite: one for all steps, or one a step in the form of `f`.
    A, G : ndarray of shape (d, d)
        Transition and covariance of its noise, which may be singular.
    S : ndarray of shape (d, d)
        Covariance of the states, positive definite.
    correction : {"clip", "additive", "robust"}
        Where a generalised eigenvalue of (Q, S) exceeds 1: "clip" sets it to 1; "additive" takes (Q^-1 + S^-1)^-1 for Q, so that the
        covariance becomes (M^-1 + Q^-1)^-1. "robust" leaves S^-1 out of every step, as if the prior were flat.
    lengths : ndarray of int, shape (n_sequences,), optional
        Valid steps of every sequence of a padded array; results are NaN in the padding.
    initial : tuple of ndarray of shape (d,) and (d, d), optional
        Mean and covariance of the first state of every sequence before its observation, to go on from an earlier one (`kalman.predict`).
        Without, the states are stationary and the first mean and covariance are f_1 and the corrected Q_1.

    Raises
    ------
    DataError
        If `f` is infinite, shapes do not fit, or a covariance in `Q` is not positive definite.
    UsageError
        If the correction is unknown, or A, G, S, `initial` do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> found = discriminative_kalman_filter(np.array([[[1.0], [1.0]]]), 0.5 * one, 0.6 * one, 0.64 * one, one)
    >>> found.means[0, :, 0].round(4).tolist(), found.covariances[0, :, 0, 0].round(4).tolist()
    ([1.0, 1.2308], [0.5, 0.4505])
    """
    if correction not in CORRECTIONS:
        raise UsageError(f"correction must be one of {', '.join(map(repr, CORRECTIONS))}, got {correction!r}.")
    packed = pack(f, lengths, "f", ("state",))
    d = packed.values.shape[1]
    A, G, S = (_square(matrix, d, name) for matrix, name in ((A, "A"), (G, "G"), (S, "S")))
    valid = np.ones(len(packed.values), dtype=np.bool_)
    packed.blank(valid, False)
    if np.isinf(packed.values[valid]).any():
        raise DataError("f must be finite, got infinity; NaN stands for a step that was not observed.")
    Q = _uncertainties(Q, packed, lengths)
    prior_root = np.empty((d, d))
    if not _symmetric(S) or not kernels.factorise(S, prior_root):
        raise UsageError("S must be symmetric and positive definite; a state that is constant has no place in it.")
    mean, covariance = (np.zeros(d), S) if initial is None else initial
    mean, covariance = np.ascontiguousarray(mean, dtype=float), _square(covariance, d, "initial covariance")
    if mean.shape != (d,) or not np.isfinite(mean).all():
        raise UsageError(f"The initial mean must be {d} finite numbers, got shape {mean.shape}.")
    n_steps = len(packed.values)
    means, covariances = np.empty((n_steps, d)), np.empty((n_steps, d, d))
    corrected = np.zeros(n_steps, dtype=np.bool_)
    whitened = (
        np.linalg.solve(prior_root, mean),
        np.linalg.solve(prior_root, _root(covariance, "initial covariance")),
        np.linalg.solve(prior_root, A @ prior_root),
        np.linalg.solve(prior_root, _root(G, "G")),
    )
    bad = over_sequences(
        lambda part: kernels.filter_forward(
            CORRECTIONS[correction], correction == "robust" and initial is None, *whitened, prior_root, packed.values, Q,
            packed.starts[part], packed.lengths[part], means, covariances, corrected,
        ),
        packed.lengths, 20 * d**3,
    )  # fmt: skip
    rows = [row for row in bad if row >= 0]
    if rows:
        s = int(np.searchsorted(packed.starts, rows[0], side="right")) - 1
        raise DataError(
            f"Q of sequence {s} is not positive definite at step {rows[0] - packed.starts[s]}; a regression is never certain."
        )
    packed.blank(means, np.nan)
    packed.blank(covariances, np.nan)
    return DiscriminativelyFiltered(packed.unpack(means), packed.unpack(covariances), packed.unpack(corrected))


def _square(matrix: Any, d: int, name: str) -> ndarray:
    array = np.ascontiguousarray(matrix, dtype=float)
    if array.shape != (d, d) or not np.isfinite(array).all():
        raise UsageError(
            f"{name} must be finite and of shape ({d}, {d}), as f has {d} states; got shape {array.shape}."
        )
    return array


def _symmetric(matrices: ndarray) -> bool:
    scale = np.abs(matrices).max(axis=(-2, -1), keepdims=True)
    return bool((np.abs(matrices - matrices.swapaxes(-1, -2)) <= 1e-8 * scale).all())


def _root(covariance: ndarray, name: str) -> ndarray:
    """Lower root of a covariance that may be singular."""
    if not _symmetric(covariance) or np.linalg.eigvalsh(covariance)[0] < -1e-8 * np.abs(covariance).max():
        raise UsageError(f"{name} must be a covariance: symmetric, without negative eigenvalues.")
    lower = np.empty_like(covariance)
    cholesky(covariance, lower)
    return lower


def _uncertainties(Q: Any, packed: Any, lengths: Any) -> ndarray:
    d = packed.values.shape[1]
    if isinstance(Q, ndarray) and Q.ndim == 2:
        values = np.ascontiguousarray(Q, dtype=float)[None]
    else:
        given = pack(Q, lengths, "Q", ("state", "state"))
        values = given.values
        if not (np.array_equal(given.starts, packed.starts) and np.array_equal(given.lengths, packed.lengths)):
            raise DataError(
                f"Q must have one covariance for each step of f, got {len(values)} steps for {len(packed.values)}."
            )
    if values.shape[1:] != (d, d):
        raise DataError(f"Q must hold matrices of shape ({d}, {d}), as f has {d} states; got {values.shape[1:]}.")
    seen = np.ones(len(values), dtype=np.bool_)
    if len(values) == len(packed.values):
        seen = ~np.isnan(packed.values).any(axis=1)
        packed.blank(seen, False)
    if not _symmetric(values[seen]):
        raise DataError("Q must hold finite and symmetric matrices; symmetrise them with (Q + Q.swapaxes(-1, -2)) / 2.")
    return values
