"""What the functions of `markov` take: a chain with one transition matrix or one a step, and log-likelihoods that fit it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.stats.chains import check_initial, check_rows
from neuropil.stats.markov_kernels import LEAST_TRANSITION
from neuropil.stats.sequences import Packed, pack


class Chain(NamedTuple):
    """Checked parameters as the kernels take them: transitions (1 or step, state, state), the first step of every sequence in them."""

    initial: ndarray
    transitions: ndarray
    firsts: ndarray

    @property
    def n_states(self) -> int:
        return len(self.initial)

    @property
    def transposed(self) -> ndarray:
        return np.ascontiguousarray(self.transitions[0].T)

    @property
    def log_transitions(self) -> ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self.transitions)

    @property
    def fragile(self) -> bool:
        return any(bool(((p > 0) & (p < LEAST_TRANSITION)).any()) for p in (self.initial, self.transitions))


def check(initial: Any, transition: Any, log_likelihoods: Any, lengths: Any) -> tuple[Chain, Packed]:
    """Parameters and sequences that fit each other."""
    initial = check_initial(initial)
    packed = pack(log_likelihoods, lengths, "log_likelihoods", ("state",))
    n_states = len(initial)
    if packed.values.shape[1] != n_states:
        raise UsageError(
            f"initial has {n_states} states, log_likelihoods has {packed.values.shape[1]}; give one column for each state."
        )
    if isinstance(transition, ndarray) and transition.ndim == 2:
        transitions, firsts = check_rows(transition)[None], np.zeros(len(packed.starts), dtype=np.int64)
    else:
        transitions, firsts = _per_step(transition, packed)
    if transitions.shape[1] != n_states:
        raise UsageError(f"initial has {n_states} states, transition {transitions.shape[1]}; they must be the same.")
    return Chain(initial, transitions, firsts), packed


def _per_step(transition: Any, packed: Packed) -> tuple[ndarray, ndarray]:
    n_sequences = len(packed.starts)
    if packed.n_times is not None:
        expected = f"({n_sequences}, {packed.n_times - 1}, n_states, n_states)"
        if (
            not isinstance(transition, ndarray)
            or transition.ndim != 4
            or transition.shape[:2] != (n_sequences, packed.n_times - 1)
        ):
            raise UsageError(
                f"transition must have shape (n_states, n_states) or {expected}, got {np.shape(transition)}."
            )
        firsts = (packed.n_times - 1) * np.arange(n_sequences)
        if packed.n_times == 1:
            return np.zeros((1, *transition.shape[2:])), firsts
        valid = np.arange(packed.n_times - 1) < packed.lengths[:, None] - 1
        check_rows(transition[valid])
        return np.ascontiguousarray(transition, dtype=np.float64).reshape(-1, *transition.shape[2:]), firsts
    counts = [len(steps) for steps in transition]
    if counts != (packed.lengths - 1).tolist():
        raise UsageError(
            f"transition must be one matrix, or a list with a matrix for each step but the last of every sequence: "
            f"{(packed.lengths - 1).tolist()} of them, got {counts}."
        )
    if not any(counts):
        return np.zeros((1, packed.values.shape[1], packed.values.shape[1])), np.zeros(n_sequences, dtype=np.int64)
    return check_rows(np.concatenate(list(transition))), np.cumsum(counts) - counts
