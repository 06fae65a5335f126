"""Compiled recursions of hidden Markov models on probabilities that are rescaled at every step; `markov` is their public face.

One array of (step, state) carries everything: likelihoods relative to the best state of their step, then filtered probabilities, then
posterior ones. The smoother runs on filtered and predicted probabilities and needs no likelihoods:

    gamma_t(i) = alpha_t(i) sum_j A_ij r_{t+1}(j),    r_t(j) = gamma_t(j) / p(z_t = j | y_1:t-1).

A joint probability below 1e-308 is lost, a filtered one hence below 1e-208, since `forward` stops where the scale of a step is below
1e-100. That is without consequence as long as every state is predicted with 1e-180 or more: what was lost then adds less than 1e-28 to
anything. Where something was lost and a prediction falls lower, `forward` gives the sequence up; it is then run on logarithms
(`markov_log_kernels`).

The kernels release the interpreter's lock. They are exempt from runtime checks of types, which would hide their source from numba.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz", "nnan"}
LOWEST = -690.0
LEAST_TRANSITION, LOST, UNSAFE, LEAST_SCALE = 1e-30, 1e-150, 1e-180, 1e-100
BLOCK = 4


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def relative(values, floor, starts, lengths, out, total):
    """`out` = log-likelihoods minus the largest of their step, no finite one below `floor`; `total` = sums of the largest per sequence.

    Returns the row of the first step that holds NaN or +inf, or nothing but -inf; -1 if there is none.
    """
    n_states = values.shape[1]
    for s in range(len(starts)):
        total[s] = 0.0
        for t in range(starts[s], starts[s] + lengths[s]):
            largest = values[t, 0]
            for j in range(1, n_states):
                largest = max(largest, values[t, j])
            flawed = False
            for j in range(n_states):
                difference = values[t, j] - largest
                flawed |= difference != difference
                out[t, j] = max(difference, floor) if difference > -np.inf else -np.inf
            if flawed:
                return t
            total[s] += largest
    return -1


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def times(matrix, vector, out):
    """`out` = matrix @ vector, four rows at a time."""
    n = len(vector)
    full = n - n % 4
    for i in range(0, full, 4):
        a = b = c = d = 0.0
        for j in range(n):
            x = vector[j]
            a += matrix[i, j] * x
            b += matrix[i + 1, j] * x
            c += matrix[i + 2, j] * x
            d += matrix[i + 3, j] * x
        out[i], out[i + 1], out[i + 2], out[i + 3] = a, b, c, d
    for i in range(full, n):
        a = 0.0
        for j in range(n):
            a += matrix[i, j] * vector[j]
        out[i] = a


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def times_transposed(matrix, vector, out):
    """`out` = vector @ matrix."""
    out[:] = 0.0
    for i in range(len(vector)):
        for j in range(len(vector)):
            out[j] += vector[i] * matrix[i, j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def forward(initial, transitions, transposed, firsts, fragile, rows, starts, lengths, log_likelihood, given_up):
    """Turn the likelihoods in `rows` into filtered probabilities, in place, and add the log of their scale to `log_likelihood`.

    Constant transitions are given transposed too. Rows are addressed by their number: a view of each would cost more than the arithmetic.
    """
    n_states, constant = rows.shape[1], len(transitions) == 1
    predicted, filtered = np.empty(n_states), np.empty(n_states)
    for s in range(len(starts)):
        lossy, scale, logs = fragile, 1.0, 0.0
        for t in range(lengths[s]):
            row = starts[s] + t
            if t == 0:
                predicted[:] = initial
            elif constant:
                times(transposed, filtered, predicted)
            else:
                times_transposed(transitions[firsts[s] + t - 1], filtered, predicted)
            total = 0.0
            for j in range(n_states):
                joint = rows[row, j] * predicted[j]
                filtered[j] = joint
                total += joint
            risky = False
            for j in range(n_states):
                if filtered[j] < LOST or predicted[j] < UNSAFE:
                    risky = True
            if risky:
                if lossy and predicted.min() < UNSAFE:
                    given_up[s] = True
                for j in range(n_states):
                    lossy |= filtered[j] < LOST and rows[row, j] > 0.0 and predicted[j] > 0.0
            if given_up[s] or total < LEAST_SCALE:
                given_up[s] = True
                break
            factor = 1.0 / total
            for j in range(n_states):
                filtered[j] *= factor
                rows[row, j] = filtered[j]
            scale *= total
            if scale < 1e-20:
                logs += np.log(scale)
                scale = 1.0
        log_likelihood[s] += logs + np.log(scale)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def add_outer(left, right, counts):
    """`counts` += left^T @ right, both with four rows."""
    for i in range(counts.shape[0]):
        a, b, c, d = left[0, i], left[1, i], left[2, i], left[3, i]
        for j in range(counts.shape[1]):
            counts[i, j] += (a * right[0, j] + b * right[1, j]) + (c * right[2, j] + d * right[3, j])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def backward(transitions, transposed, firsts, rows, starts, lengths, skipped, counts):
    """Turn the filtered probabilities in `rows` into posterior ones, in place, and add the expected transitions to `counts`.

    `counts` has one matrix a sequence, or one for all. Where the transitions are constant, the outer products of alpha and r are summed
    four steps at a time and multiplied by the transition probabilities at the end.
    """
    n_states, constant = rows.shape[1], len(transitions) == 1
    predicted, filtered, scratch = np.empty(n_states), np.empty(n_states), np.empty((n_states, n_states))
    weight, ratio = np.empty(n_states), np.empty(n_states)
    left, right = np.zeros((BLOCK, n_states)), np.zeros((BLOCK, n_states))
    matrix = transitions[0]
    for s in range(len(starts)):
        if skipped[s]:
            continue
        scratch[:] = 0.0
        filled = 0
        for t in range(lengths[s] - 2, -1, -1):
            row = starts[s] + t
            for i in range(n_states):
                filtered[i] = rows[row, i]
                left[filled, i] = filtered[i]
            if constant:
                times(transposed, filtered, predicted)
            else:
                matrix = transitions[firsts[s] + t]
                times_transposed(matrix, filtered, predicted)
            for j in range(n_states):
                ratio[j] = rows[row + 1, j] / predicted[j] if predicted[j] > 0.0 else 0.0
                right[filled, j] = ratio[j]
            times(matrix, ratio, weight)
            total = 0.0
            for i in range(n_states):
                weight[i] *= filtered[i]
                total += weight[i]
            factor = 1.0 / total
            for i in range(n_states):
                rows[row, i] = weight[i] * factor
            if not constant:
                for i in range(n_states):
                    for j in range(n_states):
                        scratch[i, j] += filtered[i] * matrix[i, j] * ratio[j]
                continue
            filled += 1
            if filled == BLOCK:
                add_outer(left, right, scratch)
                filled = 0
        if constant:
            left[filled:] = 0.0
            add_outer(left, right, scratch)
            scratch *= matrix
        counts[s if len(counts) > 1 else 0] += scratch


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def draw(weights, uniform):
    """Index of a draw with probabilities proportional to `weights`."""
    total = 0.0
    for i in range(len(weights)):
        total += weights[i]
    level, last = uniform * total, 0
    for i in range(len(weights)):
        if weights[i] > 0.0:
            last = i
            level -= weights[i]
            if level < 0.0:
                break
    return last


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def sample_backward(transitions, firsts, rows, starts, lengths, skipped, uniforms, states):
    """Draw paths from the last step to the first: p(z_t | z_t+1, y) is proportional to alpha_t(i) A_ij."""
    n_states, constant = rows.shape[1], len(transitions) == 1
    weights = np.empty(n_states)
    for s in range(len(starts)):
        if skipped[s]:
            continue
        for t in range(lengths[s] - 1, -1, -1):
            row, k = starts[s] + t, 0 if constant else firsts[s] + t
            for n in range(states.shape[1]):
                for i in range(n_states):
                    weights[i] = rows[row, i]
                    if t < lengths[s] - 1:
                        weights[i] *= transitions[k, i, states[row + 1, n]]
                states[row, n] = draw(weights, uniforms[row, n])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def best_scores(log_initial, log_transitions, firsts, rows, starts, lengths):
    """Turn the relative log-likelihoods in `rows` into log-probabilities of the best path into every state, in place."""
    n_states, constant = rows.shape[1], len(log_transitions) == 1
    best, before, steps = np.empty(n_states), np.empty(n_states), log_transitions[0]
    for s in range(len(starts)):
        rows[starts[s]] += log_initial
        for t in range(1, lengths[s]):
            row = starts[s] + t
            if not constant:
                steps = log_transitions[firsts[s] + t - 1]
            for i in range(n_states):
                before[i] = rows[row - 1, i]
                best[i] = -np.inf
            for i in range(n_states):
                score = before[i]
                for j in range(n_states):
                    best[j] = max(best[j], score + steps[i, j])
            for j in range(n_states):
                rows[row, j] += best[j]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def trace_back(log_transitions, firsts, rows, starts, lengths, states, log_probability):
    """Follow the best path from its end; ties go to the first state."""
    constant = len(log_transitions) == 1
    for s in range(len(starts)):
        last = starts[s] + lengths[s] - 1
        states[last] = np.argmax(rows[last])
        log_probability[s] += rows[last, states[last]]
        for t in range(lengths[s] - 2, -1, -1):
            row, k = starts[s] + t, 0 if constant else firsts[s] + t
            chosen, highest = 0, -np.inf
            for i in range(rows.shape[1]):
                score = rows[row, i] + log_transitions[k, i, states[row + 1]]
                if score > highest:
                    chosen, highest = i, score
            states[row] = chosen
