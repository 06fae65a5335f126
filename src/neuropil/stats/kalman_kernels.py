"""Compiled recursions of linear-Gaussian state-space models; `kalman` is their public face.

Observations arrive whitened: y_t = W_t z_t + standard normal noise, with at most as many rows as states. The filter is a square-root
filter: with P = L L' the predicted covariance and v = y - W m, orthogonal reflections turn

    [ I    0 ]       [ R  u ]
    [ W L  v ]  into [ 0  e ],    P_filtered = B B' with B = L R^-1,    m_filtered = m + B u,

-2 log p(y_t | y_1:t-1) = |e|^2 + 2 log |det R| + constants,

and [B' A'; root of Q'] into L' of the next step. No covariance is ever subtracted from or inverted, so that nothing can lose its
definiteness, however long the sequence. The smoother and the draws take sums of such squares.

The kernels release the interpreter's lock. They are exempt from runtime checks of types, which would hide their source from numba.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz"}
EPS = np.finfo(np.float64).eps


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def cholesky(matrix, out):
    """Lower factor of a symmetric positive semidefinite matrix; columns of directions without variance are 0."""
    n = len(matrix)
    for j in range(n):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= out[j, k] * out[j, k]
        root = np.sqrt(pivot) if pivot > 4 * n * EPS * matrix[j, j] else 0.0
        out[j, j] = root
        for i in range(j):
            out[i, j] = 0.0
        for i in range(j + 1, n):
            value = matrix[i, j]
            for k in range(j):
                value -= out[i, k] * out[j, k]
            out[i, j] = value / root if root > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def solve_lower(lower, vector):
    """Solve lower x = vector in place; components without variance are 0."""
    for i in range(len(vector)):
        value = vector[i]
        for k in range(i):
            value -= lower[i, k] * vector[k]
        vector[i] = value / lower[i, i] if lower[i, i] > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def solve_upper(lower, vector):
    """Solve lower' x = vector in place; components without variance are 0."""
    for i in range(len(vector) - 1, -1, -1):
        value = vector[i]
        for k in range(i + 1, len(vector)):
            value -= lower[k, i] * vector[k]
        vector[i] = value / lower[i, i] if lower[i, i] > 0.0 else 0.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def product(left, right, out):
    """`out` = left @ right."""
    for i in range(left.shape[0]):
        for j in range(right.shape[1]):
            out[i, j] = 0.0
        for k in range(left.shape[1]):
            value = left[i, k]
            for j in range(right.shape[1]):
                out[i, j] += value * right[k, j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def add_quadratic(left, middle, out, scratch):
    """`out` += left @ middle @ left', symmetric to the last bit."""
    product(left, middle, scratch)
    for i in range(left.shape[0]):
        for j in range(i + 1):
            value = 0.0
            for k in range(left.shape[1]):
                value += scratch[i, k] * left[j, k]
            out[i, j] += value
            if j < i:
                out[j, i] = out[i, j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def triangularise(columns, n_reflections):
    """Householder reflections that make the first columns triangular, in place; `columns[j]` is column j, and entries below the
    diagonal of the first ones are left undefined."""
    for j in range(n_reflections):
        square = 0.0
        for k in range(j, columns.shape[1]):
            square += columns[j, k] * columns[j, k]
        if square == 0.0:
            continue
        diagonal = -np.sqrt(square) if columns[j, j] > 0.0 else np.sqrt(square)
        columns[j, j] -= diagonal
        scale = 1.0 / (diagonal * columns[j, j])
        for c in range(j + 1, columns.shape[0]):
            value = 0.0
            for k in range(j, columns.shape[1]):
                value += columns[j, k] * columns[c, k]
            value *= scale
            for k in range(j, columns.shape[1]):
                columns[c, k] += value * columns[j, k]
        columns[j, j] = diagonal


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def filter_forward(
    initial_mean, initial_root, transition, transition_root, loadings, index, values, constants, starts, lengths, means, covariances,
    log_likelihood,
):  # fmt: skip
    """Fill in filtered means and covariances and the log-likelihood of every sequence."""
    d, n = len(initial_mean), values.shape[1]
    mean, lower, factor = np.empty(d), np.empty((d, d)), np.empty((d, d))
    ahead, update = np.empty((d, 2 * d)), np.empty((d + 1, d + n))
    for s in range(len(starts)):
        total = 0.0
        for row in range(starts[s], starts[s] + lengths[s]):
            if row == starts[s]:
                mean[:] = initial_mean
                lower[:] = initial_root
            else:
                for i in range(d):
                    mean[i] = 0.0
                    for j in range(d):
                        mean[i] += transition[i, j] * means[row - 1, j]
                        ahead[i, j] = 0.0
                    for k in range(d):
                        value = transition[i, k]
                        for j in range(d):
                            ahead[i, j] += value * factor[k, j]
                    ahead[i, d:] = transition_root[i]
                triangularise(ahead, d)
                for i in range(d):
                    for j in range(i + 1):
                        lower[i, j] = ahead[i, j]
            k = index[row]
            update[:, :d] = 0.0
            for j in range(d):
                update[j, j] = 1.0
                for a in range(n):
                    value = 0.0
                    for i in range(j, d):
                        value += loadings[k, a, i] * lower[i, j]
                    update[j, d + a] = value
            for a in range(n):
                value = values[row, a]
                for i in range(d):
                    value -= loadings[k, a, i] * mean[i]
                update[d, d + a] = value
            triangularise(update, d)
            for i in range(d):
                for j in range(d):
                    value = lower[i, j]
                    for c in range(j):
                        value -= factor[i, c] * update[j, c]
                    factor[i, j] = value / update[j, j]
            for i in range(d):
                value = mean[i]
                for j in range(d):
                    value += factor[i, j] * update[d, j]
                means[row, i] = value
                for j in range(i + 1):
                    value = 0.0
                    for c in range(d):
                        value += factor[i, c] * factor[j, c]
                    covariances[row, i, j] = value
                    covariances[row, j, i] = value
                total -= np.log(abs(update[i, i]))
            square = 0.0
            for a in range(n):
                square += update[d, d + a] * update[d, d + a]
            total += constants[row] - 0.5 * square
        log_likelihood[s] = total


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def look_back(transition, transition_covariance, covariance, gain, kept, scratch, lower):
    """From the filtered covariance P: the gain G = P A' (A P A' + Q)^-1 and the covariance (I - G A) P (I - G A)' + G Q G' that is left."""
    d = len(covariance)
    product(transition, covariance, scratch)
    kept[:] = transition_covariance
    for i in range(d):
        for j in range(i + 1):
            for k in range(d):
                kept[i, j] += scratch[i, k] * transition[j, k]
            kept[j, i] = kept[i, j]
    cholesky(kept, lower)
    for i in range(d):
        gain[i] = scratch[:, i]
        solve_lower(lower, gain[i])
        solve_upper(lower, gain[i])
    rest = np.eye(d)
    for i in range(d):
        for k in range(d):
            for j in range(d):
                rest[i, j] -= gain[i, k] * transition[k, j]
    kept[:] = 0.0
    add_quadratic(rest, covariance, kept, scratch)
    add_quadratic(gain, transition_covariance, kept, scratch)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def shift_towards(transition, gain, filtered, later, out):
    """`out` = filtered + gain (later - transition filtered)."""
    d = len(filtered)
    difference = np.empty(d)
    for i in range(d):
        difference[i] = later[i]
        for j in range(d):
            difference[i] -= transition[i, j] * filtered[j]
    for i in range(d):
        value = filtered[i]
        for j in range(d):
            value += gain[i, j] * difference[j]
        out[i] = value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def smooth_backward(transition, transition_covariance, means, covariances, crossed, starts, lengths):
    """Turn filtered means and covariances into smoothed ones, in place; `crossed[t]` becomes the covariance of z_t+1 with z_t."""
    d = means.shape[1]
    gain, kept, scratch, lower = np.empty((d, d)), np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    smoothed = np.empty(d)
    for s in range(len(starts)):
        for row in range(starts[s] + lengths[s] - 2, starts[s] - 1, -1):
            look_back(transition, transition_covariance, covariances[row], gain, kept, scratch, lower)
            shift_towards(transition, gain, means[row], means[row + 1], smoothed)
            means[row] = smoothed
            product(gain, covariances[row + 1], scratch)
            crossed[row] = scratch.T
            add_quadratic(gain, covariances[row + 1], kept, scratch)
            covariances[row] = kept


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def sample_backward(transition, transition_covariance, means, covariances, starts, lengths, states):
    """Turn standard normal numbers in `states` (step, sample, state) into draws from the posterior, in place."""
    d, n_samples = means.shape[1], states.shape[1]
    gain, kept, scratch, lower = np.zeros((d, d)), np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    centre = np.empty(d)
    for s in range(len(starts)):
        last = starts[s] + lengths[s] - 1
        for row in range(last, starts[s] - 1, -1):
            if row == last:
                kept[:] = covariances[row]
            else:
                look_back(transition, transition_covariance, covariances[row], gain, kept, scratch, lower)
            cholesky(kept, lower)
            for n in range(n_samples):
                centre[:] = means[row]
                if row < last:
                    shift_towards(transition, gain, means[row], states[row + 1, n], centre)
                for i in range(d - 1, -1, -1):
                    value = centre[i]
                    for j in range(i + 1):
                        value += lower[i, j] * states[row, n, j]
                    states[row, n, i] = value
