"""What a network of a comparison made its output of, noted right after it was fitted: a comparison keeps predictions, not models.

On some test windows of one fold: integrated gradients, summed over stretches of time and over frequency bands, and its attention.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.errors import NeuropilError
from neuropil.explain.attention import attention_maps, has_attention
from neuropil.explain.patterns import N_STRETCHES, stretches
from neuropil.explain.saliency import network_of, network_saliency

N_WINDOWS = 24
N_STEPS = 12
MAX_MAPS = 3


def insight(model: Any, X: Any, y: ndarray) -> dict[str, Any] | None:
    """Plain values for the result store; None for decoders that are no networks, or that cannot be asked.

    Parameters
    ----------
    model : classifier
        Fitted.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
        Test windows as the model takes them.
    y : ndarray of shape (n_windows,)
        Their labels.

    Returns
    -------
    dict or None
        `gradients`: {"channels", "error", and under "times" and "bands", or "features": {"columns", "values" (n_channels, n_columns)}};
        `attention`: {name: {"tokens", "maps": [[title, values (n_tokens, n_tokens)], ...]}}; `weights` (n_channels,) or None.
    """
    if network_of(model) is None:
        return None
    chosen = np.unique(np.linspace(0, len(X) - 1, min(N_WINDOWS, len(X))).round().astype(int))
    few, labels = X[chosen], y[chosen]
    try:
        return {"gradients": _gradients(model, few, labels), **_attention(model, few)}
    except NeuropilError:  # such as a network on features that have no channels and no time
        return None


def _gradients(model: Any, X: Any, y: ndarray) -> dict[str, Any]:
    found = network_saliency(model, X, y, baseline="windows", n_steps=N_STEPS, n_pairs=1)
    temporal = found.temporal()
    if found.sfreq is None:
        parts = {"features": temporal.assign_coords(time=_feature_names(model, temporal.sizes["time"]))}
    else:
        parts = {"times": _in_stretches(temporal), "bands": found.spectral()}
    channels = [str(name) for name in found.channels]
    return {
        "channels": channels,
        "error": float(found.error),
        **{
            name: {
                "columns": [f"{value:.2g}" if name == "times" else str(value) for value in part[part.dims[-1]].values],
                # classes without a window among the chosen are not numbers
                "values": np.nanmean(part.values, axis=0).tolist(),
            }
            for name, part in parts.items()
        },
    }


def _feature_names(model: Any, n_features: int) -> list[str]:
    """Names of what a network sees instead of samples: its bands, where it has as many."""
    bands = getattr(network_of(model), "bands", ())
    return list(map(str, bands)) if len(bands) == n_features else [f"feature {k + 1}" for k in range(n_features)]


def _in_stretches(temporal: xr.DataArray) -> xr.DataArray:
    edges = stretches(temporal.sizes["time"], N_STRETCHES)
    middles = [float(temporal["time"].values[low:high].mean()) for low, high in edges]
    sums = np.stack([temporal.values[..., low:high].sum(axis=-1) for low, high in edges], axis=-1)
    return xr.DataArray(sums, dims=temporal.dims, coords={"time": middles})


def _attention(model: Any, X: Any) -> dict[str, Any]:
    maps: dict[str, Any] = {}
    weights = None
    for name, found in (attention_maps(model, X) if has_attention(model) else {}).items():
        if found.dims == ("channel",):
            weights = found.values.tolist()
            continue
        tokens = [str(token) for token in found["target"].values]
        if "head" not in found.dims:
            maps[name] = {"tokens": tokens, "maps": [["rollout", found.values.tolist()]]}
            continue
        step, mean = str(found.dims[0]), found.mean("head")
        shown = np.unique(np.linspace(0, len(mean) - 1, min(MAX_MAPS, len(mean))).round().astype(int)).tolist()
        titled = [[f"{step} {int(mean[step].values[k])}", mean.values[k].tolist()] for k in shown]
        maps[name] = {"tokens": tokens, "maps": titled}
    return {"attention": maps, "weights": weights}
