"""Compiled inner loops of generalised linear models; `glm` is their public face.

`link` and `family` come as the numbers below. With eta the linear predictor, mu the mean and r = mu'(eta) / mu, the derivative of the
log-likelihood by eta is (y - mu) r and its Fisher information r^2 mu for Poisson counts; both are divided by 1 + dispersion mu for negative
binomial ones. Written so, neither overflows nor cancels where the mean is tiny. Terms without eta are left out.

The kernels release the interpreter's lock. They are exempt from runtime checks of types, which would hide their source from numba.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

EXP, SOFTPLUS, LOGISTIC, IDENTITY = 0, 1, 2, 3
POISSON, NEGATIVE_BINOMIAL, GAUSSIAN = 0, 1, 2
LINKS = {"exp": EXP, "softplus": SOFTPLUS, "logistic": LOGISTIC, "identity": IDENTITY}
FAMILIES = {"poisson": POISSON, "negative_binomial": NEGATIVE_BINOMIAL, "gaussian": GAUSSIAN}
FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(inline="always", error_model="numpy")
@no_type_check
def mean_of(eta, link):
    """Mean, its logarithm, and the derivative of that by eta."""
    if link == EXP:
        return np.exp(eta), eta, 1.0
    if link == SOFTPLUS:
        small = np.exp(-abs(eta))
        mean = max(eta, 0.0) + np.log1p(small)
        slope = 1.0 / (1.0 + small) if eta > 0.0 else small / (1.0 + small)
        if eta < -30.0:
            return small, eta, 1.0
        return mean, np.log(mean), slope / mean
    small = np.exp(-abs(eta))
    mean = 1.0 / (1.0 + small) if eta > 0.0 else small / (1.0 + small)
    return mean, min(eta, 0.0) - np.log1p(small), 1.0 - mean


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
@no_type_check
def evaluate(eta, y, weights, dispersion, family, link, total, slopes, score, information):
    """Add log-likelihoods of the columns to `total`, informations to `slopes`; turn `eta` into the score, fill `information`."""
    per_column = weights.shape[1] > 1
    for t in range(eta.shape[0]):
        for n in range(eta.shape[1]):
            w = weights[t, n if per_column else 0]
            if family == GAUSSIAN:
                difference = y[t, n] - eta[t, n]
                precision = w / dispersion[n]
                total[n] -= 0.5 * precision * difference * difference
                score[t, n] = precision * difference
                information[t, n] = precision
                slopes[n] += precision
                continue
            mean, log_mean, ratio = mean_of(eta[t, n], link)
            if family == POISSON:
                total[n] += w * (y[t, n] * log_mean - mean)
                score[t, n] = w * (y[t, n] - mean) * ratio
                info = w * mean * ratio * ratio
            else:
                spread = 1.0 + dispersion[n] * mean
                log_spread = np.log1p(dispersion[n] * mean)
                total[n] += w * (y[t, n] * (log_mean - log_spread) - log_spread / dispersion[n])
                score[t, n] = w * (y[t, n] - mean) * ratio / spread
                info = w * mean * ratio * ratio / spread
            information[t, n] = info
            slopes[n] += info


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
@no_type_check
def add_log_likelihoods(eta, y, dispersion, family, link, out):
    """Sum the log-likelihoods over the columns of every row."""
    for t in range(eta.shape[0]):
        total = 0.0
        if family == GAUSSIAN:
            for n in range(eta.shape[1]):
                difference = y[t, n] - eta[t, n]
                total -= 0.5 * difference * difference / dispersion[n]
        elif family == POISSON and link == EXP:
            for n in range(eta.shape[1]):
                total += y[t, n] * eta[t, n] - np.exp(eta[t, n])
        elif family == POISSON:
            for n in range(eta.shape[1]):
                mean, log_mean, _ = mean_of(eta[t, n], link)
                total += y[t, n] * log_mean - mean
        else:
            for n in range(eta.shape[1]):
                mean, log_mean, _ = mean_of(eta[t, n], link)
                log_spread = np.log1p(dispersion[n] * mean)
                total += y[t, n] * (log_mean - log_spread) - log_spread / dispersion[n]
        out[t] = total
