r"""Spike trains of populations whose couplings switch with a hidden state.

A chain of S states stays where it is with probability `stay`, else jumps to any other. In state s, neuron i fires

.. math:: x_{t,i} \sim \text{Poisson}\Big(\sigma\big(b_i + \textstyle\sum_j W_{s,ij} \sum_k \phi_k x_{t-k,j}\big)\Big),
          \qquad W_s = (a_s^{exc} - a_s^{inh}) \odot w_s ,

with exponentially decaying history :math:`\phi_k \propto e^{-k}` and strengths :math:`w = \log(1 + 3u)`, u uniform. Every connection is
inhibitory, absent or excitatory; which, is drawn in every state from probabilities that all states share. `simulate_planted` instead makes
some connections the same in all states and others present in one state only, so that one can ask for the constant ones.

Li, Kim, Rodgers, Choi & Wu (2024). One-hot generalized linear model for switching brain state discovery. ICLR.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.stats import chains
from neuropil.stats.bases import exponential_basis
from neuropil.stats.spike_trains import sample_spike_trains
from neuropil.streams import regular_stream


class SwitchingPopulation(NamedTuple):
    """Counts, and the truth behind them.

    Attributes
    ----------
    counts : ndarray of int, shape (n_sequences, n_times, n_neurons)
        Spikes a bin.
    states : ndarray of int, shape (n_sequences, n_times)
    rates : ndarray of shape (n_sequences, n_times, n_neurons)
        Expected spikes a bin, given what was fired before.
    weights : ndarray of shape (n_states, n_neurons, n_neurons)
        ``W[state, post, pre]``.
    adjacency : ndarray of int, shape (n_states, n_neurons, n_neurons)
        -1 inhibitory, 0 absent, 1 excitatory.
    prior : ndarray of shape (n_neurons, n_neurons, 3)
        Probabilities of inhibitory, absent, excitatory that all states share.
    bias : ndarray of shape (n_neurons,)
    transition : ndarray of shape (n_states, n_states)
    basis : ndarray of shape (n_lags, 1)
    link : str
    constant, single : ndarray of bool, shape (n_neurons, n_neurons)
        Connections planted alike in all states, and in one state only; none where nothing was planted.
    """

    counts: Int[ndarray, "sequence time neuron"]
    states: Int[ndarray, "sequence time"]
    rates: Float[ndarray, "sequence time neuron"]
    weights: Float[ndarray, "state neuron neuron"]
    adjacency: Int[ndarray, "state neuron neuron"]
    prior: Float[ndarray, "neuron neuron 3"]
    bias: Float[ndarray, " neuron"]
    transition: Float[ndarray, "state state"]
    basis: Float[ndarray, "lag 1"]
    link: str
    constant: Bool[ndarray, "neuron neuron"]
    single: Bool[ndarray, "neuron neuron"]

    def recording(self, bin_width: float = 0.02) -> Recording:
        """A recording with the streams "spikes" (counts a bin) and "state", its sequences as trials; `bin_width` in s."""
        if not bin_width > 0:
            raise UsageError(f"bin_width must be a positive number of seconds, got {bin_width}.")
        n_sequences, n_times, n_neurons = self.counts.shape
        trials = pd.DataFrame(
            {
                "onset": np.arange(n_sequences) * n_times * bin_width,
                "duration": np.full(n_sequences, n_times * bin_width),
                "label": "trial",
                "trial": np.arange(n_sequences),
            }
        )
        return Recording(
            {
                "spikes": regular_stream(
                    self.counts.reshape(-1, n_neurons),
                    1 / bin_width,
                    kind="misc",
                    unit="count",
                    modality="spikes",
                    channels=[f"unit{k:03d}" for k in range(n_neurons)],
                ),
                "state": regular_stream(
                    self.states.reshape(-1, 1), 1 / bin_width, kind="misc", unit="", modality="behaviour"
                ),
            },
            events=trials,
        )


def switching_transition(n_states: int, stay: float = 0.98) -> Float[ndarray, "state state"]:
    """Transitions of a chain that stays with probability `stay` and else jumps to any other state.

    Examples
    --------
    >>> switching_transition(3).round(2).tolist()[0]
    [0.98, 0.01, 0.01]
    """
    if n_states < 1 or not 0 <= stay <= 1:
        raise UsageError(f"Expected one state or more and stay within [0, 1], got {n_states} and {stay}.")
    if n_states == 1:
        return np.ones((1, 1))
    return np.where(np.eye(n_states, dtype=bool), stay, (1 - stay) / (n_states - 1))


def simulate_switching(
    n_sequences: int = 10,
    n_times: int = 500,
    n_neurons: int = 12,
    n_states: int = 4,
    *,
    density: float = 0.2,
    excitation: float = 0.5,
    stay: float = 0.98,
    n_lags: int = 5,
    link: str = "logistic",
    random_state: int | Generator | None = None,
) -> SwitchingPopulation:
    """Counts of a population whose connections change class and strength with the state, around probabilities that all states share.

    Parameters
    ----------
    n_sequences, n_times, n_neurons, n_states : int
    density : float, default 0.2
        Expected part of the connections that are not absent.
    excitation : float, default 0.5
        Part of those that are excitatory.
    stay : float, default 0.98
        Probability of staying in a state for another bin.
    n_lags : int, default 5
        Bins of history.
    link : {'logistic', 'softplus', 'exp'}, default 'logistic'
    random_state : int, Generator or None

    Examples
    --------
    >>> population = simulate_switching(2, 100, random_state=0)
    >>> population.counts.shape, population.weights.shape
    ((2, 100, 12), (4, 12, 12))
    """
    if not (0 < density < 1 and 0 < excitation < 1):
        raise UsageError(f"density and excitation must lie between 0 and 1, got {density} and {excitation}.")
    rng, transition = default_rng(random_state), switching_transition(n_states, stay)
    shares = np.array([density * (1 - excitation), 1 - density, density * excitation])
    prior = rng.dirichlet(2 * shares, size=(_at_least_one(n_neurons), n_neurons))
    adjacency = (np.log(np.maximum(prior, 1e-300)) + rng.gumbel(size=(n_states, *prior.shape))).argmax(axis=-1) - 1
    nothing = np.zeros((n_neurons, n_neurons), dtype=bool)
    weights = adjacency * _strengths(rng, adjacency.shape)
    return _drawn(rng, weights, adjacency, prior, transition, n_sequences, n_times, n_lags, link, nothing, nothing)


def simulate_planted(
    n_sequences: int = 10,
    n_times: int = 500,
    n_neurons: int = 12,
    n_states: int = 4,
    *,
    constant: float = 0.2,
    single: float = 0.2,
    stay: float = 0.98,
    n_lags: int = 5,
    link: str = "logistic",
    random_state: int | Generator | None = None,
) -> SwitchingPopulation:
    """The same with connections that are alike in all states, others that are there in one state only, and the rest absent.

    Parameters
    ----------
    n_sequences, n_times, n_neurons, n_states : int
    constant, single : float, default 0.2
        Parts of the connections.
    stay, n_lags, link
        As for `simulate_switching`.
    random_state : int, Generator or None

    Examples
    --------
    >>> population = simulate_planted(1, 50, random_state=0)
    >>> int(population.constant.sum()), int(population.single.sum())
    (29, 29)
    """
    if constant < 0 or single < 0 or constant + single > 1:
        raise UsageError(f"constant and single are parts of the connections, got {constant} and {single}.")
    rng, transition = default_rng(random_state), switching_transition(n_states, stay)
    n_pairs = _at_least_one(n_neurons) ** 2
    order, n_constant, n_single = rng.permutation(n_pairs), round(constant * n_pairs), round(single * n_pairs)
    kind = np.zeros(n_pairs, dtype=np.int64)
    kind[order[:n_constant]], kind[order[n_constant : n_constant + n_single]] = 1, 2
    signs = rng.choice([-1, 1], n_pairs)
    home = rng.integers(n_states, size=n_pairs)
    present = (kind == 1) | ((kind == 2) & (home == np.arange(n_states)[:, None]))
    adjacency = np.where(present, signs, 0).reshape(n_states, n_neurons, n_neurons)
    shared, own = _strengths(rng, n_pairs), _strengths(rng, (n_states, n_pairs))
    weights = adjacency * np.where(kind == 1, shared, own).reshape(adjacency.shape)
    prior = np.stack([(adjacency == c).mean(axis=0) for c in (-1, 0, 1)], axis=-1)
    planted = [(kind == k).reshape(n_neurons, n_neurons) for k in (1, 2)]
    return _drawn(rng, weights, adjacency, prior, transition, n_sequences, n_times, n_lags, link, *planted)


def _strengths(rng: Generator, shape: int | tuple[int, ...]) -> ndarray:
    return np.log1p(3 * rng.random(shape))


def _drawn(
    rng: Generator,
    weights: ndarray,
    adjacency: ndarray,
    prior: ndarray,
    transition: ndarray,
    n_sequences: int,
    n_times: int,
    n_lags: int,
    link: str,
    constant: ndarray,
    single: ndarray,
) -> SwitchingPopulation:
    n_states, n_neurons = weights.shape[:2]
    bias = 0.1 * (rng.random((n_neurons,)) - 0.5)
    basis = exponential_basis(n_lags)
    states = chains.simulate(np.full(n_states, 1 / n_states), transition, n_sequences, n_times, rng)
    counts, rates = sample_spike_trains(
        weights, np.tile(bias, (n_states, 1)), basis, states, link=link, random_state=rng
    )
    return SwitchingPopulation(
        counts, states, rates, weights, adjacency, prior, bias, transition, basis, link, constant, single
    )


def _at_least_one(n_neurons: int) -> int:
    if n_neurons < 1:
        raise UsageError(f"A population needs one neuron or more, got {n_neurons}.")
    return n_neurons
