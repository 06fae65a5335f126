r"""Discriminative Kalman filter: a state decoded online from many nonlinear channels, with any regression in place of a tuning model.

A Kalman filter needs p(x | z), a model of every channel. This one learns p(z | x), the other way round and of the few numbers of the
state only: a mean f(x) by any regressor, and a covariance Q(x) from its errors on training data that it was not fitted on. Bayes' rule
turns them into p(x | z) up to a factor, p(z | x) / p(z), and with linear Gaussian dynamics of the states the update stays in closed form
(`neuropil.stats.discriminative`). As channels become many, p(z | x) becomes Gaussian and the filter exact.

Activity and states are divided into blocks of time or whole trials, about 70 % for f and 30 % for Q; with random bins, Q would be too small
where neighbours are alike, and the filter would ignore the dynamics. By default both are kernel averages: f of the states of similar
activity, Q of the outer products of the errors.

Burkhart, Brandman, Franco, Hochberg & Harrison (2020). The discriminative Kalman filter for Bayesian filtering with nonlinear and
nongaussian observation models. Neural Computation 32(5), 969-1017. Burkhart (2019). A discriminative approach to Bayesian filtering with
applications to human neural decoding. PhD thesis, Brown University. arXiv:1807.06173.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from sklearn.utils import check_random_state

from neuropil.decoding.state_blocks import held_out
from neuropil.decoding.state_decoder import FilterState, KalmanFilterDecoder, StateDecoder, Trials, complete_bins
from neuropil.decoding.state_regressors import (
    ConstantCovariance,
    NeighbouringCovariance,
    average_covariance,
    make_regressor,
)
from neuropil.errors import DataError, UsageError
from neuropil.stats.discriminative import CORRECTIONS, discriminative_kalman_filter
from neuropil.stats.discriminative_nonlinear import nonlinear_discriminative_filter, predict_unscented

__all__ = ["DiscriminativeKalmanFilter", "FilterState", "KalmanFilterDecoder", "discriminative_kalman_filter"]

COVARIANCES = ("nw", "constant")
BEST, LINEAR = "best", "linear"
WORSE = 1.1  # ratio of errors from which `fit` warns


class DiscriminativeKalmanFilter(StateDecoder):
    """Filter of states with a learned p(state | activity).

    Parameters
    ----------
    regressor : {"nw", "gp", "nn"} or scikit-learn regressor, default "nw"
        Mean of the state: Nadaraya-Watson average, a Gaussian process a state, a network with ten hidden units, or any other.
    covariance : {"nw", "constant"}
        Covariance of its errors: averaged over similar activity, or one for all.
    correction : {"clip", "additive", "robust", "best"}
        What happens where a regression is less certain than the prior; see `discriminative_kalman_filter`. "best" takes the one that errs
        least on the held-out bins.
    lag : int, default 0
        Bins by which activity precedes the state that it tells of.
    validation_fraction : float, default 0.3
        Part of the training data, in blocks of time or whole trials, that the errors come from.
    stationary : bool, default False
        Take the covariance of the states from the dynamics instead of the sample.
    dynamics : {"linear", "nw", "gp", "nn"} or scikit-learn regressor, default "linear"
        How a state follows from the one before: by a matrix, or by a regression, through which the filter predicts by the unscented
        transform.
    random_state : int, RandomState or None
        Of the choice of blocks, and of the network.

    Attributes
    ----------
    transition_, transition_cov_, state_cov_ : ndarray of shape (d, d)
        A, G, S of states around their mean.
    state_mean_ : ndarray of shape (d,)
    regressor_ : estimator
        Fitted on the other part of the training data, for states around their mean.
    covariance_ : estimator
    bandwidths_ : dict
        Of the kernel averages in use, "mean" and "covariance".
    dynamics_, dynamics_cov_ : estimator and ndarray of shape (d, d)
        Where the dynamics are no matrix: the next state, and the covariance of what is left.
    correction_ : str
        The one in use.
    n_clipped_ : int
        Held-out bins where the regression was less certain than the prior in some direction.
    held_out_errors_ : dict
        Root mean squared errors on held-out bins, "filtered" and of the "regression" by itself.

    Notes
    -----
    Where the corrected covariance equals the prior's in a direction, an observation adds to the mean and nothing to the certainty. That is
    right if the regression then says the mean of the prior; one that is uncertain and says something else pushes the mean on and on. From
    few data, or features that tell little, "additive" or "robust" err less, and "best" finds out; `fit` warns if filtering makes the error
    on held-out bins larger by a tenth or more.

    References
    ----------
    Burkhart et al. (2020), Neural Computation 32(5).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Z = np.sin(np.arange(600) / np.array([[15.0], [22.0]])).T
    >>> X = np.abs(Z @ rng.normal(size=(2, 8)) + rng.normal(size=8)) + 0.3 * rng.normal(size=(600, 8))
    >>> decoder = DiscriminativeKalmanFilter(random_state=0).fit(X[:450], Z[:450])
    >>> mean, cov = decoder.predict(X[450:], return_cov=True)
    >>> mean.shape, cov.shape
    ((150, 2), (150, 2, 2))
    """

    def __init__(
        self,
        regressor: Any = "nw",
        covariance: Any = "nw",
        correction: Any = "clip",
        lag: Any = 0,
        validation_fraction: Any = 0.3,
        stationary: Any = False,
        dynamics: Any = LINEAR,
        random_state: Any = None,
    ) -> None:
        self.regressor = regressor
        self.covariance = covariance
        self.correction = correction
        self.lag = lag
        self.validation_fraction = validation_fraction
        self.stationary = stationary
        self.dynamics = dynamics
        self.random_state = random_state

    def fit(self, X: Any, Z: Any = None, groups: Any = None) -> DiscriminativeKalmanFilter:
        """Fit dynamics, regression and covariance of its errors; parameters as in `StateDecoder.fit`."""
        for name, value, known in (
            ("covariance", self.covariance, COVARIANCES),
            ("correction", self.correction, (*CORRECTIONS, BEST)),
        ):
            if value not in known:
                raise UsageError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}.")
        if not 0 < self.validation_fraction < 1:
            raise UsageError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}.")
        make_regressor(self.regressor, 1, 0)
        if self._is_nonlinear():
            make_regressor(self.dynamics, 1, 0, "dynamics")
        super().fit(X, Z, groups)
        return self

    def _fit_observations(self, features: Trials, states: Trials) -> None:
        X, Z, complete = complete_bins(features, states)
        rng = check_random_state(self.random_state)
        all_held = held_out([len(trial) for trial in features], self.validation_fraction, rng)
        held = all_held[complete]
        n_held, least = int(held.sum()), Z.shape[1] + 2
        if min(n_held, len(X) - n_held) < least:
            raise DataError(
                f"Of {len(X)} bins, {n_held} are held out; the regression and the covariance of its errors need {least} each: give more "
                "bins or trials."
            )
        seed = int(rng.randint(2**31 - 1))
        if self._is_nonlinear():
            self._fit_dynamics(states, all_held, seed)
        self.regressor_ = make_regressor(self.regressor, Z.shape[1], seed)
        self.regressor_.fit(
            X[~held], Z[~held, 0] if Z.shape[1] == 1 and not isinstance(self.regressor, str) else Z[~held]
        )
        residuals = Z[held] - self._means(X[held])
        self.covariance_ = (NeighbouringCovariance() if self.covariance == "nw" else ConstantCovariance()).fit(
            X[held], residuals
        )
        fitted = {"mean": self.regressor_, "covariance": self.covariance_}
        self.bandwidths_ = {name: part.bandwidth_ for name, part in fitted.items() if hasattr(part, "bandwidth_")}
        self._judge(features, states, all_held)

    def _is_nonlinear(self) -> bool:
        return not (isinstance(self.dynamics, str) and self.dynamics == LINEAR)

    def _fit_dynamics(self, states: Trials, held: Bool[ndarray, " bin"], seed: int) -> None:
        """A regression of the next state, and the covariance of its errors on held-out bins."""
        later = np.cumsum([0, *map(len, states[:-1])])
        follows = np.ones(len(held), dtype=bool)
        follows[later] = False
        of_later = held[follows]
        before, after = np.concatenate([z[:-1] for z in states]), np.concatenate([z[1:] for z in states])
        if min(of_later.sum(), (~of_later).sum()) < before.shape[1] + 2:
            raise DataError(
                f"{len(before)} pairs of neighbouring bins are too few to learn how states move; give more bins or trials."
            )
        d = before.shape[1]
        self.dynamics_ = make_regressor(self.dynamics, d, seed, "dynamics")
        self.dynamics_.fit(
            before[~of_later],
            after[~of_later, 0] if d == 1 and not isinstance(self.dynamics, str) else after[~of_later],
        )
        self.dynamics_cov_ = average_covariance(after[of_later] - self._moved(before[of_later]))

    def _moved(self, states: ndarray) -> ndarray:
        return np.asarray(self.dynamics_.predict(states), dtype=float).reshape(len(states), -1)

    def _ahead(self, mean: ndarray, covariance: ndarray) -> tuple[ndarray, ndarray]:
        if not self._is_nonlinear():
            return super()._ahead(mean, covariance)
        return predict_unscented(mean, covariance, self._moved, self.dynamics_cov_)

    def _judge(self, features: Trials, states: Trials, held: Bool[ndarray, " bin"]) -> None:
        """Count where the guard acts, and warn if filtering makes the held-out stretches clearly worse."""
        ends = np.cumsum([len(trial) for trial in features])
        pieces: list[tuple[ndarray, ndarray]] = []
        for x, z, end in zip(features, states, ends, strict=True):
            edges = np.flatnonzero(np.diff(held[end - len(x) : end].astype(int), prepend=0, append=0))
            pieces += [(x[a:b], z[a:b]) for a, b in edges.reshape(-1, 2)]
        X, Z = [x for x, _ in pieces], np.concatenate([z for _, z in pieces])
        inverse = np.linalg.inv(np.linalg.cholesky(self.state_cov_))
        seen = ~np.isnan(np.concatenate(X)).any(axis=1)
        observed = np.concatenate(X)[seen]
        excess = np.linalg.eigvalsh(inverse @ self.covariance_.predict(observed) @ inverse.T)[:, -1]
        self.n_clipped_ = int((excess > 1).sum())
        Z, alone = Z[seen], self._means(observed)
        self.correction_ = self.correction
        if self.correction == BEST:
            errors = {}
            for self.correction_ in CORRECTIONS:
                errors[self.correction_] = float(np.mean((np.concatenate(self._filter(X)[0])[seen] - Z) ** 2))
            self.correction_ = min(errors, key=lambda name: errors[name])
        filtered = np.concatenate(self._filter(X)[0])[seen]
        self.held_out_errors_ = {
            name: float(np.sqrt(np.mean((means - Z) ** 2)))
            for name, means in (("filtered", filtered), ("regression", alone))
        }
        if self.held_out_errors_["filtered"] > WORSE * self.held_out_errors_["regression"]:
            warnings.warn(
                f"Filtering makes the error on held-out bins larger, {self.held_out_errors_['filtered']:.3g} instead of "
                f"{self.held_out_errors_['regression']:.3g} of the regression by itself, which was less certain than the prior at "
                f"{self.n_clipped_} of {len(Z)} bins; give more data, or try correction='best'.",
                stacklevel=5,
            )

    def predict_unfiltered(self, X: Any, groups: Any = None) -> ndarray:
        """The regression by itself, without the past: the baseline that filtering has to beat.

        Returns
        -------
        ndarray of shape (n_times, d), or (n_times,) if fitted so
            All trials end to end; the mean state in the first `lag` bins of a trial, and where a bin is missing.
        """
        means = np.concatenate([self._regressed(trial)[0] for trial in self._lagged(self._recorded(X), groups)])
        return self._in_their_unit(np.nan_to_num(means))

    def _filter(self, features: Trials, initial: Any = None) -> tuple[Trials, Trials]:
        regressed = [self._regressed(trial) for trial in features]
        if self._is_nonlinear():
            moved = nonlinear_discriminative_filter(
                [f for f, _ in regressed], [Q for _, Q in regressed], self._moved, self.dynamics_cov_, self.state_cov_,
                self.correction_, initial=initial,
            )  # fmt: skip
            return moved.means, moved.covariances
        found = discriminative_kalman_filter(
            [f for f, _ in regressed], [Q for _, Q in regressed], self.transition_, self.transition_cov_, self.state_cov_,
            self.correction_, initial=initial,
        )  # fmt: skip
        return found.means, found.covariances

    def _regressed(self, trial: ndarray) -> tuple[ndarray, ndarray]:
        """f and Q of every bin; f is NaN where nothing was observed."""
        d = len(self.state_mean_)
        seen = ~np.isnan(trial).any(axis=1)
        f, Q = np.full((len(trial), d), np.nan), np.tile(self.state_cov_, (len(trial), 1, 1))
        if seen.any():
            f[seen], Q[seen] = self._means(trial[seen]), self.covariance_.predict(trial[seen])
        return f, Q

    def _means(self, X: ndarray) -> ndarray:
        return np.asarray(self.regressor_.predict(X), dtype=float).reshape(len(X), -1)
