"""What a dynamic connectome found, as tables and panels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from neuropil.findings import Connectivity, Curves, Findings, Heatmap


def describe(model: Any, loadings: Any) -> Findings:
    """Time courses, animals, graphs with communities and the errors of the starts of a fitted `DynamicConnectome`."""
    names = [f"motif {r + 1}" for r in range(model.n_components)]
    times = np.arange(len(loadings.temporal)) / (model.sfreq_ or 1.0)
    animals = (
        model.animals_ if len(model.animals_) == len(loadings.animal) else tuple(map(str, range(len(loadings.animal))))
    )
    motifs = pd.DataFrame(
        {
            "motif": names,
            "strength": model.weights_,
            "stability": model.stability_,
            "communities": [int(labels.max()) + 1 for labels in model.communities_],
            "active_frames": (loadings.temporal > loadings.temporal.max(axis=0) / 2).sum(axis=0),
            "animals": [
                ", ".join(a for a, in_it in zip(animals, row > row.mean(), strict=True) if in_it)
                for row in loadings.animal.T
            ],
        }
    )
    communities = pd.DataFrame({"neuron": model.unit_names_} | dict(zip(names, model.communities_, strict=True)))
    xlabel = "time (s)" if model.sfreq_ else "frame"
    panels: dict[str, Any] = {
        "motifs": Curves(
            "Motifs over time", times, dict(zip(names, loadings.temporal.T, strict=True)), xlabel, "strength"
        ),
        "animals": Heatmap("Motifs in animals", loadings.animal, list(animals), names, "loading", "", "animal"),
        "starts": Curves(
            "Error of the starts",
            np.arange(max(map(len, model.start_errors_))),
            {
                f"start {k + 1}": _padded(curve, max(map(len, model.start_errors_)))
                for k, curve in enumerate(model.start_errors_)
            },
            "sweep",
            "relative error",
        ),
    }
    for r, name in enumerate(names):
        panels[f"graph_{r + 1}"] = Connectivity(
            f"Pairs of {name}",
            model.graph(r),
            model.unit_names_,
            model.communities_[r],
            "weight / mean",
            directed=False,
        )
    summary = {
        "animals": len(animals),
        "neurons": model.n_units_,
        "components": model.n_components,
        "relative_error": round(loadings.error, 4),
        "converged": bool(model.converged_),
        "least_stability": float(np.min(model.stability_)),
    }
    return Findings(summary, {"motifs": motifs, "communities": communities}, panels)


def _padded(curve: ndarray, n: int) -> ndarray:
    return np.pad(curve, (0, n - len(curve)), mode="edge")
