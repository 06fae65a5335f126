r"""Extended and unscented Kalman filters of states: the generative way to decode from nonlinear channels.

Where the discriminative Kalman filter learns the state from the activity, these learn the activity from the state,
:math:`x_t = h(z_t) + \text{noise}`, and put a line in its place around what is predicted: the tangent (extended), or the regression line
through points around it (unscented). They are the baselines that the discriminative filter's authors compare with, there with a network of
ten hidden units for h; for counts, h may be the rate of a Poisson process here.

Burkhart, Brandman, Franco, Hochberg & Harrison (2020). The discriminative Kalman filter for Bayesian filtering with nonlinear and
nongaussian observation models. Neural Computation 32(5), 969-1017. Brown, Frank, Tang, Quirk & Wilson (1998). A statistical paradigm for
neural spike train decoding. Journal of Neuroscience 18(18). Li, O'Doherty, Hanson, Lebedev, Henriquez & Nicolelis (2009). Unscented
Kalman filter for brain-machine interfaces. PLoS ONE 4(7).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from neuropil.decoding.state_blocks import held_out
from neuropil.decoding.state_decoder import StateDecoder, Trials, complete_bins
from neuropil.decoding.state_observations import make_observation
from neuropil.errors import DataError, UsageError
from neuropil.stats.kalman_nonlinear import NonlinearGaussian, extended_filter, unscented_filter


class _NonlinearKalmanDecoder(StateDecoder):
    _run: Callable[..., Any]

    def __init__(
        self,
        observation: Any = "network",
        n_units: Any = 10,
        lag: Any = 0,
        validation_fraction: Any = 0.3,
        stationary: Any = False,
        random_state: Any = None,
    ) -> None:
        self.observation = observation
        self.n_units = n_units
        self.lag = lag
        self.validation_fraction = validation_fraction
        self.stationary = stationary
        self.random_state = random_state

    def _fit_observations(self, features: Trials, states: Trials) -> None:
        if not 0 < self.validation_fraction < 1:
            raise UsageError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}.")
        X, Z, complete = complete_bins(features, states)
        rng = check_random_state(self.random_state)
        held = held_out([len(trial) for trial in features], self.validation_fraction, rng)[complete]
        least = Z.shape[1] + 5
        if min(held.sum(), (~held).sum()) < least:
            raise DataError(
                f"Of {len(X)} bins, {held.sum()} are held out; the observation and its noise need {least} each: give more bins or trials."
            )
        made = make_observation(self.observation, self.n_units, int(rng.randint(2**31 - 1)))
        self.observation_ = made.fit(Z, X, held)

    def _filter(self, features: Trials, initial: Any = None) -> tuple[Trials, Trials]:
        mean, covariance = (np.zeros(len(self.state_mean_)), self.state_cov_) if initial is None else initial
        model = NonlinearGaussian(
            mean, covariance, self.transition_, self.transition_cov_, self.observation_.expected, self.observation_.noise,
            observe_slope=self.observation_.slope,
        )  # fmt: skip
        found = type(self)._run(model, features)
        return found.means, found.covariances


class ExtendedKalmanDecoder(_NonlinearKalmanDecoder):
    """The extended Kalman filter with a learned observation.

    Parameters
    ----------
    observation : {"network", "poisson"}
        Activity as a small network of the state with Gaussian noise; or counts whose rate's logarithm is a quadratic function of it.
    n_units : int, default 10
        Hidden units of the network.
    lag : int, default 0
        Bins by which activity precedes the state that it tells of.
    validation_fraction : float, default 0.3
        Part of the training data, in blocks of time or whole trials, that the noise (or, for counts, the penalty) comes from.
    stationary : bool, default False
        Take the covariance of the states from the dynamics instead of the sample.
    random_state : int, RandomState or None
        Of the choice of blocks, and of the network.

    Attributes
    ----------
    observation_ : estimator
        With `expected(states)`, `slope(states)` and `noise`, for states around their mean.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Z = np.sin(np.arange(600) / np.array([[15.0], [22.0]])).T
    >>> X = rng.poisson(np.exp(Z @ rng.normal(size=(2, 8))))
    >>> ExtendedKalmanDecoder("poisson", random_state=0).fit(X[:450], Z[:450]).predict(X[450:]).shape
    (150, 2)
    """

    _run = staticmethod(extended_filter)


class UnscentedKalmanDecoder(_NonlinearKalmanDecoder):
    """The unscented Kalman filter with a learned observation; parameters and attributes as of `ExtendedKalmanDecoder`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Z = np.sin(np.arange(600) / np.array([[15.0], [22.0]])).T
    >>> X = rng.poisson(np.exp(Z @ rng.normal(size=(2, 8))))
    >>> UnscentedKalmanDecoder("poisson", random_state=0).fit(X[:450], Z[:450]).predict(X[450:]).shape
    (150, 2)
    """

    _run = staticmethod(unscented_filter)
