r"""Spike counts of simulated populations: place fields, or directions tuned like a cosine, of a state that moves at random.

The state turns and decays, z_t = r R(angle) z_t-1 + noise, with the identity as its stationary covariance; a place, or the velocity of a
hand. Every neuron fires Poisson counts in every bin, independently given the state:

.. math::
   \text{place fields:} \quad & \lambda_i(z) = a \exp(-\|z - c_i\|^2 / 2 w^2) + b \\
   \text{cosine tuning:} \quad & \lambda_i(z) = \exp(b_i + m \min(\|z\|, s) \cos(\angle z - \theta_i))

Georgopoulos, Kalaska, Caminiti & Massey (1982). On the relations between the direction of two-dimensional arm movements and cell discharge
in primate motor cortex. Journal of Neuroscience 2(11). Moran & Schwartz (1999). Motor cortical representation of speed and direction during
reaching. Journal of Neurophysiology 82(5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.stats import kalman
from neuropil.streams import regular_stream


class Population(NamedTuple):
    """Counts of a population, and the truth behind them.

    Attributes
    ----------
    counts : ndarray of int, shape (n_times, n_neurons)
        Spikes a bin.
    states : ndarray of shape (n_times, 2)
    rates : ndarray of shape (n_times, n_neurons)
        Expected spikes a bin.
    tuning : ndarray of shape (n_neurons, 2)
        Centres of place fields, or the unit vectors of preferred directions.
    transition : ndarray of shape (2, 2)
        Of the states, whose stationary covariance is the identity.
    """

    counts: Int[ndarray, "time neuron"]
    states: Float[ndarray, "time 2"]
    rates: Float[ndarray, "time neuron"]
    tuning: Float[ndarray, "neuron 2"]
    transition: Float[ndarray, "2 2"]

    def recording(self, bin_width: float = 0.1) -> Recording:
        """A recording with the streams "spikes" (counts a bin) and "state"; `bin_width` in s."""
        if not bin_width > 0:
            raise UsageError(f"bin_width must be a positive number of seconds, got {bin_width}.")
        return Recording(
            {
                "spikes": regular_stream(self.counts, 1 / bin_width, kind="misc", unit="count", modality="spikes"),
                "state": regular_stream(self.states, 1 / bin_width, kind="misc", unit="", modality="behaviour"),
            }
        )


def turning_states(
    n_times: int, *, decay: float = 0.95, angle: float = 5.0, random_state: int | Generator | None = None
) -> tuple[Float[ndarray, "time 2"], Float[ndarray, "2 2"]]:
    """A stationary path in the plane, of unit variance, and its transition matrix.

    Parameters
    ----------
    n_times : int
    decay : float, default 0.95
        Part of the state that is left after a step; below 1.
    angle : float, default 5.0
        Turn a step, in degrees.
    random_state : int, Generator or None

    Examples
    --------
    >>> states, transition = turning_states(1000, angle=90.0, random_state=0)
    >>> states.shape, transition.round(2).tolist()
    ((1000, 2), [[0.0, -0.95], [0.95, 0.0]])
    """
    if n_times < 1 or not 0 <= decay < 1:
        raise UsageError(f"A path needs one step or more and a decay in [0, 1), got {n_times} and {decay}.")
    turn = np.radians(angle)
    transition = decay * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    noise = (1 - decay**2) * np.eye(2)
    model = kalman.LinearGaussian(np.zeros(2), np.eye(2), transition, noise, np.zeros((1, 2)), np.eye(1))
    return kalman.simulate(model, 1, n_times, random_state).states[0], transition


def place_field_rates(
    states: Float[ndarray, "time 2"],
    centres: Float[ndarray, "neuron 2"],
    *,
    width: float = 0.6,
    peak: float = 1.0,
    baseline: float = 0.05,
) -> Float[ndarray, "time neuron"]:
    """Expected spikes a bin of Gaussian fields around `centres`.

    Examples
    --------
    >>> place_field_rates(np.zeros((1, 2)), np.zeros((1, 2))).tolist()
    [[1.05]]
    """
    if width <= 0 or peak < 0 or baseline < 0:
        raise UsageError(f"Fields need a positive width and no negative rate, got {width=}, {peak=}, {baseline=}.")
    squares = ((states[:, None] - centres) ** 2).sum(axis=2)
    return peak * np.exp(-squares / (2 * width**2)) + baseline


def cosine_rates(
    states: Float[ndarray, "time 2"],
    directions: Float[ndarray, "neuron 2"],
    log_baselines: Float[ndarray, " neuron"],
    *,
    modulation: float = 1.2,
    top_speed: float = 2.0,
) -> Float[ndarray, "time neuron"]:
    """Expected spikes a bin that grow with the speed along the unit vectors `directions`, up to a top speed.

    Examples
    --------
    >>> cosine_rates(np.array([[3.0, 0.0]]), np.eye(2), np.zeros(2), modulation=0.5).round(3).tolist()
    [[2.718, 1.0]]
    """
    if top_speed <= 0:
        raise UsageError(f"top_speed must be positive, got {top_speed}.")
    speed = np.linalg.norm(states, axis=1, keepdims=True)
    slowed = states * np.minimum(1.0, top_speed / np.maximum(speed, 1e-300))
    return np.exp(log_baselines + modulation * slowed @ directions.T)


def simulate_place_fields(
    n_times: int = 5000,
    n_neurons: int = 80,
    *,
    width: float = 0.6,
    peak: float = 1.0,
    baseline: float = 0.05,
    decay: float = 0.95,
    angle: float = 5.0,
    random_state: int | Generator | None = None,
) -> Population:
    """Counts of neurons with Gaussian place fields whose centres are spread as the states are.

    Parameters
    ----------
    n_times, n_neurons : int
    width : float, default 0.6
        Of a field, in standard deviations of the state.
    peak, baseline : float
        Expected spikes a bin in the middle of a field, over and above those outside of it.
    decay, angle : float
        Of the path (`turning_states`).
    random_state : int, Generator or None

    Examples
    --------
    >>> simulate_place_fields(100, 20, random_state=0).counts.shape
    (100, 20)
    """
    rng = default_rng(random_state)
    states, transition = turning_states(n_times, decay=decay, angle=angle, random_state=rng)
    centres = rng.standard_normal((_at_least_one(n_neurons), 2))
    rates = place_field_rates(states, centres, width=width, peak=peak, baseline=baseline)
    return Population(rng.poisson(rates), states, rates, centres, transition)


def simulate_cosine_tuning(
    n_times: int = 5000,
    n_neurons: int = 60,
    *,
    modulation: float = 1.2,
    top_speed: float = 2.0,
    baseline: float = 0.2,
    decay: float = 0.95,
    angle: float = 5.0,
    random_state: int | Generator | None = None,
) -> Population:
    """Counts of neurons tuned to direction and speed of a velocity, with preferred directions at random.

    Parameters
    ----------
    n_times, n_neurons : int
    modulation : float, default 1.2
        Change of the logarithm of a rate a unit of speed.
    top_speed : float, default 2.0
        Speed from which rates no longer change, in standard deviations of the state.
    baseline : float, default 0.2
        Spikes a bin at rest; those of single neurons vary around it by half a logarithmic unit.
    decay, angle : float
        Of the path (`turning_states`).
    random_state : int, Generator or None

    Examples
    --------
    >>> simulate_cosine_tuning(100, 20, random_state=0).rates.shape
    (100, 20)
    """
    if baseline <= 0:
        raise UsageError(f"baseline must be positive, got {baseline}.")
    rng = default_rng(random_state)
    states, transition = turning_states(n_times, decay=decay, angle=angle, random_state=rng)
    preferred = rng.uniform(0, 2 * np.pi, _at_least_one(n_neurons))
    directions = np.stack([np.cos(preferred), np.sin(preferred)], axis=1)
    log_baselines = np.log(baseline) + 0.5 * rng.standard_normal(n_neurons)
    rates = cosine_rates(states, directions, log_baselines, modulation=modulation, top_speed=top_speed)
    return Population(rng.poisson(rates), states, rates, directions, transition)


def _at_least_one(n_neurons: int) -> int:
    if n_neurons < 1:
        raise UsageError(f"A population needs one neuron or more, got {n_neurons}.")
    return n_neurons
