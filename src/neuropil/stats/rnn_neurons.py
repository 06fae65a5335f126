r"""Which neurons throw a recurrent network from one place to another, and what becomes of it when they are turned up or down.

Kick neurons fire around the transitions of one direction only; integrating populations push one group of them and hold back the other.
Both are candidates that activity and weights point to; `gain_sweep` shows whether they are causes.

Torre, Viscione, Pompe, Grewe & Mante (2025). Mechanistic interpretability of RNNs emulating hidden Markov models. NeurIPS.
arXiv:2510.25674.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.stats.rnn_dynamics import Readout, Step, trajectories


class KickNeurons(NamedTuple):
    """Neurons that fire around transitions only.

    Attributes
    ----------
    neurons : dict of (int, int) to ndarray of int
        The best neurons for each direction (symbol before, symbol after), best first.
    scores : dict of (int, int) to ndarray of shape (n_units,)
        Mean over transitions of the highest activity around one, less the mean activity away from transitions, in standard deviations.
    n_transitions : dict of (int, int) to int
    """

    neurons: dict[tuple[int, int], ndarray]
    scores: dict[tuple[int, int], ndarray]
    n_transitions: dict[tuple[int, int], int]

    @property
    def all(self) -> ndarray:
        """All of them, each once, in rising order."""
        return np.unique(np.concatenate([*self.neurons.values(), np.empty(0, dtype=np.int64)]))


def find_kick_neurons(
    states: Float[ndarray, "path time unit"],
    labels: Int[ndarray, "path time"],
    *,
    n_neurons: int = 3,
    before: int = 3,
    after: int = 1,
    margin: int = 8,
    min_transitions: int = 5,
) -> KickNeurons:
    """Neurons that are active around the transitions of one direction and silent while the network dwells.

    Parameters
    ----------
    states : ndarray of shape (n_paths, n_times, n_units)
    labels : ndarray of int, shape (n_paths, n_times)
        Symbol of the highest logit; a transition is a step whose label differs from the last one.
    n_neurons : int, default 3
        A direction.
    before, after : int, default 3 and 1
        Steps around a transition in which the highest activity counts.
    margin : int, default 8
        Steps that a state must be away from any transition to count as dwelling.
    min_transitions : int, default 5
        Directions with fewer are left out.

    Examples
    --------
    >>> labels = np.repeat([0, 1, 0, 1, 0, 1, 0], 20)[None]
    >>> states = np.zeros((1, 140, 3))
    >>> states[0, 19::40, 1] = states[0, 39:120:40, 2] = 1.0
    >>> kicks = find_kick_neurons(states, labels, n_neurons=1, min_transitions=3)
    >>> kicks.neurons[0, 1].tolist(), kicks.neurons[1, 0].tolist()
    ([1], [2])
    """
    n_times = labels.shape[1]
    path, time = np.nonzero(labels[:, 1:] != labels[:, :-1])
    time = time + 1
    near = np.zeros(labels.shape, dtype=bool)
    for shift in range(-margin, margin + 1):
        near[path, np.clip(time + shift, 0, n_times - 1)] = True
    dwelling = states[~near]
    if len(dwelling) == 0:
        raise DataError(
            f"No state is {margin} steps away from every transition; lower the margin or run the network for longer."
        )
    resting, spread = dwelling.mean(axis=0), states.std(axis=(0, 1))
    usable = (time >= before) & (time + after < n_times)
    path, time = path[usable], time[usable]
    window = time[:, None] + np.arange(-before, after + 1)
    highest = states[path[:, None], window].max(axis=1)
    directions = np.stack([labels[path, time - 1], labels[path, time]], axis=1)
    neurons, scores, counts = {}, {}, {}
    for pair in np.unique(directions, axis=0).tolist():
        chosen = (directions == pair).all(axis=1)
        if chosen.sum() < min_transitions:
            continue
        key = (int(pair[0]), int(pair[1]))
        rise = highest[chosen].mean(axis=0) - resting
        scores[key] = np.divide(rise, spread, out=np.zeros_like(rise), where=spread > 0)
        neurons[key] = np.argsort(-scores[key], kind="stable")[:n_neurons]
        counts[key] = int(chosen.sum())
    return KickNeurons(neurons, scores, counts)


def integrating_populations(
    weights: Float[ndarray, "unit unit"],
    first: Int[ndarray, " a"],
    second: Int[ndarray, " b"],
    n_neurons: int = 70,
) -> tuple[Int[ndarray, " c"], Int[ndarray, " d"]]:
    """Neurons that push one group and hold back another: candidates for what adds up the noise before a kick.

    Parameters
    ----------
    weights : ndarray of shape (n_units, n_units)
        ``weights[post, pre]``.
    first, second : ndarray of int
        The two groups, such as the kick neurons of two directions; not returned themselves.
    n_neurons : int, default 70
        At most so many, those with the most negative product of their mean weights onto the two groups.

    Returns
    -------
    towards_first, towards_second : ndarray of int

    Examples
    --------
    >>> weights = np.array([[0.0, 0.0, 1.0, -2.0], [0.0, 0.0, -1.0, 2.0], [0.0] * 4, [0.0] * 4])
    >>> [group.tolist() for group in integrating_populations(weights, np.array([0]), np.array([1]))]
    [[2], [3]]
    """
    if n_neurons < 1:
        raise UsageError(f"n_neurons must be 1 or more, got {n_neurons}.")
    onto_first, onto_second = weights[first].mean(axis=0), weights[second].mean(axis=0)
    product = onto_first * onto_second
    product[np.concatenate([first, second])] = 0.0
    order = np.argsort(product, kind="stable")[:n_neurons]
    order = order[product[order] < 0]
    return np.sort(order[onto_first[order] > 0]), np.sort(order[onto_first[order] < 0])


def switch_rate(labels: Int[ndarray, "path time"]) -> float:
    """Share of the steps at which the symbol changes.

    Examples
    --------
    >>> switch_rate(np.array([[0, 0, 1, 1, 0]]))
    0.5
    """
    return float((labels[:, 1:] != labels[:, :-1]).mean())


def gain_sweep(
    step_at: Callable[[float], Step],
    readout: Readout,
    gains: Sequence[float],
    inputs: Float[ndarray, "path time input"],
    n_units: int,
    *,
    discard: int = 50,
) -> Float[ndarray, " gain"]:
    """How often the symbol changes when a part of the network is turned up or down, all under the same noise.

    Parameters
    ----------
    step_at : callable
        ``step_at(gain)`` is the network's map with that gain.
    readout : callable
    gains : sequence of float
    inputs : ndarray of shape (n_paths, n_times, n_inputs)
    n_units : int
        The paths start from zero.
    discard : int, default 50
        First steps that do not count.

    Returns
    -------
    ndarray of shape (n_gains,)
        Switches a step; NaN where states grow beyond all bounds.

    Examples
    --------
    >>> inputs = np.resize([1.0, -1.0], (1, 100, 1))
    >>> rates = gain_sweep(lambda gain: lambda h, x: gain * x, lambda h: np.concatenate([h, -h], axis=-1), [0, 1], inputs, 1)
    >>> rates.tolist()
    [0.0, 1.0]
    """
    if discard + 2 > inputs.shape[1]:
        raise UsageError(f"Of {inputs.shape[1]} steps {discard} are discarded and none is left to count; give more.")
    rates = []
    starts = np.zeros((len(inputs), n_units), dtype=inputs.dtype)
    for gain in gains:
        states = trajectories(step_at(gain), starts, inputs)[:, discard:]
        rates.append(switch_rate(readout(states).argmax(axis=-1)) if np.isfinite(states).all() else np.nan)
    return np.array(rates)
