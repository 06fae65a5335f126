"""What a decoder follows: how its output goes with every channel's voltage over time, and with its power.

For any decoder, linear or not: the correlation over test windows between the log-odds that it gives a class and (a) the mean of every
channel in successive stretches of the window, (b) the logarithm of every channel's variance. These are patterns, not weights: they say
where the activity is that the output goes with, as the forward model of a linear decoder does.

Haufe et al. (2014). On the interpretation of weight vectors of linear models in multivariate neuroimaging. NeuroImage 87.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from neuropil.experiments.comparison import pooled
from neuropil.experiments.inputs import Material
from neuropil.experiments.leaderboard import Result
from neuropil.windowing import iter_batches

N_STRETCHES = 8
N_MAPS = 4
ON_THE_HEAD = ("eeg", "mag", "grad", "meg")


def channel_features(material: Material) -> ndarray:
    """Mean of every stretch of time, and last the log variance: shape (n_windows, n_channels, n_stretches + 1)."""
    X = material.X
    n_stretches = min(N_STRETCHES, X.sizes["time"])
    width = X.sizes["time"] // n_stretches
    out = np.empty((len(X), X.sizes["channel"], n_stretches + 1))
    for indices, batch in iter_batches(X, 256):
        cut = batch[..., : n_stretches * width].astype(float)
        out[indices, :, :-1] = cut.reshape(*cut.shape[:2], n_stretches, width).mean(axis=-1)
        variance = batch.astype(float).var(axis=-1)
        out[indices, :, -1] = np.log(np.maximum(variance, np.finfo(float).tiny))
    return out


def stretch_names(material: Material) -> list[str]:
    """Middle of every stretch in seconds, and "power"."""
    X = material.X
    n_stretches = min(N_STRETCHES, X.sizes["time"])
    width = X.sizes["time"] // n_stretches
    time = np.asarray(X["time"].values, dtype=float)
    return [f"{time[k * width : (k + 1) * width].mean():.2g}" for k in range(n_stretches)] + ["power"]


def correlations(features: ndarray, folds: Sequence[Sequence[Result]], code: int) -> ndarray:
    """Correlation of the log-odds of class `code` with every feature, mean over folds: shape (n_channels, n_features)."""
    test, _, proba, fold = pooled(folds)
    if proba is None:
        predicted = np.concatenate([np.asarray(seeds[0]["y_pred"], dtype=int) for seeds in folds])
        output = (predicted == code).astype(float)
    else:
        p = np.clip(proba[:, code], 1e-6, 1 - 1e-6)
        output = np.log(p / (1 - p))
    total, weight = np.zeros(features.shape[1:]), 0
    for k in np.unique(fold):
        rows = np.flatnonzero(fold == k)
        if len(rows) < 3:
            continue
        x, s = features[test[rows]], output[rows]
        x, s = x - x.mean(axis=0), s - s.mean()
        scale = np.sqrt((x**2).sum(axis=0) * (s**2).sum())
        total += len(rows) * np.divide(
            np.tensordot(s, x, axes=(0, 0)), scale, out=np.zeros_like(scale), where=scale > 0
        )
        weight += len(rows)
    return total / max(weight, 1)


def head_positions(material: Material) -> Any:
    """MNE-Python's info with the sensors' places, or None where they are not known for all or do not lie on a head."""
    X = material.X
    if not all(axis in X.coords for axis in "xyz") or X.sizes["channel"] < 4:
        return None
    xyz = np.stack([X[axis].values for axis in "xyz"], axis=1).astype(float)
    kinds = set(map(str, X["kind"].values)) if "kind" in X.coords else set()
    if not np.isfinite(xyz).all() or not kinds <= set(ON_THE_HEAD) or len(np.unique(xyz, axis=0)) < len(xyz):
        return None
    import mne

    names = [str(name) for name in X["channel"].values]
    info = mne.create_info(names, 100.0, "eeg")
    return info.set_montage(
        mne.channels.make_dig_montage(dict(zip(names, xyz, strict=True)), coord_frame="head"), verbose="error"
    )


def topographies(values: ndarray, titles: Sequence[str], info: Any, limit: float) -> str:
    """Maps of `values` (n_channels, n_maps) on the head, as the data URI of a PNG."""
    import mne
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.35 * len(titles), 1.6), dpi=130)
    FigureCanvasAgg(figure)
    for k, (title, axes) in enumerate(zip(titles, np.atleast_1d(figure.subplots(1, len(titles))), strict=True)):
        mne.viz.plot_topomap(
            values[:, k], info, axes=axes, show=False, cmap="RdBu_r", vlim=(-limit, limit), contours=4, sensors=True
        )
        axes.set_title(title, fontsize=9)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.86, wspace=0.05)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def chosen_maps(n_features: int) -> list[int]:
    """Stretches to draw on the head: `N_MAPS` over the window, and power."""
    stretches = np.linspace(0, n_features - 2, min(N_MAPS, n_features - 1)).round().astype(int)
    return [*dict.fromkeys(stretches.tolist()), n_features - 1]
