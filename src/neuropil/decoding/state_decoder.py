"""Decoders of a state that moves on: time series in, filtered means and covariances out, in a batch or bin by bin.

What they share: trials, at whose starts the filter starts anew; a lag between activity and state; linear dynamics fitted within trials;
bins that are missing; recordings in place of arrays; prediction, online steps and scores. A decoder adds how an observation is learned and
filtered. The Kalman filter is the baseline of all of them.

Wu, Gao, Bienenstock, Donoghue & Black (2006). Bayesian population decoding of motor cortical activity using a Kalman filter. Neural
Computation 18(1), 80-118.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from sklearn.utils.validation import check_is_fitted

from neuropil.decoding.state_blocks import (
    Trials,
    check_same_trials,
    check_states,
    complete_bins,
    is_list,
    read_trials,
)
from neuropil.decoding.state_recordings import is_recorded, on_units, state_trials
from neuropil.errors import DataError, UsageError
from neuropil.estimators import Regressor
from neuropil.stats import kalman


class FilterState(NamedTuple):
    """What a decoder carries from one bin to the next.

    Attributes
    ----------
    mean : ndarray of shape (d,)
        Of the state given all bins so far, in its own unit.
    covariance : ndarray of shape (d, d)
    recent : ndarray of shape (n_recent, n_features)
        Bins that count for later states, too.
    """

    mean: Float[ndarray, " state"]
    covariance: Float[ndarray, "state state"]
    recent: Float[ndarray, "recent feature"]


class StateDecoder(Regressor):
    """Base of decoders of states from time series; a subclass fills in `_fit_observations` and `_filter`.

    Attributes
    ----------
    transition_, transition_cov_, state_cov_ : ndarray of shape (d, d)
        z_t = A z_t-1 + N(0, G) of states around their mean, whose covariance is S.
    state_mean_ : ndarray of shape (d,)
    features_ : ndarray of int
        Columns of X that vary in the training data; the others say nothing.
    unit_names_, sfreq_ : tuple of str, float
        Of recordings that it was fitted on, their units and bins a second.
    """

    _table = True
    _n_earlier = 0  # bins before the present one that an observation consists of, too
    lag: int
    stationary: bool

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.allow_nan = True
        return tags

    def _read(self, X: Any, *, fitting: bool) -> ndarray:
        from sklearn.utils.validation import validate_data

        return validate_data(self, X, reset=fitting, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")

    def _fit_observations(self, features: Trials, states: Trials) -> None:
        """Learn from trials of features, NaN where they are missing, and of the centred states that belong to them."""
        raise NotImplementedError(f"{type(self).__name__} must define _fit_observations(features, states).")

    def _filter(self, features: Trials, initial: Any = None) -> tuple[Trials, Trials]:
        """Means and covariances of centred states; rows of NaN were not observed, `initial` as in `discriminative_kalman_filter`."""
        raise NotImplementedError(f"{type(self).__name__} must define _filter(features, initial).")

    def fit(self, X: Any, Z: Any = None, groups: Any = None) -> StateDecoder:
        """Fit dynamics and observations.

        Parameters
        ----------
        X : array-like of shape (n_times, n_features), or list of ndarray of shape (n_times_i, n_features), or Recording or list of them
            Activity, one row a bin, in the order of time; a list has one array a trial. NaN stands for what is missing. Of recordings,
            spikes are counted in bins of 0.1 s and trials are those of their events; `state_trials` reads them in other ways.
        Z : array-like of shape (n_times, d) or (n_times,), or list of ndarray, or str
            States of the same bins; of recordings the name of a stream, "state" or "velocity" without.
        groups : array-like of shape (n_times,), optional
            Trial of every bin; one trial without.
        """
        self.unit_names_, self.sfreq_ = None, None
        if is_recorded(X):
            if groups is not None or not (Z is None or isinstance(Z, str)):
                raise UsageError(
                    "Recordings bring their states and trials: give the name of a stream as Z, or nothing, and no groups."
                )
            read = state_trials(X, state=Z)
            X, Z, self.unit_names_, self.sfreq_ = read.features, read.states, read.names, read.sfreq
        if not isinstance(self.lag, int | np.integer) or self.lag < 0:
            raise UsageError(f"lag must be a whole number of bins, 0 or more, got {self.lag!r}.")
        if Z is None:
            raise DataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; give the states of the bins as Z."
            )
        listed = is_list(X)
        if listed != is_list(Z):
            raise DataError("X and Z must both be lists with one array a trial, or both be arrays.")
        if listed:
            check_same_trials(X, Z)
        values, bounds = read_trials(X, groups)
        states = np.concatenate(Z) if listed else np.asarray(Z)
        if len(values) == len(states) == 1:
            raise DataError("A single bin (n_samples=1) has no dynamics; give a time series.")
        check_states(states, len(values))
        array, states, _ = self._fit_data(X if hasattr(X, "columns") else values, states)
        self.single_state_ = states.ndim == 1
        states = states.reshape(len(states), -1)
        moving = np.ptp(states, axis=0) > 0
        if not moving.all():
            raise DataError(
                f"Column {np.flatnonzero(~moving)[0]} of Z is constant: there is nothing to decode; leave it out."
            )
        there = ~np.isnan(array)
        varying = np.where(there, array, -np.inf).max(axis=0) > np.where(there, array, np.inf).min(axis=0)
        if not varying.any():
            raise DataError("All columns of X are constant: they say nothing of the states.")
        if not varying.all():
            named = [self.unit_names_[k] if self.unit_names_ else str(k) for k in np.flatnonzero(~varying)]
            warnings.warn(
                f"{len(named)} of {len(varying)} columns of X are constant and are left out: {', '.join(named[:5])}"
                + (" ..." if len(named) > 5 else "."),
                stacklevel=2,
            )
        self.features_ = np.flatnonzero(varying)
        self.state_mean_ = states.mean(axis=0)
        centred = [states[a:b] - self.state_mean_ for a, b in bounds]
        self.transition_, self.transition_cov_, self.state_cov_ = linear_dynamics(centred, stationary=self.stationary)
        features = np.asarray(array[:, self.features_], dtype=float)
        kept = [k for k, (a, b) in enumerate(bounds) if b - a > self.lag]
        if not kept:
            raise DataError(f"No trial is longer than the lag of {self.lag} bins.")
        self._fit_observations(
            [features[bounds[k][0] : bounds[k][1] - self.lag] for k in kept], [centred[k][self.lag :] for k in kept]
        )
        return self

    def predict(self, X: Any, groups: Any = None, return_cov: bool = False) -> Any:
        """States given the past: of a bin, all bins up to it in its trial.

        Parameters
        ----------
        X : array-like of shape (n_times, n_features), or list of ndarray of shape (n_times_i, n_features), or Recording or list of them
            A bin with NaN was not observed.
        groups : array-like of shape (n_times,), optional
            Trial of every bin; one trial without.
        return_cov : bool, default False

        Returns
        -------
        mean : ndarray of shape (n_times, d), or (n_times,) if fitted so; a list with one array a trial if X is one, or recorded
        cov : ndarray of shape (n_times, d, d), or list of ndarray; only if `return_cov`
        """
        X = self._recorded(X)
        means, covariances = self._filter(self._lagged(X, groups))
        means = [self._in_their_unit(mean) for mean in means]
        if not is_list(X):
            return (np.concatenate(means), np.concatenate(covariances)) if return_cov else np.concatenate(means)
        return (means, covariances) if return_cov else means

    def filter_step(self, x: Any, state: FilterState | None = None) -> FilterState:
        """One bin online, equal to what `predict` says of it.

        Parameters
        ----------
        x : array-like of shape (n_features,)
        state : FilterState, optional
            What the step before returned; without, a trial starts.
        """
        check_is_fitted(self)
        row = np.asarray(x, dtype=float)
        if row.shape != (self.n_features_in_,) or np.isinf(row).any():
            raise DataError(
                f"A bin must be {self.n_features_in_} finite numbers, or NaN where they are missing, got an array of shape {row.shape}."
            )
        row = row[self.features_]
        earlier = state.recent if state is not None else np.empty((0, len(row)))
        recent = np.concatenate([earlier, row[None]])
        observed = recent[: len(recent) - self.lag] if len(recent) > self.lag else np.full((1, len(row)), np.nan)
        initial = None
        if state is not None:
            initial = self._ahead(state.mean - self.state_mean_, state.covariance)
        (mean,), (covariance,) = self._filter([observed], initial)
        kept = self.lag + self._n_earlier
        return FilterState(mean[-1] + self.state_mean_, covariance[-1], recent[max(0, len(recent) - kept) :])

    def _ahead(self, mean: ndarray, covariance: ndarray) -> tuple[ndarray, ndarray]:
        """Mean and covariance of the next centred state."""
        return kalman.predict(mean, covariance, self.transition_, self.transition_cov_)

    def _recorded(self, X: Any, with_states: bool = False, state: str | None = None) -> Any:
        """Trials of recordings, as at fit; anything else as it is."""
        if not is_recorded(X):
            return X
        check_is_fitted(self)
        read = state_trials(X, state=state, with_states=with_states)
        features = read.features
        if self.unit_names_ is not None and self.sfreq_ is not None:
            if not np.isclose(read.sfreq, self.sfreq_):
                raise DataError(
                    f"The decoder was fitted on {self.sfreq_:g} bins a second, the recording has {read.sfreq:g}; bin it alike."
                )
            features = on_units(features, read.names, self.unit_names_)
        return (features, read.states) if with_states else features

    def score(self, X: Any, Z: Any = None, groups: Any = None) -> float:
        """R² of the filtered means, averaged over states."""
        from sklearn.metrics import r2_score

        if is_recorded(X):
            X, Z = self._recorded(X, with_states=True, state=Z)
        predicted = self.predict(X, groups)
        if is_list(X):
            check_same_trials(X, Z)
            Z, predicted = np.concatenate(Z), np.concatenate(predicted)
        check_states(np.asarray(Z), len(predicted))
        return float(r2_score(Z, predicted))

    def _lagged(self, X: Any, groups: Any) -> Trials:
        """Trials of the features that belong to every bin; NaN in the first ones of a trial, to which none belong."""
        check_is_fitted(self)
        values, bounds = read_trials(X, groups)
        features = np.asarray(
            self._predict_data(X if hasattr(X, "columns") else values)[:, self.features_], dtype=float
        )
        trials = []
        for a, b in bounds:
            shifted = np.full((b - a, features.shape[1]), np.nan)
            shifted[self.lag :] = features[a : max(a, b - self.lag)]
            trials.append(shifted)
        return trials

    def _in_their_unit(self, mean: ndarray) -> ndarray:
        mean = mean + self.state_mean_
        return mean[:, 0] if self.single_state_ else mean


class KalmanFilterDecoder(StateDecoder):
    """The Kalman filter: features are a linear function of the state with Gaussian noise, all fitted by least squares.

    Parameters
    ----------
    lag : int, default 0
        Bins by which activity precedes the state that it tells of.
    stationary : bool, default False
        Take the covariance of the states from the dynamics instead of the sample.

    Attributes
    ----------
    observation_, observation_mean_, observation_cov_ : ndarray of shape (n_features, d), (n_features,), (n_features, n_features)
        x_t = C z_t-lag + c + N(0, R) of features that vary. R has a millionth of its mean variance added to its diagonal, so that
        features that are sums of others do no harm.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Z = np.cumsum(rng.normal(size=(500, 2)), axis=0) * 0.1
    >>> X = Z @ rng.normal(size=(2, 6)) + rng.normal(size=(500, 6))
    >>> KalmanFilterDecoder().fit(X[:400], Z[:400]).predict(X[400:]).shape
    (100, 2)
    """

    def __init__(self, lag: Any = 0, stationary: Any = False) -> None:
        self.lag = lag
        self.stationary = stationary

    def _fit_observations(self, features: Trials, states: Trials) -> None:
        X, Z, _ = complete_bins(features, states)
        if len(X) <= Z.shape[1] + 1:
            raise DataError(f"{len(X)} bins are too few to fit {Z.shape[1]} states; give more.")
        design = np.column_stack([Z, np.ones(len(Z))])
        weights = np.linalg.lstsq(design, X, rcond=None)[0]
        residuals = X - design @ weights
        self.observation_, self.observation_mean_ = weights[:-1].T, weights[-1]
        covariance = residuals.T @ residuals / len(residuals)
        floor = max(1e-6 * float(np.trace(covariance)) / len(covariance), 1e-12 * float(X.var(axis=0).mean()))
        self.observation_cov_ = covariance + floor * np.eye(len(covariance))

    def _filter(self, features: Trials, initial: Any = None) -> tuple[Trials, Trials]:
        mean, covariance = (np.zeros(len(self.state_mean_)), self.state_cov_) if initial is None else initial
        model = kalman.LinearGaussian(
            mean, covariance, self.transition_, self.transition_cov_, self.observation_, self.observation_cov_
        )
        found = kalman.filter(model, [trial - self.observation_mean_ for trial in features])
        return found.means, found.covariances


def linear_dynamics(
    trials: Sequence[Float[ndarray, "_ state"]], *, stationary: bool = False
) -> tuple[Float[ndarray, "state state"], Float[ndarray, "state state"], Float[ndarray, "state state"]]:
    """Transition, covariance of its noise and covariance of the states, by least squares over neighbours within trials.

    Parameters
    ----------
    trials : sequence of ndarray of shape (n_times_i, d)
        States around their mean.
    stationary : bool
        Whether S solves S = A S A' + G; otherwise it is that of the sample.

    Examples
    --------
    >>> A, G, S = linear_dynamics([np.array([[1.0], [0.5], [0.25], [0.125]])])
    >>> A.round(12).tolist(), G.round(12).tolist()
    ([[0.5]], [[0.0]])
    """
    everything = np.concatenate(trials)
    d = everything.shape[1]
    before, after = np.concatenate([z[:-1] for z in trials]), np.concatenate([z[1:] for z in trials])
    if len(before) <= d:
        raise DataError(
            f"Dynamics of {d} states need more than {d} pairs of neighbouring bins within trials, got {len(before)}."
        )
    covariance = everything.T @ everything / len(everything)
    deviation = np.sqrt(np.diag(covariance))
    if np.linalg.eigvalsh(covariance / np.outer(deviation, deviation))[0] < 1e-10:
        raise DataError("A column of Z is a sum of the others: leave it out and compute it afterwards.")
    transition = np.linalg.lstsq(before, after, rcond=None)[0].T
    residuals = after - before @ transition.T
    noise = residuals.T @ residuals / len(residuals)
    return transition, noise, kalman.stationary_covariance(transition, noise) if stationary else covariance
