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

from neuropil.stats.kalman_kernels import FAST, triangularise

CLIP, ADDITIVE, ROBUST = 0, 1, 2
SAME = 1e-10  # generalised eigenvalues above 1 by less are 1


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def factorise(matrix, out):
    """Lower Cholesky factor; False where the matrix is not positive definite."""
    for i in range(len(matrix)):
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


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def solve(lower, vector, first):
    """Solve lower x = vector in place, where the entries before `first` are 0."""
    for i in range(first, len(vector)):
        value = vector[i]
        for k in range(first, i):
            value -= lower[i, k] * vector[k]
        vector[i] = value / lower[i, i]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def whiten(lower, matrix, out, scratch):
    """`out` = lower^-1 matrix lower^-T of a symmetric matrix."""
    n = len(matrix)
    for j in range(n):
        scratch[j] = matrix[j]
        solve(lower, scratch[j], 0)
    for i in range(n):
        for j in range(n):
            out[i, j] = scratch[j, i]
        solve(lower, out[i], 0)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def factorise_upper(matrix, out):
    """Upper factor, out' out = matrix, from the upper triangle; False where the matrix is not positive definite."""
    d = len(matrix)
    for i in range(d):
        for j in range(d):
            out[i, j] = matrix[i, j] if j >= i else 0.0
    for i in range(d):
        if not out[i, i] > 0.0:
            return False
        scale = 1.0 / np.sqrt(out[i, i])
        for j in range(i, d):
            out[i, j] *= scale
        for k in range(i + 1, d):
            weight = out[i, k]
            for j in range(k, d):
                out[k, j] -= weight * out[i, j]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def observe(correction, target, covariance, prior_root, precision_root, vector, factor, ratio, scratch, white):
    """Fill in H (`precision_root`) and b (`vector`) from f and Q; 1 if the guard had to act, -1 if Q is not positive definite.

    With Q = C C' and X = C^-1 L, K^-1 is X' X and b is X' C^-1 f, so that nothing has to be whitened or inverted unless the guard acts.
    """
    if not factorise_upper(covariance, factor):
        return -1
    gather(target, prior_root, factor, vector, ratio, scratch, white)
    if correction == ROBUST:
        precision_root[:] = ratio
        return 0
    if factorise_upper(scratch, precision_root):
        return 0
    return guard(correction, target, covariance, prior_root, precision_root, vector, ratio, scratch)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def gather(target, prior_root, factor, vector, ratio, precision, white):
    """From f, L and C': b, X, and J = X' X - I in the upper triangle of `precision`."""
    d = len(target)
    white[:] = target
    vector[:] = 0.0
    ratio[:] = prior_root
    precision[:] = 0.0
    for k in range(d):
        scale = 1.0 / factor[k, k]
        white[k] *= scale
        for j in range(k + 1):
            ratio[k, j] *= scale
            vector[j] += white[k] * ratio[k, j]
        for i in range(k + 1, d):
            weight = factor[k, i]
            white[i] -= weight * white[k]
            for j in range(k + 1):
                ratio[i, j] -= weight * ratio[k, j]
        for i in range(k + 1):
            weight = ratio[k, i]
            for j in range(i, k + 1):
                precision[i, j] += weight * ratio[k, j]
    for i in range(d):
        precision[i, i] -= 1.0


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def guard(correction, target, covariance, prior_root, precision_root, vector, white, scratch):
    """H and b where an eigenvalue of K is 1 or more; 1 if one exceeds 1. For "additive", `vector` comes as K^-1 g."""
    d = len(target)
    whiten(prior_root, covariance, white, scratch)
    scratch[0] = target
    solve(prior_root, scratch[0], 0)
    values, vectors = np.linalg.eigh(white)
    exceeds = values[d - 1] > 1.0 + SAME
    additive = exceeds and correction == ADDITIVE
    if additive:
        vector += scratch[0]
    else:
        vector[:] = 0.0
    for k in range(d):
        value = values[k] if additive else min(values[k], 1.0)
        along = 0.0
        for i in range(d):
            along += vectors[i, k] * scratch[0, i]
        for i in range(d):
            precision_root[k, i] = np.sqrt(1.0 / value - (0.0 if additive else 1.0)) * vectors[i, k]
            if not additive:
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
def update(precision_root, vector, mean, lower, factor, columns, upper, residual):
    """The state's mean, in place, and the root `factor` of its covariance, given H and b.

    The reflections that make [I; H N] triangular leave all rows of I but one alone: `columns` holds H N, a column a row, `upper` R.
    """
    d = len(mean)
    for a in range(d):
        residual[:] = 0.0
        for i in range(d):
            weight = precision_root[a, i]
            if weight != 0.0:
                for j in range(i + 1):
                    residual[j] += weight * lower[i, j]
        for j in range(d):
            columns[j, a] = residual[j]
    for j in range(d):
        square = 1.0
        for a in range(d):
            square += columns[j, a] * columns[j, a]
        diagonal = -np.sqrt(square)
        upper[j, j] = diagonal
        scale = 1.0 / (diagonal * (1.0 - diagonal))
        for c in range(j + 1, d):
            value = 0.0
            for a in range(d):
                value += columns[j, a] * columns[c, a]
            value *= scale
            upper[j, c] = value * (1.0 - diagonal)
            for a in range(d):
                columns[c, a] += value * columns[j, a]
    factor[:] = lower
    for c in range(d):
        scale = 1.0 / upper[c, c]
        for i in range(d):
            factor[i, c] *= scale
            weight = factor[i, c]
            for j in range(c + 1, d):
                factor[i, j] -= weight * upper[c, j]
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


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
@no_type_check
def colour(prior_root, mean, factor, mean_out, covariance_out, scratch):
    """Mean and covariance of the state itself from those of the whitened one, whose covariance is factor factor'."""
    d = len(mean)
    for i in range(d):
        value = 0.0
        for j in range(d):
            scratch[i, j] = 0.0
        for k in range(i + 1):
            weight = prior_root[i, k]
            value += weight * mean[k]
            for j in range(d):
                scratch[i, j] += weight * factor[k, j]
        mean_out[i] = value
        for j in range(i + 1):
            value = 0.0
            for k in range(d):
                value += scratch[i, k] * scratch[j, k]
            covariance_out[i, j] = value
            covariance_out[j, i] = value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def filter_forward(
    correction, flat, initial_mean, initial_root, transition, transition_root, prior_root, targets, uncertainties, starts, lengths,
    means, covariances, corrected,
):  # fmt: skip
    """Fill in means and covariances and tell the first row whose uncertainty is not positive definite, or -1.

    Transition, roots and initial state are whitened, targets and uncertainties are not. `flat` starts from the first target alone.
    """
    d = len(initial_mean)
    mean, vector, buffer, white = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    lower, factor, ratio, scratch = np.empty((d, d)), np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    precision_root, cholesky = np.empty((d, d)), np.empty((d, d))
    ahead, columns, upper = np.empty((d, 2 * d)), np.empty((d, d)), np.empty((d, d))
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
                uncertainty = uncertainties[row if len(uncertainties) > 1 else 0]
                acted = observe(
                    correction, targets[row], uncertainty, prior_root, precision_root, vector, cholesky, ratio, scratch, white
                )  # fmt: skip
                if acted < 0:
                    return row
                corrected[row] = acted == 1
                if first and flat:
                    mean[:] = targets[row]
                    solve(prior_root, mean, 0)
                    whiten(prior_root, uncertainty, ratio, scratch)
                    factorise(ratio, factor)
                else:
                    update(precision_root, vector, mean, lower, factor, columns, upper, buffer)
            else:
                factor[:] = lower
            colour(prior_root, mean, factor, means[row], covariances[row], scratch)
    return -1
