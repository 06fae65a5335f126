"""Markov chains without observations: where they settle, where they go, paths drawn from them, and states matched across two accounts.

Kuhn (1955). The Hungarian method for the assignment problem. Naval Research Logistics Quarterly 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import DataError, UsageError

TOLERANCE = 1e-6


def check_rows(transition: Any) -> ndarray:
    """Transition matrices (..., state, state) as contiguous float64, refused if a row is no distribution."""
    transition = np.ascontiguousarray(transition, dtype=np.float64)
    if transition.ndim < 2 or transition.shape[-1] != transition.shape[-2] or transition.shape[-1] == 0:
        raise UsageError(f"transition must be square, one row and one column a state, got shape {transition.shape}.")
    sums = transition.sum(axis=-1)
    if not ((transition >= 0).all() and (np.abs(sums - 1) <= TOLERANCE).all()):
        worst = np.unravel_index(np.argmax(np.nan_to_num(np.abs(sums - 1), nan=np.inf)), sums.shape)
        raise UsageError(
            f"Every row of transition must be probabilities that sum to one; row {int(worst[-1])} sums to {sums[worst]:.6g}, the least "
            f"entry is {transition.min():.6g}. transition[i, j] is the probability of j after i."
        )
    return transition


def check_initial(initial: Any) -> ndarray:
    """Probabilities of the first state as float64, refused if they are no distribution."""
    initial = np.ascontiguousarray(initial, dtype=np.float64)
    if initial.ndim != 1 or not ((initial >= 0).all() and abs(initial.sum() - 1) <= TOLERANCE):
        raise UsageError(
            f"initial must be probabilities, one a state, that sum to one; "
            f"got shape {initial.shape}, sum {initial.sum():.6g}."
        )
    return initial


def stationary_distribution(transition: Float[ndarray, "state state"]) -> Float[ndarray, " state"]:
    r"""The distribution :math:`\pi = \pi A` to which an irreducible chain settles, by elimination without subtractions.

    Parameters
    ----------
    transition : ndarray of shape (n_states, n_states)

    Returns
    -------
    ndarray of shape (n_states,)
        Every entry to machine precision, also where they differ by orders of magnitude.

    Raises
    ------
    UsageError
        If the chain falls into parts, or has states that it leaves for good and cannot be said to settle on one distribution of all.

    References
    ----------
    Grassmann, Taksar & Heyman (1985). Regenerative analysis and steady state distributions for Markov chains. Operations Research 33.

    Examples
    --------
    >>> import numpy as np
    >>> stationary_distribution(np.array([[0.9, 0.1], [0.3, 0.7]])).round(3).tolist()
    [0.75, 0.25]
    """
    from scipy.sparse.csgraph import connected_components

    reduced = check_rows(transition).copy()
    n_parts, part = connected_components(reduced > 0, connection="strong")
    if n_parts > 1:
        raise UsageError(
            f"The chain falls into {n_parts} parts that do not all reach each other (part of every state: {part.tolist()}); a single "
            "stationary distribution needs every state to be reached from every other."
        )
    n_states = len(reduced)
    for k in range(n_states - 1, 0, -1):
        reduced[:k, k] /= reduced[k, :k].sum()
        reduced[:k, :k] += np.outer(reduced[:k, k], reduced[k, :k])
    stationary = np.ones(n_states)
    for k in range(1, n_states):
        stationary[k] = stationary[:k] @ reduced[:k, k]
    return stationary / stationary.sum()


def forecast(
    probabilities: Float[ndarray, "sequence state"], transition: Float[ndarray, "state state"], n_steps: int
) -> Float[ndarray, "sequence step state"]:
    """Probabilities of the states one to `n_steps` steps ahead: p(z_{T+h} | y_{1:T}).

    Parameters
    ----------
    probabilities : ndarray of shape (n_sequences, n_states)
        Of the last step, given what was seen: the last filtered ones.
    transition : ndarray of shape (n_states, n_states)
    n_steps : int

    Examples
    --------
    >>> import numpy as np
    >>> forecast(np.array([[1.0, 0.0]]), np.array([[0.9, 0.1], [0.3, 0.7]]), 2).round(2).tolist()
    [[[0.9, 0.1], [0.84, 0.16]]]
    """
    transition = check_rows(transition)
    if n_steps < 1:
        raise UsageError(f"Expected one step ahead or more, got n_steps={n_steps}.")
    ahead = np.empty((len(probabilities), n_steps, len(transition)))
    for h in range(n_steps):
        probabilities = probabilities @ transition
        ahead[:, h] = probabilities
    return ahead


def simulate(
    initial: Float[ndarray, " state"],
    transition: Float[ndarray, "state state"],
    n_sequences: int,
    n_times: int,
    random_state: int | Generator | None = None,
) -> Int[ndarray, "sequence time"]:
    """Draw paths of states, all sequences side by side.

    Parameters
    ----------
    initial : ndarray of shape (n_states,)
    transition : ndarray of shape (n_states, n_states)
    n_sequences, n_times : int
    random_state : int, Generator or None

    Examples
    --------
    >>> import numpy as np
    >>> simulate(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]), 1, 4).tolist()
    [[0, 1, 0, 1]]
    """
    initial, transition = check_initial(initial), check_rows(transition)
    if n_sequences < 1 or n_times < 1:
        raise UsageError(f"Expected one sequence and one step or more, got {n_sequences} and {n_times}.")
    if len(initial) != len(transition):
        raise UsageError(f"initial has {len(initial)} states, transition {len(transition)}; they must be the same.")
    uniforms = default_rng(random_state).random((n_times, n_sequences))
    levels, level = _cumulated(transition), _cumulated(initial)
    states = np.empty((n_sequences, n_times), dtype=np.int64)
    states[:, 0] = np.searchsorted(level, uniforms[0], side="right")
    for t in range(1, n_times):
        states[:, t] = (levels[states[:, t - 1]] <= uniforms[t][:, None]).sum(axis=1)
    return states


def _cumulated(probabilities: ndarray) -> ndarray:
    """Upper ends of the stretches of [0, 1) that belong to the states; rounding never ends in a state without probability."""
    levels = np.cumsum(probabilities, axis=-1)
    return np.where(levels >= levels[..., -1:], 2.0, levels / levels[..., -1:])


def match_states(
    true: Int[ndarray, "*shape"], inferred: Int[ndarray, "*shape"], n_states: int
) -> Int[ndarray, " state"]:
    """Which true state each inferred one stands for, so that as many steps as possible agree (the Hungarian method).

    Parameters
    ----------
    true, inferred : ndarray of int, any one shape
        Labels 0 .. n_states - 1 of the same steps; steps where either is negative (padding) do not count.
    n_states : int

    Returns
    -------
    ndarray of int, shape (n_states,)
        ``order[inferred]`` is the true state, every one of them once. Parameters of the inferred states come into the true order by
        ``weights[np.argsort(order)]``. An inferred state that never occurs gets a true one that is left over.

    Examples
    --------
    >>> import numpy as np
    >>> match_states(np.array([0, 0, 1, 2, 2]), np.array([2, 2, 0, 1, 0]), 3).tolist()
    [1, 2, 0]
    """
    from scipy.optimize import linear_sum_assignment

    if true.shape != inferred.shape:
        raise DataError(
            f"True and inferred states must be of the same steps, got shapes {true.shape} and {inferred.shape}."
        )
    counted = (true >= 0) & (inferred >= 0)
    a, b = inferred[counted], true[counted]
    if len(a) == 0:
        raise DataError("No step has both a true and an inferred state.")
    if max(a.max(), b.max()) >= n_states:
        raise UsageError(f"States run to {max(a.max(), b.max())}, so n_states must be more than that, got {n_states}.")
    confusion = np.bincount(a * n_states + b, minlength=n_states**2).reshape(n_states, n_states)
    return linear_sum_assignment(confusion, maximize=True)[1].astype(np.int64)


def relabel(states: Int[ndarray, "*shape"], order: Int[ndarray, " state"]) -> Int[ndarray, "*shape"]:
    """Inferred states under the names of the true ones that `match_states` found; negative ones (padding) stay.

    Examples
    --------
    >>> import numpy as np
    >>> relabel(np.array([2, 0, 1, -1]), np.array([1, 2, 0])).tolist()
    [0, 1, 2, -1]
    """
    return np.where(states < 0, states, order[states])
