r"""Sequences of symbols from hidden Markov models whose structure is known: a linear chain, all states alike, a ring.

A state moves by `transition` and shows a symbol drawn from its row of `emission`. In the linear chain of M states a step to either
neighbour has probability :math:`q = \theta^{1/(M-1)}`, so that the chain is run through from one end to the other in M - 1 steps with the
same probability :math:`\theta` whatever its length, and the states grade from the first symbol to the last.

Torre, Viscione, Pompe, Grewe & Mante (2025). Mechanistic interpretability of RNNs emulating hidden Markov models. NeurIPS.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.stats import chains
from neuropil.streams import regular_stream


class SymbolSequences(NamedTuple):
    """Symbols, and the states behind them.

    Attributes
    ----------
    symbols, states : ndarray of int, shape (n_sequences, n_times)
    """

    symbols: Int[ndarray, "sequence time"]
    states: Int[ndarray, "sequence time"]

    def recording(self, bin_width: float = 0.1) -> Recording:
        """A recording with the streams "symbol" and "state", one sequence after the other, each an event "trial"; `bin_width` in s."""
        if not bin_width > 0:
            raise UsageError(f"bin_width must be a positive number of seconds, got {bin_width}.")
        n_sequences, n_times = self.symbols.shape
        duration = n_times * bin_width
        events = pd.DataFrame(
            {
                "onset": np.arange(n_sequences) * duration,
                "duration": duration,
                "label": "trial",
                "trial": np.arange(n_sequences),
            }
        )
        streams = {
            name: regular_stream(
                values.reshape(-1, 1), 1 / bin_width, channels=[name], kind="misc", unit="", modality="behaviour"
            )
            for name, values in (("symbol", self.symbols), ("state", self.states))
        }
        return Recording(streams, events)


class SymbolModel(NamedTuple):
    """A hidden Markov model that shows symbols.

    Attributes
    ----------
    initial : ndarray of shape (n_states,)
    transition : ndarray of shape (n_states, n_states)
        ``transition[i, j]`` is the probability of state j after i.
    emission : ndarray of shape (n_states, n_symbols)
        Probability of every symbol in a state.
    """

    initial: Float[ndarray, " state"]
    transition: Float[ndarray, "state state"]
    emission: Float[ndarray, "state symbol"]

    def simulate(self, n_sequences: int, n_times: int, random_state: int | Generator | None = None) -> SymbolSequences:
        """Draw sequences of symbols and their states.

        Examples
        --------
        >>> linear_chain(2).simulate(3, 40, random_state=0).symbols.shape
        (3, 40)
        """
        rng = default_rng(random_state)
        states = chains.simulate(self.initial, self.transition, n_sequences, n_times, rng)
        levels = np.cumsum(self.emission, axis=1)
        levels[:, -1] = 2.0
        symbols = (rng.random(states.shape)[..., None] >= levels[states]).sum(axis=-1)
        return SymbolSequences(symbols, states)

    def symbol_frequencies(self) -> Float[ndarray, " symbol"]:
        """Probability of every symbol in the long run.

        Examples
        --------
        >>> linear_chain(2).symbol_frequencies().round(3).tolist()
        [0.495, 0.01, 0.495]
        """
        return chains.stationary_distribution(self.transition) @ self.emission

    def symbol_transition(self) -> Float[ndarray, "symbol symbol"]:
        """Probability of the next symbol after every symbol, in the long run.

        Examples
        --------
        >>> linear_chain(2).symbol_transition().diagonal().round(4).tolist()
        [0.9405, 0.01, 0.9405]
        """
        weights = chains.stationary_distribution(self.transition)[:, None] * self.emission
        following = self.transition @ self.emission
        return (weights.T @ following) / weights.sum(axis=0)[:, None]


def linear_chain(n_states: int = 2, *, traversal: float = 0.05) -> SymbolModel:
    """States in a row that grade from the first of three symbols to the last; the middle one has probability 0.01 throughout.

    Parameters
    ----------
    n_states : int
        Two or more.
    traversal : float, default 0.05
        Probability of running through the chain from one end to the other without a pause; a step to either neighbour then has
        probability ``traversal ** (1 / (n_states - 1))``, which inner states can afford up to 0.5.

    Examples
    --------
    >>> linear_chain(3).transition.round(3).tolist()
    [[0.776, 0.224, 0.0], [0.224, 0.553, 0.224], [0.0, 0.224, 0.776]]
    """
    if n_states < 2 or not 0 < traversal < 1:
        raise UsageError(f"A chain needs two states and a traversal between 0 and 1, got {n_states} and {traversal}.")
    step = traversal ** (1 / (n_states - 1))
    if n_states > 2 and step > 0.5:
        raise UsageError(
            f"{n_states} states at a traversal of {traversal:g} step to either neighbour with probability {step:.3f}, more than 0.5; "
            "lower the traversal or the number of states."
        )
    transition = step * (np.eye(n_states, k=1) + np.eye(n_states, k=-1))
    np.fill_diagonal(transition, 1 - transition.sum(axis=1))
    grade = np.linspace(0, 1, n_states)
    emission = np.stack([0.99 * (1 - grade), np.full(n_states, 0.01), 0.99 * grade], axis=1)
    return SymbolModel(np.full(n_states, 1 / n_states), transition, emission)


def fully_connected(n_states: int = 3, *, stay: float = 0.95) -> SymbolModel:
    """States that all lead to one another alike, each with a symbol of its own; every other symbol has probability 0.01.

    Parameters
    ----------
    n_states : int
    stay : float, default 0.95
        Probability of staying.

    Examples
    --------
    >>> fully_connected().emission.tolist()
    [[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]]
    """
    if n_states < 2 or not 0 <= stay <= 1:
        raise UsageError(f"Expected two states or more and a probability of staying, got {n_states} and {stay}.")
    if 0.01 * (n_states - 1) >= 1:
        raise UsageError(f"{n_states} symbols of probability 0.01 leave none for the state's own; give fewer than 100.")
    transition = np.full((n_states, n_states), (1 - stay) / (n_states - 1))
    emission = np.full((n_states, n_states), 0.01)
    np.fill_diagonal(transition, stay)
    np.fill_diagonal(emission, 1 - 0.01 * (n_states - 1))
    return SymbolModel(np.full(n_states, 1 / n_states), transition, emission)


def cyclic(*, stay: float = 0.95) -> SymbolModel:
    """Four states in a ring and three symbols, of which the middle one stands for two states that cannot be told apart by it.

    Parameters
    ----------
    stay : float, default 0.95
        Probability of staying; the rest goes to the two neighbours.

    Examples
    --------
    >>> cyclic().transition[0].round(3).tolist()
    [0.95, 0.025, 0.0, 0.025]
    """
    if not 0 <= stay <= 1:
        raise UsageError(f"stay must be a probability, got {stay}.")
    ring = np.roll(np.eye(4), 1, axis=1) + np.roll(np.eye(4), -1, axis=1)
    transition = stay * np.eye(4) + (1 - stay) / 2 * ring
    emission = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9], [0.0, 0.9, 0.1]])
    return SymbolModel(np.full(4, 0.25), transition, emission)
