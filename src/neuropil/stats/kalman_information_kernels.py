"""Compiled recursions of switching linear-Gaussian dynamics in information form; `kalman_information` is their public face.

What was seen at a step is exp(h'x - x'Jx/2) up to a constant, J of any rank. With P = L L' the predicted covariance, one Cholesky
factorisation R R' = I + L'J L gives the updated covariance F F' with F = L R^-T, the mean m + F F'(h - J m) and the evidence of the step,

    log ∫ N(x; m, P) exp(h'x - x'Jx/2) dx = -log |R| + m'(h - J m/2) + |F'(h - J m)|²/2.

Nothing is inverted and no covariance is subtracted from. The kernels are exempt from runtime checks of types, which would hide their
source from numba.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from neuropil.stats.kalman_kernels import FAST, add_quadratic, cholesky, product, solve_lower, solve_upper


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def absorb(mean, root, precision, potential, new_mean, new_root, work, gain, vector):
    """Multiply N(mean, root root') by exp(h'x - x'Jx/2): writes the product's mean and root, returns its log mass."""
    d = len(mean)
    product(precision, root, work)
    for i in range(d):
        for j in range(i + 1):
            value = 1.0 if i == j else 0.0
            for k in range(d):
                value += root[k, i] * work[k, j]
            new_root[i, j] = value
            new_root[j, i] = value
    cholesky(new_root, gain)
    mass = 0.0
    for i in range(d):
        mass -= np.log(gain[i, i])
        value = potential[i]
        for k in range(d):
            value -= precision[i, k] * mean[k]
        vector[i] = value
        mass += 0.5 * mean[i] * (potential[i] + value)
    for i in range(d):
        for j in range(d):
            value = root[i, j]
            for k in range(j):
                value -= new_root[i, k] * gain[j, k]
            new_root[i, j] = value / gain[j, j]
    for i in range(d):
        new_mean[i] = mean[i]
    for j in range(d):
        value = 0.0
        for k in range(d):
            value += new_root[k, j] * vector[k]
        mass += 0.5 * value * value
        for i in range(d):
            new_mean[i] += new_root[i, j] * value
    return mass


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def predict(mean, root, A, b, Q, new_mean, new_root, work, matrix):
    """Mean and lower Cholesky factor of A x + b + N(0, Q) for x ~ N(mean, root root')."""
    d = len(mean)
    product(A, root, work)
    for i in range(d):
        value = b[i]
        for k in range(d):
            value += A[i, k] * mean[k]
        new_mean[i] = value
        for j in range(i + 1):
            value = Q[i, j]
            for k in range(d):
                value += work[i, k] * work[j, k]
            matrix[i, j] = value
            matrix[j, i] = value
    cholesky(matrix, new_root)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def filter_path(A, b, Q, initial_mean, initial_root, J, h, states, means, roots, ahead):
    """Filtered means and roots, predicted roots and the evidence of every step along one path of states."""
    n_times, d = h.shape
    work, gain, matrix = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    vector, mean = np.empty(d), initial_mean.copy()
    evidence = np.empty(n_times)
    ahead[0] = initial_root
    for t in range(n_times):
        if t > 0:
            s = states[t]
            predict(means[t - 1], roots[t - 1], A[s], b[s], Q[s], mean, ahead[t], work, matrix)
        evidence[t] = absorb(mean, ahead[t], J[t], h[t], means[t], roots[t], work, gain, vector)
    return evidence


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def sample_backward(A, b, noise_roots, states, means, roots, ahead, first, second, path):
    """A path given everything seen; `first`, `second` hold standard normal draws. Backward by Matheron's rule: a draw of two
    neighbours from their filtered distribution is corrected by what the later one turned out to be."""
    n_times, d = means.shape
    draw, later = np.empty(d), np.empty(d)
    for t in range(n_times - 1, -1, -1):
        for i in range(d):
            value = means[t, i]
            for k in range(d):
                value += roots[t, i, k] * first[t, k]
            draw[i] = value
        if t < n_times - 1:
            s = states[t + 1]
            for i in range(d):
                value = path[t + 1, i] - b[s, i]
                for k in range(d):
                    value -= A[s, i, k] * draw[k] + noise_roots[s, i, k] * second[t + 1, k]
                later[i] = value
            solve_lower(ahead[t + 1], later)
            solve_upper(ahead[t + 1], later)
            for i in range(d):
                value = 0.0
                for k in range(d):
                    value += A[s, k, i] * later[k]
                path[t, i] = value
            for j in range(d):
                value = 0.0
                for k in range(d):
                    value += roots[t, k, j] * path[t, k]
                later[j] = value
            for i in range(d):
                for j in range(d):
                    draw[i] += roots[t, i, j] * later[j]
        for i in range(d):
            path[t, i] = draw[i]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def backward_messages(A, b, noise_roots, J, h, states, precisions, potentials):
    """p(everything seen after t | x_t) as exp(potential'x - x' precision x/2), up to a constant, for every t along one path."""
    n_times, d = h.shape
    total, work, small = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    gain, pulled = np.empty((d, d)), np.empty((d, d))
    vector, reduced = np.empty(d), np.empty(d)
    precisions[n_times - 1] = 0.0
    potentials[n_times - 1] = 0.0
    for t in range(n_times - 1, 0, -1):
        s = states[t]
        root = noise_roots[s]
        for i in range(d):
            for j in range(d):
                total[i, j] = J[t, i, j] + precisions[t, i, j]
        for i in range(d):
            value = h[t, i] + potentials[t, i]
            for k in range(d):
                value -= total[i, k] * b[s, k]
            vector[i] = value
        product(total, root, work)
        for i in range(d):
            for j in range(i + 1):
                value = 1.0 if i == j else 0.0
                for k in range(d):
                    value += root[k, i] * work[k, j]
                small[i, j] = value
                small[j, i] = value
        cholesky(small, gain)
        # pulled = work gain^-T, so that (total^-1 + Q)^-1 = total - pulled pulled'
        for i in range(d):
            for j in range(d):
                value = work[i, j]
                for k in range(j):
                    value -= pulled[i, k] * gain[j, k]
                pulled[i, j] = value / gain[j, j]
        for j in range(d):
            value = 0.0
            for k in range(d):
                value += root[k, j] * vector[k]
            reduced[j] = value
        solve_lower(gain, reduced)
        for i in range(d):
            for j in range(d):
                vector[i] -= pulled[i, j] * reduced[j]
            for j in range(i + 1):
                value = total[i, j]
                for k in range(d):
                    value -= pulled[i, k] * pulled[j, k]
                small[i, j] = value
                small[j, i] = value
        for i in range(d):
            value = 0.0
            for k in range(d):
                value += A[s, k, i] * vector[k]
            potentials[t - 1, i] = value
        precisions[t - 1] = 0.0
        add_quadratic(A[s].T.copy(), small, precisions[t - 1], work)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def smooth_path(means, roots, precisions, potentials, smoothed, covariances):
    """Means and covariances given everything seen: the filter's times the backward messages'."""
    n_times, d = means.shape
    work, gain, root, vector = np.empty((d, d)), np.empty((d, d)), np.empty((d, d)), np.empty(d)
    for t in range(n_times):
        absorb(means[t], roots[t], precisions[t], potentials[t], smoothed[t], root, work, gain, vector)
        for i in range(d):
            for j in range(i + 1):
                value = 0.0
                for k in range(d):
                    value += root[i, k] * root[j, k]
                covariances[t, i, j] = value
                covariances[t, j, i] = value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _pick(weights, uniform):
    total = weights.sum()
    threshold = uniform * total
    cumulated = 0.0
    for k in range(len(weights)):
        cumulated += weights[k]
        if threshold < cumulated:
            return k
    return len(weights) - 1


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _bridge(proposal, before, after, start, stop, uniforms, to_end, path):
    """A path over [start, stop) drawn from a Markov chain given the states on either side (-1: none)."""
    n_states = len(proposal)
    weights = np.empty(n_states)
    for t in range(start, stop):
        for j in range(n_states):
            entering = 1.0 if t == start and before < 0 else proposal[before if t == start else path[t - 1 - start], j]
            weights[j] = entering * to_end[t - start, j]
        path[t - start] = _pick(weights, uniforms[t])


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _log_path(log_transition, before, after, path):
    value = 0.0
    previous = before
    for k in range(len(path)):
        if previous >= 0:
            value += log_transition[previous, path[k]]
        previous = path[k]
    return value + log_transition[previous, after] if after >= 0 else value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def scan_blocks(
    A, b, Q, initial_mean, initial_root, J, h, transition, jump, edges, uniforms, choices, precisions, potentials,
    states, means, roots, ahead,
):  # fmt: skip
    """Redraw the states block by block with the path integrated out; leaves the filter of the new states behind.

    In every block the present path competes with others drawn from a Markov bridge, weighted by prior and evidence over proposal, so that
    the posterior stays invariant. `precisions`, `potentials` are the backward messages of the present states.
    """
    n_times, d = h.shape
    n_states, n_candidates = len(A), len(uniforms) + 1
    longest = 0
    for k in range(len(edges) - 1):
        longest = max(longest, edges[k + 1] - edges[k])
    work, gain, matrix = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    vector, mean, last_mean, last_root = np.empty(d), np.empty(d), np.empty(d), np.empty((d, d))
    trial_means, trial_roots = np.empty((2, longest, d)), np.empty((2, longest, d, d))
    trial_ahead = np.empty((2, longest, d, d))
    to_end, proposal = np.empty((longest, n_states)), np.empty((n_states, n_states))
    path = np.empty(longest, np.int64)
    log_transition = np.log(transition)
    present_weight, kept_weight = 0.0, 0.0
    n_changed = 0
    for block in range(len(edges) - 1):
        start, stop = edges[block], edges[block + 1]
        length = stop - start
        before = states[start - 1] if start > 0 else -1
        after = states[stop] if stop < n_times else -1
        stay = max(0.3, 1.0 - 1.5 / length)
        for i in range(n_states):
            for j in range(n_states):
                proposal[i, j] = (stay if i == j else 0.0) + (1.0 - stay) * jump[j]
        log_proposal = np.log(proposal)
        for j in range(n_states):
            to_end[length - 1, j] = proposal[j, after] if after >= 0 else 1.0
        for k in range(length - 2, -1, -1):
            for j in range(n_states):
                value = 0.0
                for i in range(n_states):
                    value += proposal[j, i] * to_end[k + 1, i]
                to_end[k, j] = value
        # the present path and the best so far take turns in the two buffers; a candidate replaces it with its share of the weight
        held = 0
        for candidate in range(n_candidates):
            free = 1 - held if candidate > 0 else 0
            same = False
            if candidate == 0:
                for k in range(length):
                    path[k] = states[start + k]
            else:
                _bridge(proposal, before, after, start, stop, uniforms[candidate - 1], to_end, path)
                same = True
                for k in range(length):
                    if path[k] != states[start + k]:
                        same = False
                        break
            if same:
                weight = present_weight
            else:
                weight = _log_path(log_transition, before, after, path[:length]) - _log_path(
                    log_proposal, before, after, path[:length]
                )
                for k in range(length):
                    t, s = start + k, path[k]
                    if t == 0:
                        mean[:] = initial_mean
                        trial_ahead[free, k] = initial_root
                    elif k == 0:
                        predict(means[t - 1], roots[t - 1], A[s], b[s], Q[s], mean, trial_ahead[free, k], work, matrix)
                    else:
                        predict(
                            trial_means[free, k - 1], trial_roots[free, k - 1], A[s], b[s], Q[s],
                            mean, trial_ahead[free, k], work, matrix,
                        )  # fmt: skip
                    weight += absorb(
                        mean,
                        trial_ahead[free, k],
                        J[t],
                        h[t],
                        trial_means[free, k],
                        trial_roots[free, k],
                        work,
                        gain,
                        vector,
                    )
                weight += absorb(
                    trial_means[free, length - 1], trial_roots[free, length - 1], precisions[stop - 1], potentials[stop - 1],
                    last_mean, last_root, work, gain, vector,
                )  # fmt: skip
            if candidate == 0:
                present_weight = weight
                kept_weight = weight
                continue
            top = max(kept_weight, weight)
            kept_weight = top + np.log(np.exp(kept_weight - top) + np.exp(weight - top))
            if not same and np.log(choices[candidate - 1, block]) < weight - kept_weight:
                held = free
                present_weight = weight
                for k in range(length):
                    n_changed += states[start + k] != path[k]
                    states[start + k] = path[k]
        for k in range(length):
            means[start + k] = trial_means[held, k]
            roots[start + k] = trial_roots[held, k]
            ahead[start + k] = trial_ahead[held, k]
    return n_changed
