"""The recursions of `markov_kernels` on logarithms: slower, for sequences in which a probability that matters would be lost otherwise."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from neuropil.stats.markov_kernels import draw


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def log_sum(values):
    """log sum exp, -inf where all are."""
    largest = values.max()
    if largest == -np.inf:
        return largest
    total = 0.0
    for value in values:
        total += np.exp(value - largest)
    return largest + np.log(total)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def log_forward(log_initial, log_transitions, first, rows):
    """Turn the log-likelihoods of one sequence into log filtered probabilities, in place; the log-likelihood of the sequence.

    Returns also the step at which no state is possible any more, -1 if there is none.
    """
    n_times, n_states = rows.shape
    total, terms = 0.0, np.empty(n_states)
    for t in range(n_times):
        for j in range(n_states):
            if t == 0:
                rows[t, j] += log_initial[j]
            else:
                terms[:] = rows[t - 1] + log_transitions[(first + t - 1) % len(log_transitions), :, j]
                rows[t, j] += log_sum(terms)
        scale = log_sum(rows[t])
        if scale == -np.inf:
            return scale, t
        total += scale
        rows[t] -= scale
    return total, -1


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def log_backward(log_transitions, first, rows, counts):
    """Turn log filtered probabilities into posterior probabilities, in place, and add the expected transitions to `counts`."""
    n_times, n_states = rows.shape
    ratio, terms = np.empty(n_states), np.empty(n_states)
    log_after = rows[-1].copy()
    rows[-1] = np.exp(log_after)
    for t in range(n_times - 2, -1, -1):
        steps = log_transitions[(first + t) % len(log_transitions)]
        for j in range(n_states):
            ratio[j] = log_after[j]
            if log_after[j] > -np.inf:
                ratio[j] -= log_sum(rows[t] + steps[:, j])
        for i in range(n_states):
            terms[:] = rows[t, i] + steps[i] + ratio
            counts[i] += np.exp(terms)
            log_after[i] = log_sum(terms)
        rows[t] = np.exp(log_after)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def log_sample_backward(log_transitions, first, rows, uniforms, states):
    """Draw paths of one sequence from its log filtered probabilities."""
    n_times = len(rows)
    for t in range(n_times - 1, -1, -1):
        for n in range(states.shape[1]):
            terms = rows[t].copy()
            if t < n_times - 1:
                terms += log_transitions[(first + t) % len(log_transitions), :, states[t + 1, n]]
            states[t, n] = draw(np.exp(terms - terms.max()), uniforms[t, n])
