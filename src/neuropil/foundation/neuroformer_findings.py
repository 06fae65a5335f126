"""What a fitted Neuroformer found, as tables and records to draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from neuropil.activity import Activity
from neuropil.findings import Connectivity, Curves, Findings, Panel, Raster
from neuropil.stats.connectivity import communities, lagged_correlation


def describe(
    model: Any,
    activity: Activity,
    attention: Float[ndarray, "post pre"] | None,
    nats_per_spike: float | None,
    n_past_bins: int,
) -> Findings:
    """Score, connectivity from attention (None without a past) beside lagged correlation, a raster, and the losses of the training."""
    lagged = lagged_correlation(activity.stacked, range(1, n_past_bins + 1)).max(axis=0)
    groups = communities(np.maximum(lagged, 0.0) if attention is None else attention)
    names = list(model.unit_names_)
    rows, columns = np.nonzero(~np.eye(len(names), dtype=bool))
    pairs = {
        "post": [names[k] for k in rows],
        "pre": [names[k] for k in columns],
        "lagged_correlation": lagged[rows, columns],
    }
    if attention is not None:
        pairs["attention"] = attention[rows, columns]
    lines: dict[str, ndarray] = {
        name: np.array([row[name] for row in model.history_])
        for name in ("loss", "validation_loss")
        if name in model.history_[0]
    }
    summary = {
        "units": model.n_units_,
        "parameters": model.n_parameters_,
        "nats_per_spike": nats_per_spike,
        "spikes_left_out": model.n_truncated_,
        "communities": int(groups.max()) + 1,
        "epochs": len(model.history_),
    }
    panels: dict[str, Panel] = {
        "raster": Raster(
            "Spikes",
            activity.sequences[0],
            names,
            sfreq=1 / model.dt,
            order=np.argsort(groups, kind="stable"),
            communities=groups,
        ),
        "lagged_correlation": Connectivity("Largest lagged correlation", lagged, names, groups, label="correlation"),
        "objective": Curves("Training", np.arange(1, len(model.history_) + 1), lines, "epoch", "loss"),
    }
    if attention is not None:
        panels["attention"] = Connectivity(
            "Attention to past spikes", attention, names, groups, label="relative attention"
        )
    return Findings(summary, {"connectivity": pd.DataFrame(pairs), "history": pd.DataFrame(model.history_)}, panels)
