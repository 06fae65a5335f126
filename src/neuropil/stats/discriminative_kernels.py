"""Compiled recursion of the discriminative Kalman filter; `discriminative` is its public face.

States are whitened by their stationary covariance S = L L', so that the prior is N(0, I) and a regression says N(g, K) of the state at a
step. What the observation itself says is the quotient of the two, a precision J = K^-1 - I and a vector b = K^-1 g. With J = H' H and
M = N N' the predicted covariance, orthogonal reflections give R' R = I + N' J N, and

    P = F F',  F = N R^-1,    mean = m + P (b - J m).

No covariance is ever inverted or subtracted from in the recursion, so that nothing can lose its definiteness, however long the sequence.
The kernels release the interpreter's lock. They are exempt from runtime checks of types, which would hide their source from numba.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from neuropil.stats.kalman_kernels import FAST, solve_lower, solve_upper, triangularise

CLIP, ADDITIVE, ROBUST = 0, 1, 2
SAME = 1e-10  # generalised eigenvalues above 1 by less are 1


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def factorise(matrix, out):
    """Lower Cholesky factor; False where the matrix is not positive definite."""
    n = len(matrix)
    for i in range(n):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= out[i, k] * out[j, k]
            if i == j:
                if not value > 0.0:
                    return False
                out[i, i] = np.sqrt(value)
            else:
                out[i, j] = value / out[j, j]
                out[j, i] = 0.0
    return True


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def whiten(lower, matrix, out, scratch):
    """`out` = lower^-1 matrix lower^-T of a symmetric matrix."""
    n = len(matrix)
    for j in range(n):
        scratch[j] = matrix[j]
        solve_lower(lower, scratch[j])
    for i in range(n):
        for j in range(n):
            out[i, j] = scratch[j, i]
        solve_lower(lower, out[i])


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def observe(correction, target, covariance, precision_root, vector, factor, scratch):
    """Fill in H (`precision_root`) and b (`vector`) from g and K; 1 if the guard had to act, -1 if K is not positive definite."""
    d = len(target)
    if not factorise(covariance, factor):
        return -1
    for j in range(d):
        scratch[j] = 0.0
        scratch[j, j] = 1.0
        solve_lower(factor, scratch[j])  # row j is column j of the factor's inverse
    vector[:] = target
    solve_lower(factor, vector)
    solve_upper(factor, vector)
    precision_root[:] = scratch.T
    if correction == ROBUST:
        return 0
    excess, root = np.eye(d), np.zeros((d, d))
    for i in range(d):
        for j in range(d):
            for k in range(max(i, j), d):
                excess[i, j] -= factor[k, i] * factor[k, j]
    if factorise(excess, root):
        for i in range(d):
            for j in range(d):
                value = 0.0
                for k in range(max(i, j), d):
                    value += root[k, i] * scratch[j, k]
                precision_root[i, j] = value
        return 0
    values, vectors = np.linalg.eigh(covariance)
    exceeds = values[d - 1] > 1.0 + SAME
    if correction == ADDITIVE and exceeds:
        vector += target
        return 1
    vector[:] = 0.0
    for k in range(d):
        value = min(values[k], 1.0)
        along = 0.0
        for i in range(d):
            along += vectors[i, k] * target[i]
        for i in range(d):
            precision_root[k, i] = np.sqrt(1.0 / value - 1.0) * vectors[i, k]
            vector[i] += along / value * vectors[i, k]
    return 1 if exceeds else 0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def predict(transition, transition_root, mean, factor, ahead, lower, moved):
    """The next state's mean, in place, and the root `lower` of its covariance."""
    d = len(mean)
    for i in range(d):
        moved[i] = 0.0
        for j in range(d):
            moved[i] += transition[i, j] * mean[j]
            ahead[i, j] = 0.0
        for k in range(d):
            value = transition[i, k]
            for j in range(d):
                ahead[i, j] += value * factor[k, j]
        ahead[i, d:] = transition_root[i]
    mean[:] = moved
    triangularise(ahead, d)
    for i in range(d):
        for j in range(d):
            lower[i, j] = ahead[i, j] if j <= i else 0.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def update(precision_root, vector, mean, lower, factor, columns, residual):
    """The state's mean, in place, and the root `factor` of its covariance, given H and b."""
    d = len(mean)
    columns[:, :d] = 0.0
    for j in range(d):
        columns[j, j] = 1.0
        for a in range(d):
            value = 0.0
            for i in range(j, d):
                value += precision_root[a, i] * lower[i, j]
            columns[j, d + a] = value
    triangularise(columns, d)
    for i in range(d):
        for j in range(d):
            value = lower[i, j]
            for c in range(j):
                value -= factor[i, c] * columns[j, c]
            factor[i, j] = value / columns[j, j]
    residual[:] = vector
    for a in range(d):
        seen = 0.0
        for i in range(d):
            seen += precision_root[a, i] * mean[i]
        for i in range(d):
            residual[i] -= precision_root[a, i] * seen
    for c in range(d):
        along = 0.0
        for i in range(d):
            along += factor[i, c] * residual[i]
        for i in range(d):
            mean[i] += factor[i, c] * along


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def filter_forward(
    correction, flat, initial_mean, initial_root, transition, transition_root, prior_root, targets, uncertainties, starts, lengths,
    means, covariances, corrected,
):  # fmt: skip
    """Fill in means and covariances; the first row whose uncertainty is not positive definite, or -1.

    Transition, roots and initial state are whitened, targets and uncertainties are not. `flat` starts from the first target alone.
    """
    d = len(initial_mean)
    mean, target, vector, buffer = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    lower, factor, white, scratch = np.empty((d, d)), np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    precision_root, cholesky = np.empty((d, d)), np.empty((d, d))
    ahead, columns = np.empty((d, 2 * d)), np.empty((d, 2 * d))
    for s in range(len(starts)):
        for row in range(starts[s], starts[s] + lengths[s]):
            first = row == starts[s]
            if first:
                mean[:] = initial_mean
                lower[:] = initial_root
            else:
                predict(transition, transition_root, mean, factor, ahead, lower, buffer)
            observed = True
            for i in range(d):
                observed &= not np.isnan(targets[row, i])
            if observed:
                target[:] = targets[row]
                solve_lower(prior_root, target)
                whiten(prior_root, uncertainties[row if len(uncertainties) > 1 else 0], white, scratch)
                acted = observe(correction, target, white, precision_root, vector, cholesky, scratch)
                if acted < 0:
                    return row
                corrected[row] = acted == 1
                if first and flat:
                    mean[:] = target
                    factor[:] = cholesky
                else:
                    update(precision_root, vector, mean, lower, factor, columns, buffer)
            else:
                factor[:] = lower
            for i in range(d):
                value = 0.0
                for k in range(i + 1):
                    value += prior_root[i, k] * mean[k]
                means[row, i] = value
                for j in range(d):
                    value = 0.0
                    for k in range(i + 1):
                        value += prior_root[i, k] * factor[k, j]
                    scratch[i, j] = value
            for i in range(d):
                for j in range(i + 1):
                    value = 0.0
                    for k in range(d):
                        value += scratch[i, k] * scratch[j, k]
                    covariances[row, i, j] = value
                    covariances[row, j, i] = value
    return -1
