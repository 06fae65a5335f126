"""What a decoder follows: how its output goes with every channel's voltage over time, and with its power.

For any decoder, linear or not: the correlation over test windows between the log-odds that it gives a class and (a) the mean of every
channel in successive stretches of the window, (b) the logarithm of every channel's variance. These are patterns, not weights: they say
where the activity is that the output goes with, as the forward model of a linear decoder does.

Haufe et al. (2014). On the interpretation of weight vectors of linear models in multivariate neuroimaging. NeuroImage 87.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from neuropil.experiments.comparison import pooled
from neuropil.experiments.inputs import Material
from neuropil.experiments.leaderboard import Result
from neuropil.explain.asking import log_odds
from neuropil.explain.patterns import N_STRETCHES, pattern_of, stretch_means, stretches
from neuropil.explain.plots import chosen_stretches, head_info
from neuropil.windowing import iter_batches


def channel_features(material: Material) -> ndarray:
    """Mean of every stretch of time, and last the log variance: shape (n_windows, n_channels, n_stretches + 1)."""
    X = material.X
    out = np.empty((len(X), X.sizes["channel"], len(stretches(X.sizes["time"], N_STRETCHES)) + 1))
    for indices, batch in iter_batches(X, 256):
        out[indices, :, :-1] = stretch_means(batch, N_STRETCHES)
        variance = batch.astype(float).var(axis=-1)
        out[indices, :, -1] = np.log(np.maximum(variance, np.finfo(float).tiny))
    return out


def stretch_names(material: Material) -> list[str]:
    """Middle of every stretch in seconds, and "power"."""
    X = material.X
    time = np.asarray(X["time"].values, dtype=float)
    return [f"{time[low:high].mean():.2g}" for low, high in stretches(len(time), N_STRETCHES)] + ["power"]


def correlations(features: ndarray, folds: Sequence[Sequence[Result]], code: int) -> ndarray:
    """Correlation of the log-odds of class `code` with every feature, mean over folds: shape (n_channels, n_features)."""
    test, _, proba, fold = pooled(folds)
    if proba is None:
        predicted = np.concatenate([np.asarray(seeds[0]["y_pred"], dtype=int) for seeds in folds])
        output = (predicted == code).astype(float)
    else:
        output = log_odds(proba)[:, code]
    total, weight = np.zeros(features.shape[1:]), 0
    for k in np.unique(fold):
        rows = np.flatnonzero(fold == k)
        if len(rows) < 3:
            continue
        total += len(rows) * pattern_of(features[test[rows]], output[rows, None]).correlation[0]
        weight += len(rows)
    return total / max(weight, 1)


def head_positions(material: Material) -> Any:
    """MNE-Python's info with the sensors' places, or None where they are not known for all or do not lie on a head."""
    X = material.X
    if not all(axis in X.coords for axis in "xyz"):
        return None
    xyz = np.stack([X[axis].values for axis in "xyz"], axis=1).astype(float)
    kinds = [str(kind) for kind in X["kind"].values] if "kind" in X.coords else []
    return head_info([str(name) for name in X["channel"].values], xyz, kinds)


def chosen_maps(n_features: int) -> list[int]:
    """Stretches to draw on the head, and power."""
    return [*chosen_stretches(n_features - 1), n_features - 1]
